"""Early stops: a clear difference ends a run, nothing does where there is none, and reruns count as one case."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.engines.experiments.results import Result
from watchkeeper.engines.experiments.stopping import Against, AtLeast, shuffled
from watchkeeper.records.score import Score


def result(case: str, value: float | None, repeat: int = 0) -> Result:
    score = Score(
        score_id="x",
        subject_kind="case",
        subject_id=case,
        name="exact",
        at_ns=0,
        event_ns=0,
        value=value,
        scorer="exact",
    )
    return Result(experiment_id="e", suite="s", case_id=case, repeat=repeat, scores=(score,))


def ended(watch: Against | AtLeast, values: list[float]) -> int | None:
    """After how many cases a run would have ended."""
    return next((n for n, value in enumerate(values, 1) if watch(result(str(n - 1), value)) is not None), None)


def test_equal_runs_end_early_no_oftener_than_they_may() -> None:
    """A/A: 300 pairs of runs of 300 cases at 70%, looked at after every case; at most 5% may end with a verdict."""
    rng = Random(4)
    wrong = 0
    for _ in range(300):
        base = {str(n): float(rng.random() < 0.7) for n in range(300)}
        wrong += ended(Against("exact", base), [float(rng.random() < 0.7) for _ in range(300)]) is not None
    assert wrong <= 24  # 15 expected at most; 24 is beyond 99% of what 5% can give


def test_a_large_difference_ends_the_run_soon_and_the_sentence_says_so() -> None:
    rng = Random(5)
    base = {str(n): float(rng.random() < 0.9) for n in range(400)}
    watch = Against("exact", base)
    after = ended(watch, [float(rng.random() < 0.5) for _ in range(400)])
    assert after is not None and after < 150


def test_reruns_of_a_case_count_once_and_what_the_baseline_lacks_does_not_count() -> None:
    watch = Against("exact", {"a": 1.0, "b": 1.0}, repeats=2)
    for each in (result("a", 1.0), result("c", 0.0), result("c", 0.0, 1), result("b", None), result("b", None, 1)):
        watch(each)
    assert watch.watch.n == 0
    watch(result("a", 0.0, 1))
    assert watch.watch.n == 1 and watch.watch.total == pytest.approx(-0.5)


def test_a_score_beyond_its_range_is_told() -> None:
    with pytest.raises(ValueError, match="--range LOW HIGH"):
        Against("exact", {"a": 0.0})(result("a", 7.0))


def test_a_floor_is_passed_or_missed_early_only_when_that_is_clear() -> None:
    assert AtLeast("exact", 0.5)(result("a", 1.0)) is None
    rng = Random(6)
    high, low = AtLeast("exact", 0.5), AtLeast("exact", 0.5)
    above = ended(high, [float(rng.random() < 0.9) for _ in range(300)])
    below = ended(low, [float(rng.random() < 0.1) for _ in range(300)])
    assert above is not None and below is not None and max(above, below) < 100


@pytest.mark.parametrize("floor", [0.0, 1.0, -1.0, 2.0])
def test_a_floor_at_the_edge_of_the_range_cannot_be_watched(floor: float) -> None:
    with pytest.raises(ValueError, match="must lie between"):
        AtLeast("exact", floor)


def test_the_shuffled_order_is_the_same_for_the_same_seed() -> None:
    assert shuffled(range(50), "s") == shuffled(range(50), "s") != shuffled(range(50), "t")
    assert sorted(shuffled(range(50), "s")) == list(range(50))
