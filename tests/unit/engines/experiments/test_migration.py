"""Every planted difference appears in the matrix, the worst slice blocks, and equal sides are quiet."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.unit.engines.experiments.sides import side, steady
from watchkeeper.engines.experiments.arms import Answers
from watchkeeper.engines.experiments.migration import Migration, label_of, migration, slices_of
from watchkeeper.engines.experiments.results import Result
from watchkeeper.records.case import Case

SLICES = {f"c{case}": "de" if case % 3 == 0 else "en" for case in range(120)}


def report(old: Answers, new: Answers, slices: dict[str, str] = SLICES, margin: float = 0.1) -> Migration:
    return migration(old, new, slices, margin, ["exact"], lambda r: 1e-6 * (r.output_tokens or 0) * len(r.model or ""))


def verdicts(found: Migration, where: str = "all") -> dict[str, str]:
    return {cell.what: cell.verdict for cell in found.cells if cell.slice == where}


def quirky(case: int, rng: Random) -> dict[str, object]:
    """Fences, refuses, flips labels, asks twice, is longer, slower and cut off: each now and then, or by a factor."""
    said = steady(case, rng)
    output = json.loads(str(said["output"]))
    if rng.random() < 0.35:
        output["label"] = "exchange"
        said["right"] = False
    text = json.dumps({**output, "text": str(output["text"]) * 2})
    if rng.random() < 0.15:
        text = f"```json\n{text}\n```"
    if rng.random() < 0.15:
        text = "I'm sorry, but I cannot do that."
    if rng.random() < 0.3:
        said["calls"] = json.dumps([{"name": "find", "arguments": {}}] * 2)
    if rng.random() < 0.15:
        said["finish_reason"] = "length"
    if rng.random() < 0.15:
        said |= {"error": "500", "output": None, "calls": None}
    else:
        said["output"] = text
    said["output_tokens"] = 2 * int(str(said["output_tokens"]))
    said["duration_ns"] = 2 * int(str(said["duration_ns"]))
    return said


def test_every_planted_difference_appears() -> None:
    found = report(side("old", steady, seed=1), side("new", quirky, seed=2))
    assert verdicts(found) == {
        "exact": "worse",
        "failed calls": "worse",
        "refusals": "worse",
        "parse failures": "worse",
        "truncations": "worse",
        "label flips": "different",
        "tool pattern": "different",
        "output tokens": "different",
        "output characters": "different",
        "latency in s": "different",
        "cost in $": "different",
    }
    cells = {cell.what: cell for cell in found.cells if cell.slice == "all"}
    assert cells["latency in s"].change.low < 2 < cells["latency in s"].change.high
    assert cells["failed calls"].change.low < 0.15 < cells["failed calls"].change.high
    assert cells["parse failures"].examples
    assert found.passed is False


def test_equal_sides_are_quiet_but_at_the_stated_rate() -> None:
    """A/A: any cell called better, worse or different in at most 5% of reports."""
    reports = 40
    alarms = sum(
        bool(report(side("old", steady, cases=60, seed=2 * n), side("new", steady, cases=60, seed=2 * n + 1)).changed)
        for n in range(reports)
    )
    assert alarms / reports <= 0.05 + 3 * (0.05 * 0.95 / reports) ** 0.5


def test_the_worst_slice_blocks_although_the_mean_improves() -> None:
    def better_in_english(case: int, rng: Random) -> dict[str, object]:
        return steady(case, rng) | {"right": rng.random() < (0.3 if case % 3 == 0 else 1.0)}

    def fair(case: int, rng: Random) -> dict[str, object]:
        return steady(case, rng) | {"right": rng.random() < 0.6}

    found = report(side("old", fair, seed=3), side("new", better_in_english, seed=4))
    assert verdicts(found)["exact"] == "better"
    assert verdicts(found, "de")["exact"] == "worse"
    assert found.passed is False
    assert "exact in de" in found.blocking
    assert "exact in en" not in found.blocking


def test_equal_sides_pass_where_there_are_cases_enough_and_are_not_resolved_where_not() -> None:
    def sure(case: int, rng: Random) -> dict[str, object]:
        return steady(case, rng) | {"right": case % 10 > 0}

    assert report(side("old", sure, seed=5), side("new", sure, seed=6)).passed is True
    few = report(side("old", sure, cases=9, seed=5), side("new", sure, cases=9, seed=6))
    assert few.passed is None
    assert few.blocking


def test_a_side_that_never_answers_does_not_pass() -> None:
    def dead(case: int, rng: Random) -> dict[str, object]:
        del case, rng
        return {"error": "500"}

    found = report(side("old", steady, seed=7), side("new", dead, seed=8))
    assert verdicts(found)["failed calls"] == "worse"
    assert found.passed is False


def test_labels_are_read_out_of_json_out_of_a_fence_and_out_of_short_texts() -> None:
    def said(output: str) -> Result:
        return Result(experiment_id="e", suite="s", case_id="c", output=output)

    assert label_of(said('{"a": "x", "n": 3.5}')) == label_of(said('```json\n{"n": 9, "a": "x"}\n```'))
    assert label_of(said(" Refund. ")) == label_of(said("refund"))
    assert label_of(said("word " * 40)) is None


def test_an_attribute_that_no_case_has_is_an_error_that_names_those_there_are() -> None:
    case = Case(case_id="c", dataset="d", messages="[]", attributes={"language": "de"})
    assert slices_of([case], "language") == {"c": "de"}
    assert slices_of([case], None) == {"c": "all"}
    named = Case(case_id="c", dataset="d", messages="[]", attributes={"language": "all"})
    assert slices_of([named], "language") == {"c": "all (so called)"}
    with pytest.raises(ValueError, match="There are: language"):
        slices_of([case], "locale")
