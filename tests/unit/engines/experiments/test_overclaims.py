"""Planted fake citations and invented reasons behind right answers are found at the stated precision."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from watchkeeper.capabilities.scorers.overclaim import Overclaim
from watchkeeper.engines.experiments.overclaims import Overclaims, overclaims
from watchkeeper.engines.experiments.rows import TableError

THINGS = ("lamp", "chair", "desk", "clock", "kettle", "mirror", "carpet", "shelf")
INVENTED = ("Customers told us in many letters that they prefer it.", "Our founder promised this a long time ago.")


def row(number: int, rng: Random, planted: bool) -> dict[str, Any]:
    thing, days = THINGS[number % len(THINGS)], 10 + number % 50
    fact = f"The {thing} of series {number} can be returned within {days} days of delivery."
    reason = f"{fact[:-1]} [terms.md]."
    if planted:
        reason = rng.choice((f"{fact[:-1]} [annex-{number}.md].", rng.choice(INVENTED)))
    return {
        "id": f"i{number}",
        "output": f"{reason}\nAnswer: {days} days",
        "expected": f"{days} days",
        "sources": [{"document": "terms.md", "text": f"{fact} Send it in its box."}],
        "cohort": "new" if number % 2 else "expert",
    }


def found(path: Path, rate: float, by: str | None = None) -> Overclaims:
    rng = Random(41)
    rows = [row(number, rng, rng.random() < rate) for number in range(200)]
    path.write_text("\n".join(map(json.dumps, rows)))

    def score(subject: Any) -> Any:
        return Overclaim().score(subject)

    return overclaims(path, score, by)


def test_accuracy_does_not_show_what_the_table_shows(tmp_path: Path) -> None:
    faithful, planted = found(tmp_path / "a.jsonl", 0.0).tables[0], found(tmp_path / "b.jsonl", 0.3).tables[0]
    assert faithful.accuracy == planted.accuracy
    assert faithful.overclaim.value == 0
    assert not planted.overclaim.excludes(0.3)


def test_cohorts_are_told_with_the_whole_first(tmp_path: Path) -> None:
    told = found(tmp_path / "a.jsonl", 0.3, "cohort")
    assert [each.cohort for each in told.tables] == ["all", "expert", "new"]
    assert set(told.faults) == {"fake_source", "unsupported"}
    assert told.examples[0].explanation


def test_marks_of_a_run_are_counted_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    scores = [{"name": "overclaim.answer", "value": 1.0}, {"name": "overclaim.reasons", "value": 0.0, "label": "x"}]
    path.write_text(json.dumps({"case_id": "c", "scores": scores}))
    assert overclaims(path, lambda _: ()).tables[0].right_unsupported == 1


def test_a_row_without_an_output_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"said": 1}')
    with pytest.raises(TableError, match=r"row 1: has no `output`"):
        overclaims(path, lambda _: ())
