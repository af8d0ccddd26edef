"""Two independent rates: the exact test is scipy's, and the interval covers as often as it says."""

from __future__ import annotations

import math
from math import comb
from random import Random
from statistics import fmean

import pytest
from scipy import stats

from watchkeeper.analysis.intervals import mean
from watchkeeper.analysis.two_proportions import apart, fisher_exact, newcombe


@pytest.mark.parametrize(
    ("a", "n_a", "b", "n_b"), [(0, 5, 5, 5), (8, 10, 1, 10), (3, 20, 4, 30), (0, 10, 0, 10), (7, 7, 7, 7), (1, 1, 0, 1)]
)
def test_the_exact_test_is_scipys(a: int, n_a: int, b: int, n_b: int) -> None:
    expected = stats.fisher_exact([[a, n_a - a], [b, n_b - b]]).pvalue
    assert fisher_exact(a, n_a, b, n_b) == pytest.approx(expected, abs=1e-12)


def test_newcombes_own_examples_are_reproduced() -> None:
    """Table II of the paper, method 10: 56/70 against 48/80, and 9/10 against 3/10."""
    first = newcombe(48, 80, 56, 70)
    assert (first.value, first.low, first.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    second = newcombe(3, 10, 9, 10)
    assert (second.low, second.high) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def test_no_trials_say_nothing() -> None:
    nothing = newcombe(0, 0, 3, 10)
    assert math.isnan(nothing.value)
    assert (nothing.low, nothing.high) == (-1, 1)


def test_the_difference_of_two_means_covers_as_it_says() -> None:
    rng, covered = Random(8), 0
    for _ in range(400):
        a, b = ([rng.gauss(at, spread) for _ in range(20)] for at, spread in ((0.0, 1.0), (0.5, 2.0)))
        found = apart(mean(a), mean(b))
        covered += found.low <= 0.5 <= found.high
    assert abs(covered / 400 - 0.95) <= 3 * (0.95 * 0.05 / 400) ** 0.5


def test_where_one_side_says_nothing_the_difference_says_nothing() -> None:
    found = apart(mean([]), mean([1.0, 2.0, 4.0]))
    assert math.isnan(found.value)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_more_successes_than_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="0 <= successes <= n"):
        fisher_exact(3, 2, 0, 1)


def _binomial(k: int, n: int, p: float) -> float:
    return comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.slow
def test_averaged_over_all_rates_the_interval_covers_as_often_as_it_says() -> None:
    """The coverage at 10 trials a side, summed over every outcome and averaged over a grid of true rates."""
    n, grid = 10, [(i + 0.5) / 20 for i in range(20)]
    found = [(a, b, newcombe(a, n, b, n)) for a in range(n + 1) for b in range(n + 1)]
    coverage = [
        sum(
            _binomial(a, n, p_a) * _binomial(b, n, p_b)
            for a, b, estimate in found
            if estimate.low <= p_b - p_a <= estimate.high
        )
        for p_a in grid
        for p_b in grid
    ]
    assert 0.945 < fmean(coverage) < 0.965
    assert min(coverage) > 0.88


@pytest.mark.slow
def test_equal_rates_are_called_different_no_more_often_than_stated() -> None:
    rng = Random(12)
    trials, called = 4_000, 0
    for _ in range(trials):
        a, b = (sum(rng.random() < 0.6 for _ in range(12)) for _ in range(2))
        called += fisher_exact(a, 12, b, 12) < 0.05
    assert called / trials < 0.05
