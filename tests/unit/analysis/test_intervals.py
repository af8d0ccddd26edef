"""Intervals agree with scipy's and say nothing where nothing is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from scipy import stats

from watchkeeper.analysis import intervals
from watchkeeper.analysis.intervals import graded_rate, within_ends
from watchkeeper.records.estimate import Estimate

VALUES = [2.1, 3.4, 1.9, 5.6, 4.4, 2.0, 3.3]


def test_the_t_interval_of_a_mean_is_scipys() -> None:
    estimate = intervals.mean(VALUES, confidence=0.9, unit="s")
    low, high = stats.t.interval(0.9, len(VALUES) - 1, np.mean(VALUES), stats.sem(VALUES))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((np.mean(VALUES), low, high))
    assert (estimate.n, estimate.method, estimate.confidence, estimate.unit) == (7, "Student t", 0.9, "s")


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (82, 100), (3, 10_000)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_the_wilson_interval_is_scipys(successes: int, n: int, confidence: float) -> None:
    ours = intervals.wilson(successes, n, confidence=confidence)
    theirs = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_none_in_a_hundred_still_allows_about_four_percent() -> None:
    estimate = intervals.wilson(0, 100)
    assert estimate.low == 0
    assert 0.03 < estimate.high < 0.04


@pytest.mark.parametrize("values", [[], [3.0]])
def test_none_or_one_value_bounds_nothing(values: list[float]) -> None:
    for estimate in (
        intervals.mean(values),
        intervals.clustered(values, ["a"] * len(values)),
        intervals.bootstrap(values, statistics.fmean, Random(1)),
    ):
        assert (estimate.low, estimate.high) == (-math.inf, math.inf)
        assert estimate.value == 3.0 if values else math.isnan(estimate.value)


def test_a_rate_without_trials_may_be_anything_from_0_to_1() -> None:
    estimate = intervals.wilson(0, 0)
    assert math.isnan(estimate.value)
    assert (estimate.low, estimate.high, estimate.n) == (0, 1, 0)


def test_one_trial_gives_a_rate_a_wide_interval() -> None:
    estimate = intervals.wilson(1, 1)
    assert estimate.high == 1
    assert estimate.low < 0.25


def test_one_cluster_bounds_nothing() -> None:
    estimate = intervals.clustered([1.0, 2.0, 3.0], ["a", "a", "a"])
    assert (estimate.low, estimate.high, estimate.n) == (-math.inf, math.inf, 1)


def test_equal_clusters_give_the_t_interval_of_their_means() -> None:
    values, clusters = [1.0, 3.0, 2.0, 6.0, 5.0, 5.0], ["a", "a", "b", "b", "c", "c"]
    by_cluster, of_means = intervals.clustered(values, clusters), intervals.mean([2.0, 4.0, 5.0])
    assert (by_cluster.low, by_cluster.high) == pytest.approx((of_means.low, of_means.high))


@pytest.mark.parametrize("sizes", [(3, 1, 2), (1, 1, 9), (4, 4, 2, 30, 5)])
def test_unequal_clusters_follow_the_matrices_of_bell_and_mccaffrey(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(len(sizes))
    clusters = np.repeat(np.arange(len(sizes)), sizes)
    n, values = len(clusters), rng.normal(size=len(clusters)) + rng.normal(size=len(sizes))[clusters]
    residual = np.eye(n) - np.ones((n, n)) / n
    rows = []
    for g in range(len(sizes)):
        own = clusters == g
        inside = residual[np.ix_(own, own)]
        eigen, vectors = np.linalg.eigh(inside)
        root = vectors @ np.diag(eigen**-0.5) @ vectors.T
        rows.append(np.ones(own.sum()) @ root @ residual[own] / n)
    weights = np.array(rows)
    spread = intervals.cluster_spread(values.tolist(), clusters.tolist())
    assert spread.standard_error == pytest.approx(np.sqrt(((weights @ values) ** 2).sum()))
    held = [[float(sum(r)), float(len(r))] for r in (values[clusters == g] - values.mean() for g in range(len(sizes)))]
    alike = intervals._intra_cluster_correlation(held, float(((values - values.mean()) ** 2).sum()))
    model = (1 - alike) * np.eye(n) + alike * (clusters[:, None] == clusters[None, :])
    m = weights @ model @ weights.T
    assert spread.df == pytest.approx(max(1.0, np.trace(m) ** 2 / (m**2).sum()))


def covered(draw: Callable[[], tuple[Estimate, float]], times: int) -> float:
    """How often the interval holds the truth."""
    held = 0
    for _ in range(times):
        estimate, truth = draw()
        held += estimate.low <= truth <= estimate.high
    return held / times


@pytest.mark.parametrize(("groups", "sizes", "alike"), [(5, (2, 4, 20), 0.3), (8, (1, 2, 30), 0.0), (20, (2, 20), 0.3)])
def test_few_unequal_clusters_are_covered_at_nominal(groups: int, sizes: tuple[int, ...], alike: float) -> None:
    rng = np.random.default_rng(groups)

    def draw() -> tuple[Estimate, float]:
        clusters = np.repeat(np.arange(groups), rng.choice(sizes, groups))
        values = alike**0.5 * rng.normal(size=groups)[clusters] + (1 - alike) ** 0.5 * rng.normal(size=len(clusters))
        return intervals.clustered(values.tolist(), clusters.tolist()), 0.0

    assert covered(draw, 500) > 0.95 - 3 * (0.05 * 0.95 / 500) ** 0.5


@pytest.mark.parametrize(("groups", "rate"), [(10, 0.9), (12, 0.8), (50, 0.5)])
def test_clustered_rates_near_one_are_covered_at_nominal(groups: int, rate: float) -> None:
    rng = np.random.default_rng(groups)

    def draw() -> tuple[Estimate, float]:
        clusters = np.repeat(np.arange(groups), 4)
        chance = rng.beta(rate * 7 / 3, (1 - rate) * 7 / 3, groups)
        return intervals.clustered_rate(
            (rng.random(len(clusters)) < chance[clusters]).astype(float).tolist(), clusters.tolist()
        ), rate

    assert covered(draw, 500) > 0.95 - 3 * (0.05 * 0.95 / 500) ** 0.5


def test_clustered_successes_alone_keep_a_width_of_clusters_and_not_of_rows() -> None:
    estimate, by_rows = intervals.clustered_rate([1.0] * 40, [i // 4 for i in range(40)]), intervals.wilson(10, 10)
    assert (estimate.low, estimate.high, estimate.n) == (by_rows.low, 1.0, 10)
    one = intervals.clustered_rate([1.0, 0.0], ["x", "x"])
    assert (one.low, one.high, one.n) == (0.0, 1.0, 1)


def test_the_bootstrap_interval_is_near_scipys_bca() -> None:
    values = np.random.default_rng(5).gamma(2.0, size=80)
    ours = intervals.bootstrap(values.tolist(), statistics.fmean, Random(6), draws=8_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=8_000, method="BCa", rng=7).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.05 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.05 * width)


def test_the_same_random_source_gives_the_same_bootstrap_interval() -> None:
    first, second = (intervals.bootstrap(VALUES, statistics.median, Random(9), draws=200) for _ in range(2))
    assert first == second
    assert first.low < first.value < first.high


def test_a_statistic_that_never_varies_is_no_error() -> None:
    estimate = intervals.bootstrap([1.0] * 30, statistics.fmean, Random(1), draws=100)
    assert (estimate.low, estimate.value, estimate.high) == (1, 1, 1)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (1, 0), (0, -1)])
def test_impossible_counts_are_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        intervals.wilson(successes, n)


def test_a_confidence_given_in_percent_is_refused_with_the_fix() -> None:
    with pytest.raises(ValueError, match=r"was 95\. Give 0\.95"):
        intervals.mean(VALUES, confidence=95)


def test_values_without_their_clusters_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        intervals.clustered([1.0, 2.0], ["a"])


def test_too_few_bootstrap_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 100 draws"):
        intervals.bootstrap(VALUES, statistics.fmean, Random(1), draws=10)


@pytest.mark.parametrize("n", [10, 20, 50, 200])
@pytest.mark.parametrize("weights", [(2, 3, 95), (5, 10, 85), (30, 40, 30)])
def test_grades_that_crowd_at_an_end_are_covered(n: int, weights: tuple[int, ...]) -> None:
    """Student's t covers the first in 40%, 65%, 80% and 93%."""
    rng, covered, trials = Random(n), 0, 400
    truth = (weights[1] * 0.5 + weights[2]) / 100
    for _ in range(trials):
        found = graded_rate(rng.choices((0.0, 0.5, 1.0), weights, k=n))
        covered += found.low <= truth <= found.high
        assert 0 <= found.low <= found.high <= 1
    assert covered / trials > 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5


def test_grades_reach_an_end_and_latencies_do_not() -> None:
    assert within_ends([0.2, 1.0])
    assert within_ends([0.0])
    assert not within_ends([0.2, 0.9])
    assert not within_ends([0.0, 1.5])
    assert not within_ends([])
