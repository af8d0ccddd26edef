"""Thinned records answer without bias, and their intervals cover the truth as often as they say."""

from __future__ import annotations

import math
import statistics
from random import Random

import pytest

from watchkeeper.analysis.horvitz_thompson import Stratum, mean, share, total


def test_what_was_kept_for_certain_is_added_up() -> None:
    estimate = total([1.0, 2.0, 3.5], [1.0, 1.0, 1.0], unit="USD")
    assert (estimate.value, estimate.low, estimate.high, estimate.unit) == (6.5, 6.5, 6.5, "USD")


def test_an_item_kept_with_a_tenth_stands_for_ten() -> None:
    assert total([2.0], [0.1]).value == pytest.approx(20)
    assert mean([2.0, 4.0], [0.1, 1.0]).value == pytest.approx((20 + 4) / 11)


@pytest.mark.parametrize("probability", [0.0, -0.1, 1.5])
def test_an_impossible_probability_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="not a probability"):
        total([1.0], [probability])


def test_values_and_probabilities_go_together() -> None:
    with pytest.raises(ValueError, match="2 values and 1"):
        mean([1.0, 2.0], [0.5])


def test_nothing_says_nothing() -> None:
    assert math.isinf(total([], []).high)
    assert math.isnan(mean([], []).value)
    empty = share([])
    assert (empty.low, empty.high, empty.n) == (0.0, 1.0, 0) and math.isnan(empty.value)


def test_a_stratum_seen_whole_has_no_error_bar() -> None:
    seen = tuple((1 if n < 3 else 0, 1) for n in range(10))
    estimate = share([Stratum(units=10, clusters=10, seen=seen)])
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.3, 0.3, 0.3))


def test_a_stratum_that_nobody_looked_into_may_hold_anything() -> None:
    whole = Stratum(units=80, clusters=80, seen=tuple((1, 1) for _ in range(80)))
    estimate = share([whole, Stratum(units=20, clusters=20)])
    assert (estimate.low, estimate.high) == pytest.approx((0.8, 1.0))


def test_none_seen_in_thirty_still_allows_some() -> None:
    estimate = share([Stratum(units=1000, clusters=1000, seen=((0, 1),) * 30)])
    assert estimate.value == 0 == estimate.low
    assert 0.05 < estimate.high < 0.2


def test_clusters_that_agree_within_themselves_say_less() -> None:
    apart = share([Stratum(units=4000, clusters=4000, seen=((1, 1),) * 20 + ((0, 1),) * 180)])
    alike = share([Stratum(units=4000, clusters=400, seen=((10, 10),) * 2 + ((0, 10),) * 18)])
    assert alike.high - alike.low > 2 * (apart.high - apart.low)


@pytest.mark.slow
def test_the_total_is_unbiased_under_unequal_probabilities() -> None:
    """Simulated: 400 items, kept with 1 (for a reason) or 0.03 (at random); 6,000 samples."""
    rng = Random(5)
    items = [(rng.lognormvariate(0, 1), 1.0 if rng.random() < 0.1 else 0.03) for _ in range(400)]
    truth = math.fsum(x for x, _ in items)
    found = []
    for _ in range(6_000):
        kept = [(x, p) for x, p in items if rng.random() < p]
        found.append(total([x for x, _ in kept], [p for _, p in kept]).value)
    error = statistics.stdev(found) / math.sqrt(len(found))
    assert abs(statistics.fmean(found) - truth) < 4 * error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "probability", "clusters"),
    [(0.02, 0.05, 4_000), (0.2, 0.05, 4_000), (0.5, 0.02, 3_000), (0.1, 0.3, 600)],
)
def test_the_share_covers_the_truth_as_often_as_it_says(rate: float, probability: float, clusters: int) -> None:
    """Simulated: clusters of 1 to 5 replies that hang together; a tenth, where most hits are, kept for certain."""
    rng = Random(11)
    population = []
    for _ in range(clusters):
        size, own = rng.randint(1, 5), rng.betavariate(4 * rate, 4 * (1 - rate))
        certain = rng.random() < 0.1
        hits = sum(rng.random() < (0.6 if certain else own) for _ in range(size))
        population.append((hits, size, certain))
    truth = sum(each[0] for each in population) / sum(each[1] for each in population)
    sure = tuple((hits, size) for hits, size, certain in population if certain)
    rest = [(hits, size) for hits, size, certain in population if not certain]
    census = Stratum(units=sum(size for _, size in sure), clusters=len(sure), seen=sure)
    units = sum(size for _, size in rest)
    covered, values, repeats = 0, [], 800
    for _ in range(repeats):
        seen = tuple(each for each in rest if rng.random() < probability)
        estimate = share([census, Stratum(units=units, clusters=len(rest), seen=seen)])
        covered += not estimate.excludes(truth)
        values.append(estimate.value)
    assert covered / repeats > 0.95 - 4 * math.sqrt(0.95 * 0.05 / repeats)
    assert covered / repeats < 0.999 or rate < 0.05
    assert statistics.fmean(values) == pytest.approx(truth, abs=4 * statistics.stdev(values) / math.sqrt(repeats))
