"""The rate of independent trials with an interval that covers at least as often as it says, at any number of trials."""

from __future__ import annotations

import math

from watchkeeper.records.estimate import Estimate

_STEPS = 50


def clopper_pearson(successes: int, n: int, *, confidence: float = 0.95, unit: str = "") -> Estimate:
    """The exact interval of Clopper and Pearson (1934): the rates that neither exact one-sided test rejects.

    For calls that are made from many intervals at once, each at a high confidence, where score intervals err more often
    than they say. Limits: wider than needed at few trials; costs about 100 sums over the smaller tail. Raises
    ValueError unless 0 <= successes <= n.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"A rate needs 0 <= successes <= n, and got {successes} of {n}.")
    if n == 0:
        return Estimate(value=math.nan, low=0.0, high=1.0, n=0, method="Clopper-Pearson", confidence=confidence)
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else 1 - _upper(n - successes, n, tail)
    high = 1.0 if successes == n else _upper(successes, n, tail)
    return Estimate(
        value=successes / n, low=low, high=high, n=n, method="Clopper-Pearson", confidence=confidence, unit=unit
    )


def _upper(successes: int, n: int, tail: float) -> float:
    """The rate at which so few successes or fewer have a chance of `tail`."""
    low, high = successes / n, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        if _at_most(successes, n, middle) > tail:
            low = middle
        else:
            high = middle
    return high


def _at_most(successes: int, n: int, rate: float) -> float:
    """P(X <= successes), summed from its largest term down until nothing is added."""
    if rate >= 1:
        return 0.0 if successes < n else 1.0
    log = math.lgamma(n + 1) - math.lgamma(successes + 1) - math.lgamma(n - successes + 1)
    term = math.exp(log + successes * math.log(rate) + (n - successes) * math.log1p(-rate))
    total, odds = 0.0, (1 - rate) / rate
    for k in range(successes, -1, -1):
        total += term
        if term < total * 1e-16:
            break
        term *= odds * k / (n - k + 1)
    return total
