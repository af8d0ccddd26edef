"""Measures how far a gateway lets concurrent calls spend past a cap; for any OpenAI-compatible gateway.

The test is also the provider: it serves a metering upstream that the gateway under test must be set up to use, fires
calls at the gateway all at once, and adds up what the upstream was asked to do at a price that both sides know. What
the gateway itself says of its spending is not asked, so it cannot be wrong about the verdict. Replies are held back a
moment, so that calls overlap as those of a slow model do.

Limits: it says what was spent in these calls, under a cap that was unused before; it does not see how a gateway prices
other models. A gateway that refuses everything holds trivially, so the share of the cap that was used is told as well.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer

if TYPE_CHECKING:
    import aiohttp

MOST_CALLS = 10_000
MOST_CONCURRENCY = 1_000
HELD_BACK_S = 0.3
TIMEOUT_S = 60.0
_SENTENCE = "This reply is as long as it may be, so that it costs what was reserved for it. "


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to fire at whom. Prices are US dollars per million tokens, as the gateway under test has them.

    `target` is the gateway's base URL (ending in `/v1` as a rule). With `sessions` above 1 the calls name so many
    sessions and users in turn; a cap on the key must hold over all of them. `waves` after the first show whether a cap
    that was passed in the dark is noticed at all, `pause_s` later.
    """

    target: str
    cap_usd: float
    key: str | None = None
    model: str = "lab-reasoning"
    calls: int = 200
    concurrency: int = 200
    sessions: int = 1
    waves: int = 1
    pause_s: float = 2.0
    max_tokens: int = 200
    stream: bool = False
    input_usd_per_million: float = 10.0
    output_usd_per_million: float = 40.0

    def __post_init__(self) -> None:
        """Refuse what could do harm or mean nothing."""
        for name, value, most in (
            ("calls", self.calls, MOST_CALLS),
            ("concurrency", self.concurrency, MOST_CONCURRENCY),
            ("sessions", self.sessions, MOST_CALLS),
            ("waves", self.waves, 10),
        ):
            if not 1 <= value <= most:
                raise ValueError(f"{name} is {value}, expected 1 to {most:,}.")
        if urlsplit(self.target).scheme not in ("http", "https"):
            raise ValueError(f"target is {self.target!r}, expected a URL such as http://127.0.0.1:4000/v1.")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it: "held", "overspent", or "not_tested" with the reason in `why`. Money is in US dollars.

    `spent_usd` is what the upstream's work cost, `used_share` that over the cap. `call_usd` is what the dearest call
    cost: a gateway that checks after each call oversteps by about that times the concurrency.
    """

    verdict: str
    why: str
    cap_usd: float
    spent_usd: float
    overspent_usd: float
    used_share: float | None
    call_usd: float
    calls: int
    concurrency: int
    sessions: int
    answered: int
    refused: dict[str, int]
    upstream_calls: int
    spent_by_wave_usd: tuple[float, ...]
    took_s: float


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def upstream(port: int = 0) -> LabServer:
    """The metering upstream, not yet started: it answers any chat request at length, on loopback."""
    rule = Rule(name="at length", when=When(), answer=_SENTENCE * 200)
    config = LabConfig(
        rules=(rule,), recordings=(), log_calls=MOST_CALLS * 10, first_token_s=HELD_BACK_S, only_listed_models=False
    )
    return LabServer(config, port=port)


def run(plan: Plan, lab: LabServer, say: Callable[[str], None] = lambda line: None) -> Verdict:
    """Fire the calls and judge. The gateway under test must ask `lab`, which runs. Bounded; ends by itself."""
    return asyncio.run(fire(plan, lab, say))


async def fire(plan: Plan, lab: LabServer, say: Callable[[str], None] = lambda line: None) -> Verdict:
    """As `run`, inside a running loop."""
    import aiohttp

    began, before = time.monotonic(), len(lab.calls)
    answers: Counter[str] = Counter()
    by_wave: list[float] = []
    connector = aiohttp.TCPConnector(limit=plan.concurrency)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        for wave in range(plan.waves):
            if wave:
                await asyncio.sleep(plan.pause_s)
            say(f"wave {wave + 1} of {plan.waves}: {plan.calls} calls, {plan.concurrency} at once")
            start = len(lab.calls)
            slots = asyncio.Semaphore(plan.concurrency)
            await asyncio.gather(*(_one(http, plan, slots, answers, number) for number in range(plan.calls)))
            by_wave.append(sum(_cost(plan, lab, start)))
    return _judged(plan, _cost(plan, lab, before), by_wave, answers, time.monotonic() - began)


async def _one(
    http: aiohttp.ClientSession, plan: Plan, slots: asyncio.Semaphore, answers: Counter[str], number: int
) -> None:
    import aiohttp

    headers = {} if plan.key is None else {"Authorization": f"Bearer {plan.key}"}
    body: dict[str, object] = {
        "model": plan.model,
        "max_tokens": plan.max_tokens,
        "messages": [{"role": "user", "content": f"Write at length. Call {number}."}],
    }
    if plan.stream:
        body["stream"] = True
    if plan.sessions > 1:
        name = f"overspend-{number % plan.sessions}"
        headers["X-Watchkeeper-Session"] = name
        body |= {"user": name, "metadata": {"session_id": name}}
    url = f"{plan.target.rstrip('/')}/chat/completions"
    async with slots:
        try:
            async with http.post(url, json=body, headers=headers) as answer:
                await answer.read()
                answers[str(answer.status)] += 1
        except (aiohttp.ClientError, TimeoutError) as error:
            answers[type(error).__name__] += 1


def _cost(plan: Plan, lab: LabServer, start: int) -> list[float]:
    """What each call since `start` cost at the upstream."""
    return [
        (
            (call.prompt_tokens or 0) * plan.input_usd_per_million
            + (call.completion_tokens or 0) * plan.output_usd_per_million
        )
        / 1e6
        for call in lab.calls[start:]
        if call.status == 200
    ]


def _judged(plan: Plan, costs: list[float], by_wave: list[float], answers: Counter[str], took_s: float) -> Verdict:
    spent, dearest = sum(costs), max(costs, default=0.0)
    over = max(0.0, spent - plan.cap_usd)
    verdict, why = "held", f"${spent:.6f} of the cap of ${plan.cap_usd:g} were spent."
    if not costs:
        verdict = "not_tested"
        why = "No call reached the metering upstream. Set the gateway up to use it, and give the key that has the cap."
    elif over > 1e-9:
        verdict, why = "overspent", f"${over:.6f} more than the cap of ${plan.cap_usd:g} were spent."
    elif answers["200"] == plan.calls * plan.waves:
        verdict = "not_tested"
        why = "No call was refused, so the cap was never reached. Fire more calls or lower the cap."
    return Verdict(
        verdict=verdict,
        why=why,
        cap_usd=plan.cap_usd,
        spent_usd=spent,
        overspent_usd=over,
        used_share=spent / plan.cap_usd if plan.cap_usd else None,
        call_usd=dearest,
        calls=plan.calls * plan.waves,
        concurrency=plan.concurrency,
        sessions=plan.sessions,
        answered=answers["200"],
        refused={code: count for code, count in sorted(answers.items()) if code != "200"},
        upstream_calls=len(costs),
        spent_by_wave_usd=tuple(by_wave),
        took_s=took_s,
    )
