"""A mean of half the answers is not a mean of all: the bounds say what is known of all."""

from __future__ import annotations

from watchkeeper.engines.experiments.missing import bounds_of, told
from watchkeeper.engines.experiments.results import Outcome, Result
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.score import Score


def outcome(values: list[float | None], planned: int, label: str | None = None) -> Outcome:
    def score(value: float | None) -> Score:
        return Score(
            score_id="x",
            subject_kind="case",
            subject_id="c",
            name="exact",
            at_ns=0,
            event_ns=0,
            value=value,
            label=label,
        )

    results = tuple(
        Result(experiment_id="e", suite="s", case_id=str(n), scores=(score(each),)) for n, each in enumerate(values)
    )
    return Outcome(
        experiment=Experiment(experiment_id="e", suite="s", target="t", at_ns=0), results=results, planned=planned
    )


def test_half_that_failed_may_be_anything() -> None:
    (found,) = bounds_of(outcome([1.0, 1.0, None, None], 4))
    assert (found.missing, found.low, found.high) == (2, 0.5, 1.0)
    assert "2 of 4 planned answers have no value" in told(found)


def test_what_was_never_asked_is_missing_too() -> None:
    (found,) = bounds_of(outcome([1.0, 0.0], 10))
    assert (found.missing, found.low, found.high) == (8, 0.1, 0.9)


def test_nothing_is_said_where_nothing_is_missing_or_the_score_is_a_label() -> None:
    assert bounds_of(outcome([1.0, 0.0], 2)) == ()
    assert bounds_of(outcome([None, None], 2, label="tone")) == ()


def test_all_that_failed_leaves_everything_open() -> None:
    (found,) = bounds_of(outcome([None, None], 2))
    assert (found.low, found.high) == (0.0, 1.0)


def test_a_score_beyond_0_to_1_has_no_bounds_and_says_so() -> None:
    (found,) = bounds_of(outcome([12.0, None], 2))
    assert found.low is None and "unknown" in told(found)
