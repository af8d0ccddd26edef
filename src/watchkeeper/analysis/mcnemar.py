"""Tests and bounds the difference of two rates that were measured on the same items."""

from __future__ import annotations

import math
from collections.abc import Sequence

from watchkeeper.analysis.quantiles import binomial_cdf, normal_quantile
from watchkeeper.records.estimate import Estimate


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """The two-sided exact McNemar p-value for items that only `a` or only `b` got right.

    The sign test on the discordant items (McNemar, 1947, in its exact binomial form); 1 if there are none.
    Limits: as all exact tests on few items it rejects less often than alpha.
    """
    if only_a < 0 or only_b < 0:
        raise ValueError(
            f"McNemar's test counts discordant items, and got {only_a!r} and {only_b!r}. Give two counts from 0 up."
        )
    return min(1.0, 2 * binomial_cdf(min(only_a, only_b), only_a + only_b, 0.5))


def sign_test(differences: Sequence[float]) -> float:
    """The two-sided exact sign test of paired differences, blind to their size; ties are left out."""
    return mcnemar_exact(sum(d < 0 for d in differences), sum(d > 0 for d in differences))


def score_interval(only_a: int, only_b: int, n: int, *, confidence: float = 0.95) -> Estimate:
    """The difference of two rates over the same `n` items with Tango's score interval (Tango, 1998).

    It inverts the test of which McNemar's without correction is the case of no difference, stays within
    -1..1 and keeps its width when no item is discordant. Limits: coverage dips slightly below nominal under
    about 20 items.
    """
    if only_a < 0 or only_b < 0 or only_a + only_b > n:
        raise ValueError(
            f"Discordant items cannot outnumber the {n!r} items, and got {only_a!r} and {only_b!r}. "
            "Count only items that both sides scored."
        )
    z = normal_quantile((1 + confidence) / 2)
    low, high, value = -1.0, 1.0, math.nan
    if n:
        value = (only_b - only_a) / n
        low, high = _tango_bound(only_a, only_b, n, z, -1.0), _tango_bound(only_a, only_b, n, z, 1.0)
    return Estimate(value=value, low=low, high=high, n=n, method="Tango score", confidence=confidence)


def _tango_bound(only_a: int, only_b: int, n: int, z: float, end: float) -> float:
    """The difference nearest to `end` that the score test at `z` does not reject, by bisection."""
    inside, outside = (only_b - only_a) / n, end
    for _ in range(60):
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            break
        if abs(_tango_score(only_a, only_b, n, middle)) <= z:
            inside = middle
        else:
            outside = middle
    return outside if abs(_tango_score(only_a, only_b, n, outside)) <= z else inside


def _tango_score(only_a: int, only_b: int, n: int, difference: float) -> float:
    """Tango's statistic: the observed minus the supposed difference, over its spread if that were true."""
    spread = tango_variance(only_a, only_b, n, difference)
    gap = only_b - only_a - n * difference
    if spread <= 1e-15 * n:
        return 0.0 if abs(gap) <= 1e-12 * n else math.copysign(math.inf, gap)
    return gap / math.sqrt(spread)


def tango_variance(only_a: float, only_b: float, n: float, difference: float) -> float:
    """The variance of only_b - only_a that such counts make likeliest if `difference` were the true one."""
    linear = difference * (2 * n - only_b + only_a) - (only_a + only_b)
    constant = -only_a * difference * (1 - difference)
    # Each branch is the same root of the likelihood equation, in the form that loses no digits there.
    root = math.sqrt(max(0.0, linear * linear - 8 * n * constant))
    chance_only_a = (root - linear) / (4 * n) if linear <= 0 else -2 * constant / (root + linear)
    chance_only_a = max(chance_only_a, 0.0, -difference)
    return n * (2 * chance_only_a + difference * (1 - difference))
