"""S13, S52: two gateways race for the last dollar of one budget, one of them is killed, and then the ledger is gone."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from watchkeeper.lab.overspend import upstream
from watchkeeper.lab.prices import spent_usd
from watchkeeper.lab.processes import kill
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import Watch, lab_settings

scenario = "S13"
promise = (
    "Two gateways that share one ledger never spend more than a cap together: not in a race, not across kill -9, and "
    "not while the ledger is out of reach."
)

CAP_USD = 0.3
SLICE_USD = 0.05
MODEL = "lab-reasoning"
RACE_CALLS = 100
CRASH_CALLS = 30
GONE_CALLS = 12
WAIT_S = 30.0
SHARED = "LAST_DOLLAR_CELLS"

SETTINGS = f"""
[[policies]]
use = "budget"
with = {{ per = "session", usd = {CAP_USD}, slice_usd = {SLICE_USD} }}
"""


def run(stage: Stage) -> Result:
    """Serve two gateways over one ledger and play the race, the crash and the outage."""
    notes = Notes()
    cells = stage.folder / "cells.sqlite"
    with ExitStack() as stack:
        lab = stack.enter_context(upstream())
        settings = f'cells = "env:{SHARED}"\n' + lab_settings(lab.base_url) + SETTINGS
        environment = {SHARED: f"sqlite:{cells}"}
        stage.say("starting two servers that share a ledger")
        both = [
            stack.enter_context(Watch(stage.folder / name, settings, environment=environment))
            for name in ("one", "two")
        ]
        stage.say(f"{2 * RACE_CALLS} calls race for one budget")
        asyncio.run(_race(both, lab, notes))
        stage.say("a gateway is killed with calls in flight")
        asyncio.run(_crash(both, lab, notes))
        stage.say("the ledger is out of reach")
        asyncio.run(_gone(both[0], lab, cells, notes))
    return notes.result()


async def _race(both: list[Watch], lab: LabServer, notes: Notes) -> None:
    start = len(lab.calls)
    answers = await _fire([(watch, "race") for watch in both for _ in range(RACE_CALLS)])
    spent = _spent(lab, start)
    notes.measure(race_calls=2 * RACE_CALLS, race_answered=answers["200"], race_spent_usd=spent, race_cap_usd=CAP_USD)
    notes.tell(f"{2 * RACE_CALLS} calls at two gateways spent ${spent:.4f} of a ${CAP_USD:.2f} cap")
    notes.check("two gateways at once did not spend more than the cap", spent <= CAP_USD)
    notes.check("they spent most of it", spent > CAP_USD / 2)
    notes.check("all that was over was refused as that", set(answers) <= {"200", "budget_exceeded"})


async def _crash(both: list[Watch], lab: LabServer, notes: Notes) -> None:
    """The first gateway dies with calls in flight; afterwards both are asked for more than there can be."""
    start = len(lab.calls)
    flying = asyncio.create_task(_fire([(both[0], "crash")] * CRASH_CALLS))
    arrived = await _until(lambda: len(lab.calls) > start)
    kill([both[0].gateway_pid()])
    lost = (await flying)["lost"]
    await asyncio.to_thread(both[0].wait_ready)
    answers = await _fire([(watch, "crash") for watch in both for _ in range(CRASH_CALLS * 2)])
    spent = _spent(lab, start)
    left = await asyncio.to_thread(both[1].cli, "budget", "list", "--level", "session", "--owner", "crash")
    notes.measure(crash_lost=lost, crash_answered_after=answers["200"], crash_spent_usd=spent)
    notes.tell(f"with a gateway killed, ${spent:.4f}")
    notes.check("calls were in flight when the gateway was killed", arrived and lost > 0)
    notes.check("with a gateway killed no more than the cap was spent", spent <= CAP_USD)
    notes.check("what the dead gateway held is listed", bool(left["open"]) or bool(left["slices"]))
    notes.check(
        "the meter holds at least what was spent and at most the cap",
        all(spent <= item["held"] + 1e-9 and item["held"] <= CAP_USD + 1e-9 for item in left["items"]),
    )


async def _gone(watch: Watch, lab: LabServer, cells: Path, notes: Notes) -> None:
    """Nothing can be written to the ledger: the slice is spent, then the budget's own direction holds."""
    start = len(lab.calls)
    await _fire([(watch, "gone")])
    with _locked(cells):
        answers = await _fire([(watch, "gone")] * GONE_CALLS)
    spent = _spent(lab, start)
    notes.measure(gone_answered=answers["200"], gone_refused=GONE_CALLS - answers["200"], gone_spent_usd=spent)
    notes.tell(f"without the ledger {answers['200']} of {GONE_CALLS} calls went on, from a slice")
    notes.check("without the ledger calls went on from the slice", answers["200"] > 0)
    notes.check("and were refused when it was spent", answers["facts_unavailable"] > 0 and spent <= SLICE_USD)


@contextmanager
def _locked(cells: Path) -> Iterator[None]:
    """Hold the write lock of the shared ledger."""
    connection = sqlite3.connect(cells, timeout=10.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def _fire(calls: list[tuple[Watch, str]]) -> Counter[str]:
    """All calls at once: how often each code was answered, "200" for a reply, "lost" for none."""
    import aiohttp

    answers: Counter[str] = Counter()

    async def one(http: aiohttp.ClientSession, watch: Watch, session: str) -> None:
        headers = {"X-Watchkeeper-Session": session}
        asked: dict[str, Any] = {
            "model": MODEL,
            "max_tokens": 200,
            "messages": [{"role": "user", "content": "Write at length."}],
        }
        try:
            async with http.post(f"{watch.base_url}/chat/completions", json=asked, headers=headers) as answer:
                body = await answer.json()
                code = "200" if answer.status == 200 else str(body.get("error", {}).get("code"))
        except aiohttp.ClientError:
            code = "lost"
        answers[code] += 1

    connector = aiohttp.TCPConnector(limit=2 * RACE_CALLS)
    async with aiohttp.ClientSession(connector=connector) as http:
        await asyncio.gather(*(one(http, *call) for call in calls))
    return answers


def _spent(lab: LabServer, start: int) -> float:
    """What the provider would bill for the calls since `start`, those included whose caller got no answer."""
    return sum(
        spent_usd(MODEL, call.prompt_tokens or 0, call.completion_tokens or 0)
        for call in lab.calls[start:]
        if call.status == 200
    )


async def _until(is_so: Any) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
