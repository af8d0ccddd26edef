"""Two hundred calls at once at a cap, of every kind, while the gateway is killed and told its settings anew."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from watchkeeper.lab.processes import kill
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.watch import Answer, Watch, lab_settings

pytestmark = [pytest.mark.door, pytest.mark.slow, pytest.mark.chaos]

CAP = 12_000
KEY_CAP = 5_000
TENANTS = ("a", "b")
MODELS = ("lab-reasoning", "mixed", "broken")
ROUTES = f"""
[[routes]]
name = "mixed"
targets = [{{ upstream = "lab", model = "lab-reasoning!error:500" }}, {{ upstream = "spare", model = "lab-reasoning" }}]
retries = 1

[[routes]]
name = "broken"
targets = [{{ upstream = "lab", model = "lab-reasoning!cut:3" }}, {{ upstream = "spare", model = "lab-reasoning" }}]
retries = 1
repeat = "any"
on_broken_stream = "continue"

[[policies]]
use = "budget"
name = "tenant"
with = {{ per = "organisation", tokens = {CAP} }}

[[policies]]
use = "budget"
name = "user"
with = {{ per = "user", tokens = {CAP} }}
"""


def _settings(lab: LabServer) -> str:
    main = lab_settings(lab.base_url, max_output_tokens=100)
    spare = main.partition("[[prices]]")[0].replace('name = "lab"', 'name = "spare"\nmodels = ["none"]')
    return f"{main}\n{spare}{ROUTES}".replace('credential = "none"', 'credential = "none"\nask_usage = true')


@contextmanager
def _house(folder: Path, policies: bool = True) -> Iterator[tuple[Watch, LabServer, list[str]]]:
    rule = Rule(name="anything", when=When(), answer="As long as it may be. " * 20)
    with LabServer(LabConfig(rules=(rule,), first_token_s=0.3)) as lab:
        settings = _settings(lab)
        with Watch(folder, settings if policies else settings.partition("[[policies]]")[0]) as watch:
            yield watch, lab, _keys(watch)


def _keys(watch: Watch) -> list[str]:
    """Six keys of two tenants, each with a limit of its own."""
    limit = f"tokens={KEY_CAP}/total"
    made = [watch.cli("key", "create", f"k{i}", "--tenant", TENANTS[i % 2], "--limit", limit) for i in range(6)]
    return [each["secret"] for each in made]


async def _call(client: aiohttp.ClientSession, watch: Watch, keys: list[str], i: int, once: bool) -> str:
    """One call: plain or streamed, direct or by a route that fails or breaks; with `once` under a key of ten calls."""
    kind = i % 10 if once else i
    headers = {
        "X-Watchkeeper-Key": keys[kind % 6],
        "X-Watchkeeper-User": f"u{i % 5}",
        "X-Watchkeeper-Run": f"r{i % 11}",
    }
    if once:
        headers["Idempotency-Key"] = f"once-{kind}"
    talk = {"messages": [{"role": "user", "content": f"hello {kind}"}], "max_tokens": 60}
    body = {"model": MODELS[kind % 3], "stream": kind % 2 == 0, **talk}
    try:
        async with client.post(f"{watch.base_url}/chat/completions", json=body, headers=headers) as reply:
            data = await reply.read()
            return "answered" if reply.status == 200 else str(json.loads(data)["error"]["code"])
    except aiohttp.ClientError as error:
        return type(error).__name__


def _fire(watch: Watch, keys: list[str], first: int, calls: int = 200, once: bool = False) -> Counter[str]:
    async def all_at_once() -> list[str]:
        limit, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(connector=limit, timeout=patience) as client:
            return await asyncio.gather(*(_call(client, watch, keys, first + i, once) for i in range(calls)))

    return Counter(asyncio.run(all_at_once()))


def _billed(lab: LabServer) -> int:
    """The tokens that the provider would bill; for a stream that it cut, those that it had meant to send."""
    return sum((call.prompt_tokens or 0) + (call.completion_tokens or 0) for call in lab.calls if call.status == 200)


def _meters(watch: Watch) -> dict[str, dict[str, Any]]:
    items = watch.cli("budget", "list")["items"]
    return {each["tenant"]: each for each in items if each["level"] == "organisation"}


def _check_caps(watch: Watch, lab: LabServer) -> None:
    meters = _meters(watch)
    assert all(meter["held"] <= CAP for meter in meters.values()), meters
    assert _billed(lab) <= sum(meter["held"] for meter in meters.values()), meters


def test_no_mixture_of_calls_at_once_passes_a_cap_and_all_that_is_known_is_settled(tmp_path: Path) -> None:
    with _house(tmp_path) as (watch, lab, keys):
        seen = _fire(watch, keys, 0) + _fire(watch, keys, 1_000)
        assert set(seen) <= {"answered", "budget_exceeded", "key_limit_reached"} and seen["answered"] > 20
        _check_caps(watch, lab)


def test_settings_taken_anew_all_the_time_let_no_call_past_a_cap(tmp_path: Path) -> None:
    with _house(tmp_path) as (watch, lab, keys):
        over = threading.Event()

        def storm() -> None:
            while not over.wait(0.01):
                watch.signal(signal.SIGHUP)

        storming = threading.Thread(target=storm)
        storming.start()
        try:
            _fire(watch, keys, 0)
        finally:
            over.set()
            storming.join()
        _check_caps(watch, lab)


BROKEN = (
    "[[policies]]\n",
    '[[policies]]\nuse = "budgets"\n',
    '[[policies]]\nuse = "budget"\nwith = { per = "organisation", tokens = -1 }\n',
    '[[policies]]\nuse = "budget"\nwith = { per = "organisation", tokens = "many" }\n',
    '[[upstreams]]\nname = "lab"\nbase_url = "http://127.0.0.1:9/v1"\ncredential = "none"\n',
    '[[routes]]\nname = "other"\ntargets = [{ upstream = "nowhere" }]\n',
    "\0",
)


def test_settings_that_cannot_be_used_leave_the_limits_in_force(tmp_path: Path) -> None:
    with _house(tmp_path) as (watch, lab, keys):
        file = tmp_path / "watchkeeper.toml"
        kept = file.read_text()
        fired: list[Counter[str]] = []
        firing = threading.Thread(target=lambda: fired.append(_fire(watch, keys, 0)))
        firing.start()
        for broken in BROKEN:
            # Without the caps, and broken besides: nothing of it may come into force.
            file.write_text(kept.partition("[[policies]]")[0] + broken)
            watch.signal(signal.SIGHUP)
            assert watch.command("reload").returncode != 0, broken
        firing.join()
        assert (fired[0] + _fire(watch, keys, 1_000))["budget_exceeded"] > 0
        file.write_text(kept)
        _check_caps(watch, lab)


def test_a_gateway_that_is_killed_in_the_middle_gives_nothing_back_and_comes_up_under_a_storm_of_hangups(
    tmp_path: Path,
) -> None:
    with _house(tmp_path) as (watch, lab, keys):
        firing: list[Counter[str]] = []
        thread = threading.Thread(target=lambda: firing.append(_fire(watch, keys, 0)))
        thread.start()
        while len(lab.calls) < 10 and thread.is_alive():
            time.sleep(0.01)
        kill([watch.gateway_pid()])
        thread.join()
        for _ in range(40):
            watch.signal(signal.SIGHUP)
            time.sleep(0.05)
        watch.wait_ready()
        _check_caps(watch, lab)
        held = {tenant: meter["held"] for tenant, meter in _meters(watch).items()}
        _fire(watch, keys, 1_000)
        _check_caps(watch, lab)
        assert all(meter["held"] >= held.get(tenant, 0) for tenant, meter in _meters(watch).items())
        assert (tmp_path / "serve.log").read_text().count("the gateway process") == 1


def test_calls_under_one_idempotency_key_are_made_and_charged_once_also_across_a_kill(tmp_path: Path) -> None:
    with _house(tmp_path) as (watch, lab, keys):
        seen = _fire(watch, keys, 0, once=True)
        assert seen["answered"] == 200
        billed, held = _billed(lab), sum(meter["held"] for meter in _meters(watch).values())
        served = Counter(call.outcome for call in lab.calls)["served"]
        kill([watch.gateway_pid()])
        watch.wait_ready()
        assert _fire(watch, keys, 0, once=True)["answered"] == 200
        assert (_billed(lab), Counter(call.outcome for call in lab.calls)["served"]) == (billed, served)
        assert sum(meter["held"] for meter in _meters(watch).values()) == held >= billed


def test_background_responses_are_settled_once_for_their_maker_whoever_retrieves_them(tmp_path: Path) -> None:
    with _house(tmp_path, policies=False) as (watch, lab, _):
        maker = watch.cli("key", "create", "maker", "--tenant", "a", "--limit", "tokens=1000/total")["secret"]
        reader = watch.cli("key", "create", "reader", "--tenant", "a")["secret"]
        body = {"model": "lab-reasoning", "input": "hello", "background": True, "max_output_tokens": 60}

        def ask(method: str, path: str, secret: str, value: object = None) -> Answer:
            return watch.http(method, path, value, headers={"X-Watchkeeper-Key": secret})

        def make_all() -> list[str]:
            """Ask until the limit is reached."""
            made: list[str] = []
            while (answer := ask("POST", "/v1/responses", maker, body)).status == 200:
                made.append(json.loads(answer.body)["id"])
            assert json.loads(answer.body)["error"]["code"] == "key_limit_reached"
            return made

        first = make_all()
        kill([watch.gateway_pid()])
        watch.wait_ready()
        assert make_all() == []
        with ThreadPoolExecutor(20) as pool:
            paths = [f"/v1/responses/{each}" for each in first * 20]
            assert {answer.status for answer in pool.map(lambda path: ask("GET", path, reader), paths)} == {200}
        second = make_all()
        assert second
        assert _billed(lab) <= 1000
