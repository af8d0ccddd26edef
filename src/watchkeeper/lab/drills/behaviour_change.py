"""S10: the new version wins the benchmark, a parser breaks on a habit, and deep users of the old version suffer."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from random import Random
from typing import Any, NamedTuple

from watchkeeper.lab.script import Chance, Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import write_suite
from watchkeeper.lab.watch import Watch
from watchkeeper.records.ids import new_span_id, new_trace_id

scenario = "S10"
promise = (
    "Of two recorded versions the planted habits rank first and the parser that breaks is named, equal ones are quiet, "
    "and a sunset stops where it harms the deep users and nowhere else (lab replies, outcomes made up)."
)

LIGHT, DEEP = 40, 40
LIGHT_USES, DEEP_USES, AFTER = 2, 6, 3
GOOD, HARMED = 0.95, 0.45
DROP = 0.3
LEDGER = re.compile(r"^Total: \d+$", re.MULTILINE)
ASKED = "Which colour is it?"
_SAID = (
    "The lamp was sent on Monday.",
    "The order is on its way and should be there in a week.",
    "It was sent. The parcel is with the carrier now. It takes three days.",
    "The blue lamp is in stock, and one of them is yours.",
    "The refund was made today, to the card that was used for the order, less what the parcel cost.",
)
_MORE = " It might take a little longer than usual, and perhaps the carrier will call first. Please keep the number."


def _desk(name: str, *, new: bool) -> Rule:
    said = (f"Perhaps this helps. {each}{_MORE}\n```\nTotal: $count (about)\n```" for each in _SAID)
    old = (f"{each}\nTotal: $count" for each in _SAID)
    chances = tuple(Chance(weight=1, answer=each) for each in (said if new else old))
    return Rule(name=name, when=When(system=f"You are {name}."), chances=chances)


OLD, NEW, LEFT, RIGHT = DESKS = "the old desk", "the new desk", "the left desk", "the right desk"


class _Use(NamedTuple):
    """One use of a desk by a user, in a session of its own, and how it ended."""

    desk: str
    user: str
    session: str
    good: bool


def run(stage: Stage) -> Result:
    """Serve two desks to the same users, compare them, and retire the old one; then the same with two equal desks."""
    notes, rng = Notes(), Random(10)
    colour = Rule(name="colour", when=When(system="desk", last_user=ASKED), answer="blue")
    watch = stage.serve(stage.lab(colour, *(_desk(name, new=name == NEW) for name in DESKS)))
    stage.say("users get used to the old desk and to the left one")
    for desk in DESKS:
        _call(watch, desk)
    for desk in (OLD, LEFT):
        _serve(watch, _before(desk, rng))
    scores = [_suite(stage, watch, desk) for desk in (OLD, NEW)]
    notes.measure(eval_scores=str(scores))
    notes.check("the eval scores of old and new are equal", scores[0] == scores[1])
    watch.flush()
    versions = _versions(watch)
    stage.say("their sunset is planned, and they move on to the new desk and to the right one")
    plans = {desk: _planned(stage, watch, versions[desk], versions[to]) for desk, to in ((OLD, NEW), (LEFT, RIGHT))}
    began = time.time_ns()
    for desk, old, harm in ((NEW, OLD, HARMED), (RIGHT, LEFT, GOOD)):
        _serve(watch, _after(desk, old, rng, harm))
    watch.flush()
    _compare(watch, versions, notes)
    _attached(plans[OLD], versions[OLD], notes)
    _follow(watch, plans, began, notes)
    return notes.result()


def _before(desk: str, rng: Random) -> Iterator[_Use]:
    for cohort, users, uses in (("light", LIGHT, LIGHT_USES), ("deep", DEEP, DEEP_USES)):
        for user in range(users):
            for use in range(uses):
                yield _Use(desk, f"{desk[4:]} {cohort} {user}", f"{desk} {cohort} {user} {use}", rng.random() < GOOD)


def _after(desk: str, old: str, rng: Random, harmed: float) -> Iterator[_Use]:
    """The same users at another desk; for the deep ones it ends well less often."""
    for cohort, users, good in (("light", LIGHT, GOOD), ("deep", DEEP, harmed)):
        for user in range(users):
            for use in range(AFTER):
                yield _Use(desk, f"{old[4:]} {cohort} {user}", f"{desk} {cohort} {user} {use}", rng.random() < good)


def _serve(watch: Watch, uses: Iterator[_Use]) -> None:
    """Call the gateway for each use; a ledger reads each reply in a span of its own; outcomes are told at the end."""
    spans, outcomes = [], []
    for use in uses:
        trace_id = new_trace_id()
        who = {"X-Watchkeeper-User": use.user, "X-Watchkeeper-Session": use.session}
        said = _call(watch, use.desk, {**who, "traceparent": f"00-{trace_id}-{new_span_id()}-01"})
        now = time.time_ns()
        span = {"traceId": trace_id, "spanId": new_span_id(), "name": "read total", "kind": 1}
        span |= {"startTimeUnixNano": str(now), "endTimeUnixNano": str(now + 1000)}
        spans.append({**span, "status": {"code": 1 if LEDGER.search(said) else 2}})
        outcomes.append({"session": use.session, "success": use.good})
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "ledger"}}]}
    watch.post("/v1/traces", {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]})
    watch.post("/api/v1/outcomes", outcomes)


def _call(watch: Watch, desk: str, headers: dict[str, str] | None = None) -> str:
    """What a desk says, streamed."""
    messages = [{"role": "system", "content": f"You are {desk}."}, {"role": "user", "content": "Where is my order?"}]
    asked = {"model": "lab-small", "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    answer = watch.http("POST", "/v1/chat/completions", asked, headers=headers)
    lines = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: {")]
    choices = [choice for line in lines for choice in json.loads(line)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def _suite(stage: Stage, watch: Watch, desk: str) -> Any:
    """The mean score of a small suite against a desk, as `eval run` tells it."""
    messages = [{"role": "system", "content": f"You are {desk}."}, {"role": "user", "content": ASKED}]
    cases = [{"id": str(n), "messages": messages, "expected": "blue"} for n in range(3)]
    path = write_suite(stage.folder, watch.base_url, cases, name="orders")
    watch.cli("eval", "run", str(path), "--no-cache")
    watch.flush()
    return watch.cli("eval", "list")["items"][0]["summary"]["exact"]["value"]


def _versions(watch: Watch) -> dict[str, str]:
    """The composition of each desk, by the prompt that the trial calls sent."""
    found: dict[str, str] = {}
    for row in watch.get("/api/v1/serving")["items"]:
        span = watch.get(f"/api/v1/spans?manifest={row['manifest']}&limit=1")["items"][0]
        asked = watch.get(f"/api/v1/spans/{span['span_id']}/request?trace={span['trace_id']}")
        found[asked["messages"][0]["content"][8:-1]] = f"manifest:{row['manifest']}"
    return found


def _compare(watch: Watch, versions: dict[str, str], notes: Notes) -> None:
    blocks = watch.cli("report", "behaviour", versions[OLD], versions[NEW])["blocks"]
    features = [row for row in _rows(blocks, "feature") if row[6] == "differs"]
    top = [row[0] for row in features[:10]]
    notes.measure(replies_each=LIGHT + DEEP, features_that_differ=len(features), first=", ".join(top[:4]))
    for habit in ("length.words", "manner.hedges", "format.fences"):
        notes.check(f"{habit} is among the first ten", habit in top)
    notes.check("each has an interval", all(" to " in row[4] for row in features))
    readers = {row[0]: row for row in _rows(blocks, "consumer")}
    notes.check("the parser seen in traces is named", readers["ledger: read total"][6] == "breaks")
    notes.check("what it hangs on is told", "format.fences" in readers["ledger: read total"][7])
    equal = watch.cli("report", "behaviour", versions[LEFT], versions[RIGHT])["blocks"]
    alarms = [row[0] for row in _rows(equal, "feature") if row[6] == "differs"]
    pace = sum(name.startswith("pace.") for name in alarms)
    notes.measure(equal_features_of_text=len(alarms) - pace, equal_features_of_pace=pace)
    notes.tell(f"first: {', '.join(top[:4])}; {len(alarms)} features of equal desks")
    notes.check("equal versions differ in no feature of the text", len(alarms) == pace)
    notes.check("equal versions break no parser", all(row[6] != "breaks" for row in _rows(equal, "consumer")))


def _rows(blocks: list[dict[str, Any]], first: str) -> list[list[Any]]:
    found = (each["rows"] for each in blocks if each["type"] == "table" and each["columns"][0] == first)
    return next(found, [])


def _planned(stage: Stage, watch: Watch, old: str, new: str) -> dict[str, Any]:
    path = stage.folder / f"{old[9:21]}.json"
    found: dict[str, Any] = watch.cli("eval", "sunset", "plan", old, new, "--drop", str(DROP), "--out", str(path))
    return {**found, "path": str(path)}


def _attached(plan: dict[str, Any], old: str, notes: Notes) -> None:
    cohorts = {each["name"]: each["users"] for each in plan["cohorts"]}
    notes.measure(light_users=cohorts.get("light"), deep_users=cohorts.get("deep"), stages=len(plan["stages"]))
    notes.check("cohorts come from recorded use", (cohorts.get("light"), cohorts.get("deep")) == (LIGHT, DEEP))
    notes.check("stages begin with opting in", plan["stages"][0]["kind"] == "opt-in")
    notes.check("the way back is the old composition", plan["revert_to"][0]["manifest"] == old.partition(":")[2])
    found = {(each["kind"], each["name"]) for each in plan["retire_too"]}
    notes.check("the suite and the prompt are to go too", ("suite", "orders") in found and "prompt" in dict(found))


def _follow(watch: Watch, plans: dict[str, dict[str, Any]], began: int, notes: Notes) -> None:
    times = [word for number in (2, 3) for word in ("--began", f"{number}={began}")]
    told = {}
    for desk in (OLD, LEFT):
        found = watch.cli("eval", "sunset", "follow", plans[desk]["path"], *times, expect=(0, 1))["stages"]
        told[desk] = {(each["kind"], each["cohort"]): each for each in found}
    harmed, spared = told[OLD]["default", "deep"], told[OLD]["default", "light"]
    notes.measure(
        deep_change=harmed["change"]["value"],
        deep_change_high=harmed["change"]["high"],
        decided_after_users=harmed["change"]["n"],
        light=spared["state"],
        equal=", ".join(sorted({each["state"] for each in told[LEFT].values()})),
    )
    notes.tell(f"stopped for the deep users after {harmed['change']['n']} of {harmed['moved']}")
    notes.check("the sunset is stopped for the deep users", harmed["state"] == "stop")
    notes.check("and not for the light ones", spared["state"] != "stop")
    notes.check("that of the equal desks is not stopped", all(each["state"] != "stop" for each in told[LEFT].values()))
