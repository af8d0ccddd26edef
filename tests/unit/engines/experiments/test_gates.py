"""Gates say what they rest on, and answers without a value may turn a pass into "not resolved"."""

from __future__ import annotations

from tests.unit.engines.experiments.test_stopping import result
from watchkeeper.engines.experiments.compare import Side
from watchkeeper.engines.experiments.gates import AgainstBaseline, Floor
from watchkeeper.engines.experiments.results import Outcome
from watchkeeper.engines.experiments.runner import summarise
from watchkeeper.records.experiment import Experiment


def outcome(values: list[float | None]) -> Outcome:
    results = tuple(result(str(n), value) for n, value in enumerate(values))
    experiment = Experiment(experiment_id="e", suite="s", target="t", at_ns=0, summary=summarise(results))
    return Outcome(experiment=experiment, results=results, planned=len(results))


def test_half_of_the_answers_failed_and_the_other_half_was_right() -> None:
    ruled = Floor("exact", 0.9)(outcome([1.0] * 100 + [None] * 100))
    assert ruled.passed is None and "100 of 200 answers have no value" in ruled.sentence


def test_a_few_failures_do_not_turn_a_clear_pass() -> None:
    ruled = Floor("exact", 0.9)(outcome([1.0] * 300 + [None]))
    assert ruled.passed is True and "1 of 301" in ruled.sentence


def test_nothing_in_common_is_not_resolved_and_says_why() -> None:
    ruled = AgainstBaseline(Side(name="base", scores=()), "not-worse", None)(outcome([1.0] * 5))
    assert ruled.passed is None and "cannot be compared" in ruled.sentence
