"""A cell passes when it is shown to, fails when it is shown not to, and is never green without enough items."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec
import pytest

from tests.unit.engines.experiments.test_stopping import result
from watchkeeper.engines.experiments.cell_gates import gates_on
from watchkeeper.engines.experiments.cell_spec import Cells
from watchkeeper.engines.experiments.compare import Side, side_of_results
from watchkeeper.engines.experiments.gates import Ruled
from watchkeeper.engines.experiments.results import Outcome
from watchkeeper.records.case import Case
from watchkeeper.records.experiment import Experiment

BY = {"by": ["family"], "floor": 0.8}


def cases_of(sizes: Mapping[str, int]) -> tuple[Case, ...]:
    return tuple(
        Case(case_id=f"{family}{n}", dataset="d", messages="[]", attributes={"family": family})
        for family, size in sizes.items()
        for n in range(size)
    )


def outcome_of(values: Mapping[str, float | None]) -> Outcome:
    results = tuple(result(name, value) for name, value in values.items())
    return Outcome(experiment=Experiment(experiment_id="e", suite="s", target="t", at_ns=0), results=results, planned=0)


def ruled(
    right: Mapping[str, tuple[int, int]], spec: dict[str, Any] | None = None, baseline: Side | None = None
) -> dict[str, Ruled]:
    """The rulings by cell (the last by its gate) when so many of so many are right in each family."""
    cases = cases_of({family: of for family, (_, of) in right.items()})
    outcome = outcome_of({f"{f}{n}": float(n < some) for f, (some, of) in right.items() for n in range(of)})
    gates = gates_on(msgspec.convert({**BY, **(spec or {})}, Cells), cases, baseline)
    return {each.cell or each.gate: each for each in (gate(outcome) for gate in gates)}


def test_passing_failing_open_and_unmeasured_cells_are_told_apart() -> None:
    found = ruled({"a": (60, 60), "b": (20, 60), "c": (50, 60), "d": (10, 10)})
    assert {name: each.passed for name, each in found.items()} == {
        "family=a": True, "family=b": False, "family=c": None, "family=d": None,
    }  # fmt: skip
    assert "Not measured: 10 items" in found["family=d"].sentence and "it takes 23" in found["family=d"].sentence
    assert "Not measured" not in found["family=c"].sentence
    rate = found["family=b"].rate
    assert rate is not None and rate.high < 0.8 and f"n = {rate.n}" in found["family=b"].sentence


def test_ten_items_fail_when_they_are_all_wrong() -> None:
    assert ruled({"a": (0, 10)})["family=a"].passed is False


def test_exactly_the_items_that_it_takes_pass_and_one_less_does_not() -> None:
    assert ruled({"a": (17, 17)})["family=a"].passed is True
    assert ruled({"a": (16, 16)})["family=a"].passed is None
    assert "it takes 17" in ruled({"a": (16, 16)})["family=a"].sentence


def test_a_named_cell_that_the_suite_lacks_is_not_measured() -> None:
    found = ruled({"a": (60, 60)}, {"named": [{"cell": {"family": "poems"}, "floor": 0.5}]})
    assert found["family=poems"].passed is None and "Not measured: 0 items" in found["family=poems"].sentence


def test_a_named_cell_has_its_own_floor_and_others_can_be_ignored() -> None:
    named = {"named": [{"cell": {"family": "b"}, "floor": 0.2}], "others": "ignored"}
    assert {name: each.passed for name, each in ruled({"a": (0, 60), "b": (30, 60)}, named).items()} == {
        "family=b": True
    }


def test_answers_without_a_score_can_turn_a_pass() -> None:
    (gate,) = gates_on(msgspec.convert(BY, Cells), cases_of({"a": 60}), None)
    told = gate(outcome_of({f"a{n}": None if n < 20 else 1.0 for n in range(60)}))
    assert told.passed is None and "20 of 60 answers have no value" in told.sentence


def test_cases_that_do_not_say_their_cell_are_a_cell_that_is_told() -> None:
    cases = tuple(Case(case_id=str(n), dataset="d", messages="[]") for n in range(30))
    (gate,) = gates_on(msgspec.convert(BY, Cells), cases, None)
    told = gate(outcome_of({str(n): 1.0 for n in range(30)}))
    assert told.cell == "family=unknown" and "do not say in which cell" in told.sentence


def test_a_cell_for_each_case_is_refused() -> None:
    with pytest.raises(ValueError, match="take a coarser `by`"):
        gates_on(msgspec.convert(BY, Cells), cases_of({f"f{n}": 1 for n in range(2001)}), None)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"named": [{"cell": {"other": "x"}}]}, "give a value for each of `by`"),
        ({"others": "ignored"}, "leaves no cell"),
        ({"floor": 1.0}, "floor"),
    ],
)
def test_what_cannot_be_meant_is_refused(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert({**BY, **spec}, Cells)


def test_a_score_that_no_answer_has_is_not_resolved_and_says_which_there_are() -> None:
    (gate,) = gates_on(msgspec.convert(BY | {"score": "other"}, Cells), cases_of({"a": 30}), None)
    told = gate(outcome_of({f"a{n}": 1.0 for n in range(30)}))
    assert told.passed is None and "there are: exact" in told.sentence


def side(right: Mapping[str, tuple[int, int]]) -> Side:
    values = {f"{f}{n}": float(n < some) for f, (some, of) in right.items() for n in range(of)}
    return side_of_results("before", outcome_of(values).results)


def test_a_lost_cell_fails_though_the_average_gained() -> None:
    before = side({"a": (60, 60), "b": (20, 60), "c": (20, 60)})
    lost = ruled({"a": (40, 60), "b": (60, 60), "c": (60, 60)}, baseline=before)["no cell lost against before"]
    assert lost.passed is False and "lost: family=a (1 became 0.667" in lost.sentence


def test_a_cell_that_one_run_lacks_is_not_resolved() -> None:
    lost = ruled({"a": (60, 60), "b": (60, 60)}, baseline=side({"a": (60, 60)}))["no cell lost against before"]
    assert lost.passed is None and "family=b is not measured in the baseline" in lost.sentence


def test_equal_versions_lose_a_cell_in_at_most_five_percent() -> None:
    rng, alarms, runs = Random(11), 0, 200
    sizes = {f"f{n}": 40 for n in range(6)}
    cases = cases_of(sizes)
    for _ in range(runs):
        a, b = ({case.case_id: float(rng.random() < 0.7) for case in cases} for _ in range(2))
        before = side_of_results("before", outcome_of(a).results)
        *_, kept = gates_on(msgspec.convert(BY, Cells), cases, before)
        alarms += kept(outcome_of(b)).passed is False
    assert alarms / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


def test_cells_just_at_the_floor_are_ruled_on_wrongly_in_at_most_five_percent() -> None:
    rng, wrong, runs = Random(12), 0, 200
    cases = cases_of({f"f{n}": 60 for n in range(6)})
    gates = gates_on(msgspec.convert(BY, Cells), cases, None)
    for _ in range(runs):
        outcome = outcome_of({case.case_id: float(rng.random() < 0.8) for case in cases})
        wrong += any(gate(outcome).passed is not None for gate in gates)
    assert wrong / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5
