"""The exact interval is that of the published tables, and covers at least as often as it says."""

import math

import pytest

from watchkeeper.analysis.exact_binomial import clopper_pearson


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0)]
)
def test_the_interval_is_the_published_one(hits: int, n: int, low: float, high: float) -> None:
    found = clopper_pearson(hits, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.8])
def test_coverage_is_at_least_nominal(rate: float) -> None:
    n, confidence = 60, 0.995
    covered = sum(
        math.comb(n, k) * rate**k * (1 - rate) ** (n - k)
        for k in range(n + 1)
        if not clopper_pearson(k, n, confidence=confidence).excludes(rate)
    )
    assert covered >= confidence


def test_no_trials_say_nothing() -> None:
    found = clopper_pearson(0, 0)
    assert math.isnan(found.value)
    assert (found.low, found.high) == (0, 1)


def test_large_numbers_are_computed() -> None:
    found = clopper_pearson(80_000, 100_000)
    assert found.low == pytest.approx(0.7975, abs=1e-4)


def test_more_successes_than_trials_is_an_error() -> None:
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson(2, 1)
