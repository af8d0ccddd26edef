"""Early stops: a clear difference ends a run, nothing does where there is none, and reruns count as one case."""

from __future__ import annotations

import itertools
from random import Random

import pytest

from watchkeeper.engines.experiments.results import Result
from watchkeeper.engines.experiments.stopping import (
    Against,
    AtLeast,
    InOrder,
    shuffled,
    shuffled_units,
    sizes_of,
)
from watchkeeper.records.case import Case
from watchkeeper.records.score import Score


def result(case: str, value: float | None, repeat: int = 0, cluster: str | None = None) -> Result:
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
    return Result(experiment_id="e", suite="s", case_id=case, repeat=repeat, cluster=cluster, scores=(score,))


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
    watch = Against("exact", {"a": 1.0, "b": 1.0}, sizes={"a": 2, "b": 2, "c": 2})
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


def test_cases_of_a_cluster_count_once_when_all_have_come() -> None:
    cases = [Case(case_id=n, dataset="d", messages="[]", cluster="k" if n in "ab" else None) for n in "abc"]
    watch = AtLeast("exact", 0.5, sizes=sizes_of(cases, 2))
    for each in (result("a", 1.0, 0, "k"), result("a", 1.0, 1, "k"), result("b", 0.0, 0, "k")):
        watch(each)
    assert watch.watch.n == 0
    watch(result("b", None, 1, "k"))
    assert watch.watch.n == 1 and watch.watch.total == pytest.approx(2 / 3 - 0.5)
    assert {case.case_id for case in shuffled_units(cases, "s")} == set("abc")
    order = [case.cluster for case in shuffled_units(cases * 3, "s")]
    assert sum(a != b for a, b in itertools.pairwise(order)) == 1


def test_reruns_that_all_agree_do_not_make_a_floor_look_certain() -> None:
    """A/A: half of 40 cases are right, each in all of 10 reruns; the mean is at the floor, whatever the reruns say."""
    rng, wrong = Random(7), 0
    for _ in range(200):
        sizes = {str(n): 10 for n in range(40)}
        watch = AtLeast("exact", 0.5, sizes=sizes)
        for n in range(40):
            right = float(rng.random() < 0.5)
            if any(watch(result(str(n), right, repeat)) for repeat in range(10)):
                wrong += 1
                break
    assert wrong <= 17  # 10 expected at most; 17 is beyond 98% of what 5% can give


def test_what_is_answered_first_is_not_counted_first() -> None:
    """All right answers are fast and all wrong ones slow; in the order of the plan nothing is resolved."""
    rng = Random(8)
    places = [(n, 0) for n in range(200)]
    values = {n: float(rng.random() < 0.5) for n in range(200)}
    fast_first = sorted(places, key=lambda place: -values[place[0]])
    hasty, patient = AtLeast("exact", 0.5), InOrder(AtLeast("exact", 0.5), places)
    assert any(hasty(result(str(n), values[n])) for n, _ in fast_first)
    assert not any(patient(place, result(str(place[0]), values[place[0]])) for place in fast_first)


def test_answers_without_a_value_are_counted_in_the_sentence() -> None:
    watch = AtLeast("exact", 0.5)
    said = [watch(result(str(n), None if n % 2 else 1.0)) for n in range(100)]
    told = next(each for each in said if each is not None)
    assert "answers without a value are left out" in told


def test_a_value_beyond_the_range_of_a_floor_is_told() -> None:
    with pytest.raises(ValueError, match="--range LOW HIGH"):
        AtLeast("exact", 0.5)(result("a", 7.0))
