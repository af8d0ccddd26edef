"""S09: an eval that passes on its curated questions notices few of the defects that reach users.

The agent is a program of the lab and no model; the defects are planted behind it. The figures tell how well the grading
tells suites apart, and nothing about any agent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told

scenario = "S09"
promise = (
    "Exact match on curated questions kills few planted defects, adding paraphrases and invariants kills measurably "
    "more of the same ones without false alarms, and a suite that always fails earns nothing."
)

EXACT = '"scorers": [{"use": "exact"}],'
PROPERTIES = """
    "scorers": [{"use": "exact"}],
    "properties": [
        {"name": "any wording", "holds": "same", "under": "paraphrase"},
        {"name": "any typing", "holds": "same", "under": "perturb", "with": {"kinds": ["case", "whitespace"]}},
        {"name": "one sentence", "holds": "at_most", "words": 12, "under": "paraphrase"},
    ],
"""
FAILING = '"scorers": [{"use": "schema", "with": {"schema": {"type": "object"}}}],'


def run(stage: Stage) -> Result:
    """Write the exercise, hand in three suites, and grade each against the first one."""
    notes = Notes()
    told(stage.folder, "eval", "mutants", "--kit", "kit")
    first = stage.folder / "kit" / "suite.py"
    stage.say("the exercise's own suite: exact match on curated questions")
    alone = told(stage.folder, "eval", "mutants", str(first), expect=(0, 1))
    stage.say("the same with paraphrases and invariants")
    more = _graded(stage, first, "more", PROPERTIES, 0)
    stage.say("a suite that always fails, and the first one handed in again")
    failing, same = _graded(stage, first, "failing", FAILING, 1, 3), _graded(stage, first, "same", EXACT, 3)
    kills, compared = alone["parts"][-1]["kills"], more["compared"]
    notes.measure(exact_kills=kills["value"], exact_low=kills["low"], exact_high=kills["high"])
    notes.measure(more_kills=more["parts"][-1]["kills"]["value"], mutants=more["mutants"])
    notes.measure(added=compared["kills"]["value"], added_low=compared["kills"]["low"], p_value=compared["p_value"])
    notes.measure(false_alarms=more["false_alarms"], failing_credit=failing["credit"]["value"])
    notes.tell(f"exact match kills {alone['caught']} of {alone['mutants']}, with properties {more['caught']}")
    notes.check("exact match kills fewer than half", kills["value"] < 0.5)
    notes.check("and none of those that show only elsewhere", alone["by_where"]["unrehearsed"]["value"] == 0)
    notes.check("the properties kill measurably more", compared["verdict"] == "better" and compared["p_value"] < 0.05)
    notes.check("without a false alarm", more["false_alarms"] == 0)
    notes.check("always failing earns nothing", failing["credit"]["value"] == 0)
    notes.check("the same suite is called neither better nor worse", same["compared"]["verdict"] == "not resolved")
    return notes.result()


def _graded(stage: Stage, first: Path, name: str, judged: str, *expect: int) -> Any:
    """A suite that judges otherwise than the first one, graded against it."""
    path = first.with_name(f"{name}.py")
    path.write_text(first.read_text(encoding="utf-8").replace(EXACT, judged), encoding="utf-8")
    return told(stage.folder, "eval", "mutants", str(path), "--against", str(first), expect=expect)
