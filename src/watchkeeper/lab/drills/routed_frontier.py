"""S25: the map says where the cheap model fails; a release is stopped by it, and calls are routed by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from watchkeeper.lab.script import Chance, Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import SETTINGS as FILE
from watchkeeper.lab.watch import Watch

scenario = "S25"
promise = (
    "A failing cell stops a release by name, and the map as a route cuts live errors at a stated coverage of the cheap "
    "model, with every diverted call a decision, a stale map told, and equal versions quiet (planted rates, lab)."
)

ITEMS, LIVE = 60, 60
BAR = 0.75
CELLS = (("dates", "easy"), ("dates", "hard"), ("sums", "easy"))
_SMALL = {"dates easy": 0.3, "dates hard": 0.97, "sums easy": 0.97, "poems easy": 0.5}
_MIX = (("dates", "easy", 1), ("dates", "hard", 2), ("sums", "easy", 2), ("poems", "easy", 1))
_ROUTE = """
[[routes]]
name = "desk"
targets = [{ upstream = "lab", model = "lab-small" }]
"""
_POLICY = """
[[policies]]
use = "frontier"
with = { map = "map.json", models = ["desk"], to = "lab-large" }
"""


def run(stage: Stage) -> Result:
    """Measure the cells through the gateway, gate on them, route by them, change what serves, and measure again."""
    notes = Notes()
    watch = stage.serve(stage.lab(*_rules()), _ROUTE)
    suite = _suite(watch)
    stage.say(f"a suite of {len(CELLS)} cells, {ITEMS} cases each, is asked through the gateway")
    _gate(watch, suite, notes)
    stage.say("the map is drawn, with the composition that answered")
    words = ("--by", "family", "--by", "difficulty", "--score", "exact", "--bar", str(BAR))
    drawn = watch.cli("eval", "map", "draw", "base.jsonl", *words, "--out", "map.json", expect=(1,))
    notes.check(
        "the map knows what answered", [len(each["components"]) > 4 for each in drawn["compositions"]] == [True]
    )
    stage.say(f"live calls, two rounds without the route and one with it: {LIVE} for each share of the mix")
    before, again = _live(watch), _live(watch)
    _edit(watch, lambda text: text + _POLICY)
    after = _live(watch)
    _errors(watch, {"before": before, "again": again, "routed": after}, notes)
    _routed(watch, [*before, *again], after, drawn["digest"], notes)
    stage.say("somebody changes the system prompt, and the map is of something else")
    _stale(watch, notes)
    stage.say("the same version again")
    _same(watch, suite, notes)
    return notes.result()


def _rules() -> list[Rule]:
    """The small model is right at the planted rates, the large one everywhere at 0.97."""
    wrong = "wrong"
    rules = [
        Rule(
            name=f"small, {cell}",
            when=When(model="lab-small", last_user=cell),
            chances=(Chance(weight=rate, answer="right"), Chance(weight=1 - rate, answer=wrong)),
        )
        for cell, rate in _SMALL.items()
    ]
    large = (Chance(weight=0.97, answer="right"), Chance(weight=0.03, answer=wrong))
    return [*rules, Rule(name="large", when=When(model="lab-large"), chances=large)]


def _suite(watch: Watch) -> str:
    cases = [
        {
            "id": f"{family}-{difficulty}-{number}",
            "input": f"{family} {difficulty} {number}",
            "expected": "right",
            "attributes": {"family": family, "difficulty": difficulty},
        }
        for family, difficulty in CELLS
        for number in range(ITEMS)
    ]
    named = {"cell": {"family": "poems", "difficulty": "easy"}}
    suite = {
        "name": "cells",
        "target": {"model": "lab-small", "base_url": watch.base_url, "parameters": {"max_tokens": 20}},
        "cases": cases,
        "scorers": [{"use": "exact"}],
        "gates": {"cells": {"by": ["family", "difficulty"], "floor": BAR, "named": [named]}},
    }
    path = watch.folder / "cells.yaml"
    path.write_text(yaml.safe_dump(suite), encoding="utf-8")
    return path.name


def _gate(watch: Watch, suite: str, notes: Notes) -> None:
    ran = watch.cli("eval", "run", suite, "--out", "base.jsonl", "--junit", "gates.xml", expect=(0, 1, 3))
    gates = {each["cell"]: each for each in ran["gates"]}
    states = {name.replace("family=", "").replace("difficulty=", ""): each["passed"] for name, each in gates.items()}
    notes.measure(gates=", ".join(f"{name}: {state}" for name, state in states.items()))
    wanted = {"dates, easy": False, "dates, hard": True, "sums, easy": True, "poems, easy": None}
    notes.check("the failing cell stops the release, and the unmeasured one is not green", states == wanted)
    cases = ElementTree.parse(Path(watch.folder) / "gates.xml").iter("testcase")
    failed = [each.get("name", "") for each in cases if each.find("failure") is not None]
    named = [each for each in failed if "in cell" in each]
    notes.check("and JUnit names the cell", [name.partition("in cell ")[2] for name in named] == [
        "family=dates, difficulty=easy"])  # fmt: skip


def _live(watch: Watch, system: str | None = None, most: int | None = None) -> list[dict[str, Any]]:
    """Live calls of the mix: where each lies, whether it was right, who answered, and the header of a diversion."""
    made = []
    for family, difficulty, share in _MIX:
        for number in range(min(share * LIVE, most or share * LIVE)):
            said = [{"role": "user", "content": f"{family} {difficulty} {number}"}]
            body = {
                "model": "desk",
                "messages": [*([{"role": "system", "content": system}] if system else []), *said],
                "max_tokens": 20,
            }
            header = {
                "X-Watchkeeper-Agent": "desk",
                "X-Watchkeeper-Features": f"family={family}, difficulty={difficulty}",
            }
            answer = watch.http("POST", "/v1/chat/completions", body, headers=header)
            if answer.status != 200:
                raise RuntimeError(f"a live call was answered with {answer.status}: {answer.body[:300]!r}")
            told = json.loads(answer.body)
            made.append(
                {
                    "cell": f"family={family}, difficulty={difficulty}",
                    "right": told["choices"][0]["message"]["content"] == "right",
                    "model": told["model"],
                    "diverted": answer.headers.get("x-watchkeeper-diverted"),
                }
            )
    return made


def _errors(watch: Watch, sides: dict[str, list[dict[str, Any]]], notes: Notes) -> None:
    """What the route does to live errors, call by call; and what a second round without it does, which is nothing."""
    names = list(sides)
    lines = ["id,side,right"]
    lines += [f"{n},{name},{int(each['right'])}" for name in names for n, each in enumerate(sides[name])]
    (watch.folder / "live.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("eval", "compare", "live.csv", "--item", "id", "--score", "right", "--by", "side", "--a", "before", "--b")
    routed, again = (watch.cli(*words, name, expect=(0, 1)) for name in ("routed", "again"))
    notes.measure(
        live_calls=routed["n"],
        errors_before=round(1 - routed["mean_a"], 4),
        errors_routed=round(1 - routed["mean_b"], 4),
        cut_low=round(routed["low"], 4),
        cut_high=round(routed["high"], 4),
        without_the_route_again=again["verdict"],
    )
    notes.tell(
        f"live errors {1 - routed['mean_a']:.1%} become {1 - routed['mean_b']:.1%} (cut by {routed['low']:.1%} to "
        f"{routed['high']:.1%})"
    )
    notes.check("the route cuts live errors", routed["verdict"] == "better" and routed["low"] > 0)
    notes.check("by more than half", 1 - routed["mean_b"] < (1 - routed["mean_a"]) / 2)
    notes.check("without the route nothing changes", again["verdict"] == "not resolved")


def _routed(watch: Watch, before: list[dict[str, Any]], after: list[dict[str, Any]], digest: str, notes: Notes) -> None:
    kept = [each for each in after if each["diverted"] is None]
    coverage = len(kept) / len(after)
    notes.measure(coverage_of_the_cheap_model=round(coverage, 4), diverted=len(after) - len(kept))
    notes.tell(f"the cheap model answers {coverage:.0%} of the calls")
    notes.check("without the route nothing is diverted", all(each["diverted"] is None for each in before))
    notes.check("its coverage is that of the passing cells", abs(coverage - 4 / 6) < 1e-9)
    passing = {"family=dates, difficulty=hard", "family=sums, difficulty=easy"}
    notes.check("no call of a passing cell is diverted", {each["cell"] for each in kept} == passing)
    watch.flush()
    ruled = _decisions(watch)
    said = {each["decision_id"]: each for each in ruled if each["verdict"] == "amend"}
    notes.check("every diverted call is a decision", {_decision(each) for each in after} - {None} == set(said))
    reasons = {each["reason"] for each in said.values()}
    notes.check("with its cell, the map and the reason", reasons == {"cell_failing", "cell_unmeasured"} and {
        each["facts"]["map"] for each in ruled} == {digest} and {
        each["facts"]["cell"] for each in said.values()} == {each["cell"] for each in after} - passing)  # fmt: skip
    watch.cli("export", "--format", "jsonl", "-o", "live.jsonl", "--agent", "desk")
    told = watch.cli("eval", "map", "share", "map.json", "live.jsonl")
    shares = {state: round(told[state]["value"], 4) for state in ("passing", "failing", "unmeasured")}
    mix = {"passing": round(4 / 6, 4), "failing": round(1 / 6, 4), "unmeasured": round(1 / 6, 4)}
    notes.check("the record has the live calls in the same cells", shares == mix)


def _decisions(watch: Watch) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = watch.cli("ask", "decisions", "policy=frontier", "limit=10000")["items"]
    return found


def _decision(call: dict[str, Any]) -> str | None:
    """The decision that a diverted call's header names."""
    return None if call["diverted"] is None else str(call["diverted"]).rpartition("decision=")[2]


