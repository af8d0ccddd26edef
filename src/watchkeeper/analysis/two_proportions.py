"""Says how far two independent rates are apart, with an interval that holds at few trials."""

from __future__ import annotations

import math
from math import comb

from watchkeeper.analysis.intervals import wilson
from watchkeeper.records.estimate import Estimate


def newcombe(
    successes_a: int, n_a: int, successes_b: int, n_b: int, *, confidence: float = 0.95, unit: str = ""
) -> Estimate:
    """The difference of two independent rates, B - A, with the hybrid score interval.

    Method 10 of Newcombe (1998, "Interval estimation for the difference between independent proportions", Statistics
    in Medicine 17): the two Wilson intervals, their half widths added in quadrature. `n` is the smaller of the two
    numbers of trials. With no trials on a side the value is NaN and the interval is everything that is possible.
    Limits: for independent trials; outcomes of the same items on both sides are paired: use `mcnemar`. Averaged over
    all pairs of rates 95% intervals cover 95.3% of the time at 8, 10 and 20 trials a side (computed, not simulated); at
    the worst pair (one rate near 0, the other near 1) 88.4%, 89.2% and 91.1%.
    """
    a = wilson(successes_a, n_a, confidence=confidence)
    b = wilson(successes_b, n_b, confidence=confidence)
    found = apart(a, b)
    low, high, n = max(-1.0, found.low), min(1.0, found.high), min(n_a, n_b)
    return Estimate(
        value=found.value, low=low, high=high, n=n, method="Newcombe score", confidence=confidence, unit=unit
    )


def apart(a: Estimate, b: Estimate) -> Estimate:
    """B - A of two independent estimates: the distances to their bounds are added in quadrature.

    The method of variance estimates recovery, MOVER (Zou and Donner, 2008, "Construction of confidence intervals about
    effect measures", Statistics in Medicine 27); with two Wilson intervals it is Newcombe's. Where one of them says
    nothing the value is NaN and the interval is everything. `n` is the smaller of the two. Limits: as good as the two
    intervals; for estimates of the same items use a paired one.
    """
    n, method = min(a.n, b.n), f"MOVER of {a.method} and {b.method}"
    if n == 0 or math.isnan(a.value) or math.isnan(b.value):
        return Estimate(value=math.nan, low=-math.inf, high=math.inf, n=n, method=method, confidence=a.confidence)
    value = b.value - a.value
    low = value - math.hypot(b.value - b.low, a.high - a.value)
    high = value + math.hypot(b.high - b.value, a.value - a.low)
    return Estimate(value=value, low=low, high=high, n=n, method=method, confidence=a.confidence)


def fisher_exact(successes_a: int, n_a: int, successes_b: int, n_b: int) -> float:
    """The two-sided exact p-value that two independent rates are equal (Fisher, 1935).

    The sum over all tables with the same margins that are no more likely than the one seen. Limits: conservative at
    few trials, because only few p-values are possible there.
    """
    if not (0 <= successes_a <= n_a and 0 <= successes_b <= n_b):
        raise ValueError(
            f"Each side needs 0 <= successes <= n, and got {successes_a} of {n_a} and {successes_b} of {n_b}. "
            "Count the successes among the trials."
        )
    total, row = n_a + n_b, successes_a + successes_b
    ways = comb(total, n_a)
    low, high = max(0, row - n_b), min(row, n_a)
    seen = comb(row, successes_a) * comb(total - row, n_a - successes_a)
    tables = (comb(row, k) * comb(total - row, n_a - k) for k in range(low, high + 1))
    return min(1.0, sum(table for table in tables if table <= seen) / ways)
