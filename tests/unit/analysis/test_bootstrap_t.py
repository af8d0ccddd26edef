"""The studentised bootstrap leans with skewed values, and its fast form is the slow one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from watchkeeper.analysis import intervals
from watchkeeper.analysis.bootstrap_t import blocks, bootstrap_t, cochran_skewed, resampled_sums


@pytest.mark.parametrize(("n", "scale", "at_least"), [(10, 0.5, 0.92), (50, 1.0, 0.88), (200, 1.0, 0.92)])
def test_skewed_values_are_covered_better_than_by_t(n: int, scale: float, at_least: float) -> None:
    rng, truth = np.random.default_rng(n), math.exp(scale**2 / 2)
    ours = theirs = 0
    for seed in range(300):
        values = rng.lognormal(0, scale, n).tolist()
        (estimate,) = bootstrap_t(values, draws=800, seed=seed)
        student = intervals.mean(values)
        ours += estimate.low <= truth <= estimate.high
        theirs += student.low <= truth <= student.high
    assert ours / 300 >= at_least
    assert ours >= theirs


def test_normal_values_are_covered_at_nominal() -> None:
    rng, held = np.random.default_rng(1), 0
    for seed in range(300):
        (estimate,) = bootstrap_t(rng.normal(size=12).tolist(), draws=800, seed=seed)
        held += estimate.low <= 0 <= estimate.high
    assert held / 300 > 0.95 - 3 * (0.05 * 0.95 / 300) ** 0.5


def test_blocks_draw_the_sums_that_whole_resamples_draw() -> None:
    rng = np.random.default_rng(2)
    x = rng.gamma(0.7, size=6_000)
    fast, squares = resampled_sums(x, 4_000, rng)
    slow = np.array([x[rng.integers(0, len(x), len(x))].sum() for _ in range(4_000)])
    assert fast.mean() == pytest.approx(x.sum(), rel=0.002)
    assert fast.std() == pytest.approx(slow.std(), rel=0.06)
    assert squares.mean() == pytest.approx((x**2).sum(), rel=0.01)
    assert np.quantile(fast, [0.025, 0.975]) == pytest.approx(np.quantile(slow, [0.025, 0.975]), rel=0.003)


def test_few_different_values_are_blocks_of_their_own() -> None:
    counts, means, spreads = blocks(np.array([-1.0, 0.0, 0.0, 1.0] * 1_000))
    assert (counts.tolist(), means.tolist(), spreads.tolist()) == ([1000, 2000, 1000], [-1, 0, 1], [0, 0, 0])


def test_seeds_repeat_and_confidences_nest() -> None:
    values = np.random.default_rng(3).exponential(size=40).tolist()
    wide, narrow = bootstrap_t(values, confidences=(0.95, 0.9))
    assert (wide, narrow) == bootstrap_t(values, confidences=(0.95, 0.9))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high
    assert "10,000 draws, Monte Carlo error" in wide.method


def test_values_far_from_zero_lose_no_digits() -> None:
    values = np.random.default_rng(4).exponential(size=5_000)
    (near,), (far,) = bootstrap_t(values.tolist()), bootstrap_t((values + 1e8).tolist())
    assert far.high - far.low == pytest.approx(near.high - near.low, rel=0.02)


@pytest.mark.parametrize(("values", "low", "high"), [([], -math.inf, math.inf), ([2.0], -math.inf, math.inf)])
def test_none_or_one_bounds_nothing(values: list[float], low: float, high: float) -> None:
    (estimate,) = bootstrap_t(values)
    assert (estimate.low, estimate.high) == (low, high)


def test_too_few_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 100"):
        bootstrap_t([1.0, 2.0], draws=10)


def test_skewness_counts_against_the_number_of_values() -> None:
    assert cochran_skewed([0.0] * 30 + [1.0])
    assert not cochran_skewed([float(x) for x in range(30)])
    assert not cochran_skewed([1.0] * 30)


@pytest.mark.filterwarnings("error")
def test_grades_that_hardly_differ_are_not_bounded_by_rounding() -> None:
    """Draws of one grade alone have no spread: their bounds were millions, and are none."""
    (estimate,) = bootstrap_t([1.0] * 6 + [0.5] * 3 + [0.0])
    assert estimate.low == -math.inf or estimate.low > -10


def test_the_order_of_the_values_changes_nothing() -> None:
    values = np.random.default_rng(2).lognormal(size=40).tolist()
    assert bootstrap_t(values) == bootstrap_t(values[::-1])
