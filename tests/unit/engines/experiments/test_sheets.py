"""Sheets: a case passes at its bar, a failed call is no failed case, an interval says what a rerun could show."""

from __future__ import annotations

import math
from random import Random

import msgspec
import pytest

from tests.unit.engines.experiments.test_gates import outcome
from watchkeeper.analysis.intervals import mean
from watchkeeper.engines.experiments.compare import side_of_results
from watchkeeper.engines.experiments.sheets import changes_of, rerun_effect, sheet_of, verdicts_of
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.manifest import Manifest


@pytest.mark.parametrize(
    ("values", "bars", "passed"),
    [
        ([1.0, 0.0, None], {}, [True, False, None]),
        ([0.5, 0.7, 1.0], {}, [None, None, None]),
        ([0.5, 0.7, 1.0], {"exact": 0.7}, [False, True, True]),
        ([1.0, 0.0, 1.0], {"exact": 0.0}, [True, True, True]),
    ],
)
def test_a_case_passes_at_its_bar(
    values: list[float | None], bars: dict[str, float], passed: list[bool | None]
) -> None:
    assert [line.passed for line in sheet_of(outcome(values), "s.yaml", (), bars).lines] == passed


def test_a_call_that_failed_is_a_problem_and_not_a_case_below_its_bar() -> None:
    ran = outcome([0.0])
    broken = msgspec.structs.replace(ran, results=(msgspec.structs.replace(ran.results[0], error="HTTP 500: no"),))
    (line,) = sheet_of(broken, "s.yaml", (), {}).lines
    assert line.passed is None and line.problem == "HTTP 500: no"


def test_the_effect_is_what_two_runs_of_that_size_would_show_four_times_in_five() -> None:
    """Simulated: 2,000 pairs of runs of 200 normal scores whose means differ by the stated effect; z-test at 5%."""
    rng = Random(11)
    stated = rerun_effect(mean([rng.gauss(0, 1) for _ in range(200)]))
    assert stated is not None
    error = math.sqrt(2 / 200)
    found = sum(abs(rng.gauss(stated, error)) > 1.96 * error for _ in range(2000)) / 2000
    assert 0.72 < found < 0.88


def test_an_interval_that_says_nothing_gives_no_effect() -> None:
    assert rerun_effect(Estimate(value=0.5, low=-math.inf, high=math.inf, n=1, method="t")) is None


def test_the_cases_that_fell_are_named_deepest_first() -> None:
    from watchkeeper.engines.experiments.compare import compare_sides

    before, after = (
        side_of_results("a", outcome([1.0, 1.0, 0.5, 0.0]).results),
        side_of_results("b", outcome([0.5, 0.0, 0.5, 1.0]).results),
    )
    (verdict,) = verdicts_of(compare_sides(before, after), before, after)
    assert verdict.regressed == ("1", "0") and (verdict.improved, verdict.worsened) == (1, 2)


def test_only_layers_that_differ_are_changes() -> None:
    old, new = (
        Manifest(digest="a", components={"model": "1", "tools": "t"}),
        Manifest(digest="b", components={"model": "2", "tools": "t", "x": "y"}),
    )
    assert changes_of(old, new) == (("model", "1", "2"), ("x", None, "y"))
    assert changes_of(old, old) == () and changes_of(None, new) is None