def _stale(watch: Watch, notes: Notes) -> None:
    known = {each["decision_id"] for each in _decisions(watch)}
    calls = _live(watch, system="You answer in rhymes.", most=5)
    watch.flush()
    fresh = [each for each in _decisions(watch) if each["decision_id"] not in known]
    told = {(each["reason"], each["facts"].get("stale")) for each in fresh}
    notes.measure(stale_calls=len(calls), stale_decisions=len(fresh))
    notes.check("a stale map is told with what differs, and its cells count as unmeasured", told == {
        ("map_stale", "system")} and all(each["diverted"] for each in calls))  # fmt: skip


def _same(watch: Watch, suite: str, notes: Notes) -> None:
    ran = watch.cli("eval", "run", suite, "--against", "base.jsonl", "--no-cache", "--out", "again.jsonl", expect=(1,))
    (kept,) = [each for each in ran["gates"] if each["gate"].startswith("no cell lost")]
    notes.check("against itself no cell is lost", kept["passed"] is True)
    changed = watch.cli("eval", "map", "diff", "base.jsonl", "again.jsonl", "--by", "family", "--by", "difficulty",
                        "--score", "exact")["cells"]  # fmt: skip
    notes.check("and none is told as changed", {each["verdict"] for each in changed} == {"not resolved"})


def _edit(watch: Watch, change: Any) -> None:
    """Write the settings file anew and have it taken."""
    file = watch.folder / FILE
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    watch.cli("reload")
