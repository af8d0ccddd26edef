"""S42: tokens counted by a rule from English prose, a tokenizer swapped behind a name, and a clock in the prompt."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

from watchkeeper.analysis.tokens import Weights, features_of
from watchkeeper.lab.corpora import BANKS, KINDS, text_of
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.tokenizers import Meter, Tokenizer, trained
from watchkeeper.lab.watch import Watch

scenario = "S42"
promise = (
    "Estimates are held against the bill by language and content, the margin they ask for prevents a truncation, a "
    "swapped tokenizer is found by repeated texts, and a clock time at the front of a prompt is named."
)

MODEL = "lab-small"
CALLS = 664
AT_ONCE = 8
WINDOW_TOKENS = 3_000
RULE_OF_THUMB_MARGIN = 600
TURNS = 16

SETTINGS = """
[[monitors]]
use = "tokenizer"
with = { every_s = 3600 }

[[monitors]]
use = "prompt_cache"
with = { every_s = 3600 }
"""

CLERK = Rule(name="the clerk answers", when=When(), answer="It is noted.")
RULES = "You are a clerk. " + " ".join(BANKS["english prose"]) * 3


def run(stage: Stage) -> Result:
    """Teach the estimator, fit a prompt into the window, swap the tokenizer, put a clock into the prompt."""
    notes = Notes()
    stage.say("training two tokenizers")
    west = trained("west", [*BANKS["english prose"], *BANKS["code"]], 250)
    world = trained("world", [sentence for bank in BANKS.values() for sentence in bank], 500)
    meter = Meter(west)
    watch = stage.serve(stage.lab(CLERK, meter=meter, context_tokens=WINDOW_TOKENS), SETTINGS)
    stage.say(f"{CALLS} calls in {len(KINDS)} kinds of text")
    asyncio.run(_traffic(watch))
    weights, margin = _report(watch, notes)
    stage.say("a long Japanese prompt is fitted into the window")
    _fit(watch, weights, margin, notes)
    _talk(watch, "steady", lambda turn: "")
    _quiet(watch, notes)
    stage.say("the tokenizer is swapped")
    _swap(watch, meter, world, notes)
    stage.say("a clock time stands at the front of the prompt")
    _clock(watch, notes)
    return notes.result()


async def _traffic(watch: Watch) -> None:
    """Texts of all kinds and lengths; some of them twice, as probes."""
    import aiohttp

    chance = Random(42)
    texts = [text_of(KINDS[n // 2 % len(KINDS)], chance, chance.randint(2, 12)) for n in range(CALLS - len(KINDS))]
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(http: aiohttp.ClientSession, text: str) -> None:
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        async with limit, http.post(f"{watch.base_url}/chat/completions", json=body) as answer:
            await answer.read()

    async with aiohttp.ClientSession() as http:
        await asyncio.gather(*(one(http, text) for text in (*texts, *_probes())))


def _probes() -> list[str]:
    return [text_of(kind, Random(kind), 6) for kind in KINDS]


def _report(watch: Watch, notes: Notes) -> tuple[Weights, float]:
    """What the report says: errors by slice, the margin over all, and what was learnt."""
    watch.flush()
    blocks = watch.cli("report", "tokens", "--since", "1h")["blocks"]
    errors, learnt = _tables(blocks)
    rows = {row[1]: row for row in errors["rows"]}
    for name, row in rows.items():
        notes.measure(**{f"{name} billed by estimate".replace(" ", "_"): row[3]})
    thumb = {name: float(row[7]) for name, row in rows.items() if name != "all"}
    worst, best = max(thumb, key=lambda name: thumb[name]), min(thumb, key=lambda name: thumb[name])
    margin = rows["all"][6]
    notes.measure(
        calls_judged=rows["all"][2], margin_99=margin, four_chars_worst=thumb[worst], four_chars_best=thumb[best]
    )
    notes.tell(
        f"four characters a token is wrong by {thumb[best]:.2f} ({best}) to {thumb[worst]:.2f} ({worst}); learnt "
        f"estimates ask for a margin of {margin}"
    )
    close = all(abs(row[3] - 1) < 0.05 for row in rows.values())
    notes.check("learnt estimates are within 5% of the bill in every slice", close and len(rows) >= 7)
    notes.check("a rule of four characters a token is not", thumb[worst] > 2)
    return Weights(by_class={row[1]: row[2] for row in learnt["rows"]}, n=1), float(margin)


def _tables(blocks: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    tables = [block for block in blocks if block.get("columns")]
    errors = next(table for table in tables if "billed / estimate" in table["columns"])
    learnt = next(table for table in tables if table["columns"] == ["model", "class", "tokens"])
    return errors, learnt


def _fit(watch: Watch, weights: Weights, margin: float, notes: Notes) -> None:
    """As many sentences as fit: by the rule of thumb with 600 tokens to spare, and by estimate and margin."""
    sentences = [text_of("japanese prose", Random(n), 1) for n in range(4_000)]

    def longest(fits: Any) -> str:
        low, high = 0, len(sentences)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits("".join(sentences[:middle])) else (low, middle - 1)
        return "".join(sentences[:low])

    by_thumb = longest(lambda text: len(text) / 4 <= WINDOW_TOKENS - RULE_OF_THUMB_MARGIN)
    by_margin = longest(lambda text: weights.estimate(features_of([text])) * margin <= WINDOW_TOKENS)
    status_thumb, _ = _ask(watch, [{"role": "user", "content": by_thumb}], "thumb")
    status_margin, usage = _ask(watch, [{"role": "user", "content": by_margin}], "margin")
    notes.measure(
        thumb_status=status_thumb,
        margin_status=status_margin,
        window_used=usage.get("prompt_tokens", 0) / WINDOW_TOKENS,
    )
    notes.tell(f"a prompt cut by the margin used {usage.get('prompt_tokens', 0) / WINDOW_TOKENS:.0%} of the window")
    notes.check("four characters a token and 600 to spare overran the window", status_thumb == 400)
    notes.check("estimate times margin stayed within it", status_margin == 200)


def _talk(watch: Watch, session: str, head: Any) -> int:
    """A conversation whose history is sent again with every turn; returns its cached tokens."""
    history: list[dict[str, str]] = []
    cached = 0
    for turn in range(TURNS):
        history.append({"role": "user", "content": f"{text_of('english prose', Random(turn), 3)} Item {turn}."})
        messages = [{"role": "system", "content": head(turn) + RULES}, *history]
        _, usage = _ask(watch, messages, session)
        cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        history.append({"role": "assistant", "content": "It is noted."})
    return cached


def _quiet(watch: Watch, notes: Notes) -> None:
    """Look with both monitors while nothing is wrong."""
    notes.measure(findings_before=len(_findings(watch)))
    notes.check("steady traffic and a steady prompt are quiet", notes.measured["findings_before"] == 0)


def _swap(watch: Watch, meter: Meter, world: Tokenizer, notes: Notes) -> None:
    meter.swap(world)
    for text in _probes():
        _ask(watch, [{"role": "user", "content": text}], None)
    found = _found(watch, "tokenizer")
    sentence = str(found.get("sentence", "nothing was found"))
    notes.measure(swap_found=bool(found), swap_said=sentence)
    notes.check("the swapped tokenizer is found and called one", "tokenizer behind lab-small changed" in sentence)


def _clock(watch: Watch, notes: Notes) -> None:
    steady = _talk(watch, "again-steady", lambda turn: "")
    ticking = _talk(watch, "ticking", lambda turn: f"It is 2026-11-20T12:{turn:02d}:07Z. ")
    found = _found(watch, "prompt_cache")
    sentence = str(found.get("sentence", "nothing was found"))
    notes.measure(cached_steady_tokens=steady, cached_ticking_tokens=ticking, clock_said=sentence)
    notes.tell(f"with a clock in front {ticking:,} tokens were cached, without {steady:,}")
    named = "timestamp in messages[0].content" in sentence and "2026-11-20T12:" in sentence
    notes.check("the clock time is named with its place and its text", named)
    notes.check("it cost the cache", ticking < steady / 2)


def _found(watch: Watch, monitor: str) -> dict[str, Any]:
    """The newest finding of a monitor, once all monitors have looked."""
    return next((each for each in _findings(watch) if each["monitor"] == monitor), {})


def _findings(watch: Watch) -> list[dict[str, Any]]:
    watch.flush()
    watch.post("/api/v1/monitors/run")
    watch.flush()
    return list(watch.get("/api/v1/findings")["items"])


def _ask(watch: Watch, messages: list[dict[str, str]], session: str | None) -> tuple[int, dict[str, Any]]:
    headers = {} if session is None else {"X-Watchkeeper-Session": session}
    answer = watch.http("POST", "/v1/chat/completions", {"model": MODEL, "messages": messages}, headers=headers)
    body = json.loads(answer.body)
    return answer.status, dict(body.get("usage") or {})
