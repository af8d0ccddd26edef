"""S13: two agents hand work back and forth for ever, and fifty sessions spend at once while a process is killed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from typing import Any

from watchkeeper.lab.agents import analyser_and_verifier, crawler
from watchkeeper.lab.prices import spent_usd
from watchkeeper.lab.processes import kill
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import Watch

scenario = "S13"
promise = (
    "A runaway loop is stopped below its cap and honest work is not; caps hold under 50 sessions at once and across "
    "kill -9 of the gateway."
)

CAP_USD = 0.05
SESSIONS = 50
CALLS_EACH = 8
PAGES = 40
MODEL = "lab-reasoning"
WAIT_S = 30.0

SETTINGS = f"""
[[policies]]
use = "loop"
with = {{ action = "stop" }}

[[policies]]
use = "budget"
name = "run-money"
with = {{ per = "run", usd = {CAP_USD} }}

[[policies]]
use = "budget"
name = "session-money"
with = {{ per = "session", usd = {CAP_USD} }}
"""

REPORTER = Rule(
    name="the reporter writes at length",
    when=When(system="You are the reporter"),
    answer="This is a report of the lab, and it is as long as it may be. " * 40,
)


def run(stage: Stage) -> Result:
    """Play the loop, the honest crawl, the crowd and the crash against one server."""
    notes = Notes()
    lab = stage.lab(REPORTER)
    watch = stage.serve(lab, SETTINGS)
    stage.say("an analyser and a verifier hand work back and forth")
    _loop(watch, notes)
    stage.say(f"a crawler reads {PAGES} new pages")
    _crawl(watch, notes)
    stage.say(f"{SESSIONS} sessions spend at once")
    asyncio.run(_crowd(watch, notes))
    stage.say("the gateway is killed during a call")
    asyncio.run(_crash(watch, lab, notes))
    return notes.result()


def _loop(watch: Watch, notes: Notes) -> None:
    with watch.openai() as client:
        report = analyser_and_verifier(client, "runaway", max_turns=200)
    spent = spent_usd("lab-large", report.prompt_tokens or 0, report.completion_tokens or 0)
    notes.measure(
        loop_ended_by=report.code or report.ended_by, loop_calls=report.calls, loop_usd=spent, loop_cap_usd=CAP_USD
    )
    notes.tell(f"stopped after {report.calls} calls at ${spent:.4f} of a ${CAP_USD:.2f} cap ({report.code})")
    notes.check("the loop was stopped as a loop", (report.code or "").startswith("loop_"))
    notes.check("it was stopped below its cap", spent < CAP_USD)


def _crawl(watch: Watch, notes: Notes) -> None:
    with watch.openai() as client:
        report = crawler(client, "crawl", PAGES)
    notes.measure(crawl_ended_by=report.code or report.ended_by, crawl_pages=report.tool_calls)
    notes.tell(f"a crawl of {report.tool_calls} new pages was let through")
    notes.check(
        f"the crawl over {PAGES} new pages came to its end", report.ended_by == "done" and report.tool_calls == PAGES
    )


async def _crowd(watch: Watch, notes: Notes) -> None:
    """Each session makes its calls at the same moment; together they would cost more than the cap."""
    import aiohttp

    answers: Counter[str] = Counter()
    spent: dict[str, float] = defaultdict(float)

    async def one(http: aiohttp.ClientSession, session: str) -> None:
        status, body = await _ask(http, watch, session, 300)
        if status == 200:
            answers["answered"] += 1
            usage = body["usage"]
            spent[session] += spent_usd(MODEL, usage["prompt_tokens"], usage["completion_tokens"])
        else:
            answers[str(body.get("error", {}).get("code"))] += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=SESSIONS)) as http:
        names = [f"crowd-{number}" for number in range(SESSIONS)]
        await asyncio.gather(*(one(http, name) for _ in range(CALLS_EACH) for name in names))
    overspent = max(0.0, max(spent.values(), default=0.0) - CAP_USD)
    refused = answers["budget_exceeded"]
    otherwise = {code: count for code, count in answers.items() if code not in ("answered", "budget_exceeded")}
    notes.measure(
        crowd_sessions=len(spent),
        crowd_answered=answers["answered"],
        crowd_refused=refused,
        crowd_refused_otherwise=str(otherwise) if otherwise else "none",
        crowd_most_usd=max(spent.values(), default=0.0),
        crowd_overspent_usd=overspent,
    )
    notes.tell(f"{SESSIONS} sessions at once overspent ${overspent:.2f}")
    notes.check(f"none of {SESSIONS} sessions spent more than its cap", len(spent) == SESSIONS and overspent == 0.0)
    notes.check("the caps were reached, and no call was refused for another reason", refused > 0 and not otherwise)


async def _crash(watch: Watch, lab: LabServer, notes: Notes) -> None:
    """A call that may have cost nearly the whole cap is under way when the gateway dies; it stays charged."""
    import aiohttp

    async with aiohttp.ClientSession() as http:
        hung = asyncio.create_task(_ask(http, watch, "crash", 1000, fault="hang"))
        arrived = await _until(lambda: any(call.outcome == "hung" for call in lab.calls))
        kill([watch.gateway_pid()])
        lost = isinstance((await asyncio.gather(hung, return_exceptions=True))[0], aiohttp.ClientError)
    await asyncio.to_thread(watch.wait_ready)
    async with aiohttp.ClientSession() as http:
        status, body = await _ask(http, watch, "crash", 1000)
        other_status, _ = await _ask(http, watch, "not-crashed", 1000)
    code = body.get("error", {}).get("code")
    notes.measure(crash_call_arrived=arrived, crash_call_lost=lost, after_crash_same_session=code or status)
    notes.tell(f"after kill -9: {code or status}")
    notes.check("what a killed call may have cost stays charged", arrived and lost and code == "budget_exceeded")
    notes.check("other sessions go on after the crash", other_status == 200)


async def _ask(http: Any, watch: Watch, session: str, max_tokens: int, fault: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"X-Watchkeeper-Session": session, "X-Watchkeeper-Run": session}
    if fault:
        headers["X-Lab-Fault"] = fault
    body = {
        "model": MODEL,
        "max_tokens": max_tokens,
        "messages": [
            {"role": "system", "content": "You are the reporter."},
            {"role": "user", "content": "Write a report."},
        ],
    }
    async with http.post(f"{watch.base_url}/chat/completions", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def _until(is_so: Any) -> bool:
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
