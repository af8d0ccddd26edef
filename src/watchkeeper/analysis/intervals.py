"""Gives a mean, a rate or any statistic the interval that its sample size deserves.

Every function returns an `Estimate`. Too little evidence is an answer, not an error: with no values the
value is NaN, and with none or one the interval is everything that is possible (minus to plus infinity, or 0
to 1 for a rate).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from random import Random
from statistics import NormalDist, fmean, variance

from watchkeeper.analysis.quantiles import normal_quantile, t_quantile
from watchkeeper.records.estimate import Estimate

_JACKKNIFE_LIMIT = 2_000


def mean(values: Sequence[float], *, confidence: float = 0.95, unit: str = "") -> Estimate:
    """The mean of independent values with Student's t interval.

    Limits: exact for normal values; for skewed ones coverage falls below nominal at small n. Identical
    values give an interval of no width, which says only that no spread was seen: use `wilson` for outcomes
    that are 0 or 1.
    """
    _require_confidence(confidence)
    n = len(values)
    value = fmean(values) if n else math.nan
    standard_error = math.sqrt(variance(values, value) / n) if n > 1 else math.inf
    return _t_estimate(value, standard_error, n - 1, n, "Student t", confidence, unit)


def clustered(
    values: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95, unit: str = ""
) -> Estimate:
    """The mean of values that hang together in clusters (reruns of an item, turns of a session, items of a
    template).

    `clusters[i]` names the cluster of `values[i]`. Cluster-robust variance with the CR1 factor G/(G-1) and
    a t interval on G-1 degrees of freedom (Cameron and Miller, 2015, "A practitioner's guide to
    cluster-robust inference"); the estimate's `n` counts clusters, for they are what is independent.
    Limits: below about 20 clusters of very unequal size the interval is still somewhat too narrow.
    """
    _require_confidence(confidence)
    if len(values) != len(clusters):
        raise ValueError(
            f"Each value needs its cluster, and there are {len(values)} values and {len(clusters)} clusters. "
            "Give two sequences of the same length."
        )
    n = len(values)
    value = fmean(values) if n else math.nan
    count = len(set(clusters))
    standard_error = clustered_error(values, clusters)
    method = f"cluster-robust t (CR1) over {n} values"
    return _t_estimate(value, standard_error, count - 1, count, method, confidence, unit)


def clustered_error(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """The cluster-robust (CR1) standard error of the mean of `values`; infinite below two clusters."""
    n = len(values)
    value = fmean(values) if n else math.nan
    sums: dict[Hashable, float] = {}
    for x, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + x - value
    count = len(sums)
    return math.sqrt(count / (count - 1) * math.fsum(s * s for s in sums.values())) / n if count > 1 else math.inf


def wilson(successes: float, n: int, *, confidence: float = 0.95, unit: str = "") -> Estimate:
    """The rate of `successes` in `n` independent trials with Wilson's score interval (Wilson, 1927).

    A fractional `successes` (the sum of scores that each lie in 0..1) is allowed and makes the interval
    conservative.
    Limits: average coverage is nominal, for single rates near 0 or 1 it dips a few points; trials that come
    in bursts or sessions are not independent, and the interval is then too narrow: use `clustered`.
    """
    _require_confidence(confidence)
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(
            f"A rate needs 0 <= successes <= n, and got {successes!r} of {n!r}. Count the successes among the trials."
        )
    if n == 0:
        return Estimate(value=math.nan, low=0.0, high=1.0, n=0, method="Wilson score", confidence=confidence, unit=unit)
    z = normal_quantile((1 + confidence) / 2)
    rate, shrink = successes / n, z * z / n
    centre = (rate + shrink / 2) / (1 + shrink)
    half = z * math.sqrt(rate * (1 - rate) / n + shrink / (4 * n)) / (1 + shrink)
    return Estimate(
        value=rate,
        low=0.0 if successes == 0 else max(0.0, centre - half),
        high=1.0 if successes == n else min(1.0, centre + half),
        n=n,
        method="Wilson score",
        confidence=confidence,
        unit=unit,
    )


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float],
    rng: Random,
    draws: int = 2_000,
    *,
    confidence: float = 0.95,
    unit: str = "",
) -> Estimate:
    """Any statistic of independent values with the bias-corrected and accelerated bootstrap interval
    (Efron, 1987).

    `statistic` gets a list of as many values and returns a number; `rng` makes the interval repeatable.
    Above 2,000 values the acceleration, then negligible, is left out to save as many evaluations.
    Limits: it cannot see beyond the sample, so it is useless for extremes, and it is too narrow for few values:
    at 60 skewed ones (gamma, shape 2) 95% intervals covered the mean in 94% of 1,500 simulated samples.
    """
    _require_confidence(confidence)
    if draws < 100:
        raise ValueError(f"A bootstrap interval needs at least 100 draws, and got {draws!r}. Leave it at 2000.")
    n = len(values)
    value = statistic(values) if n else math.nan
    low, high = -math.inf, math.inf
    if n > 1:
        resampled = sorted(statistic(rng.choices(values, k=n)) for _ in range(draws))
        low, high = _bca_bounds(values, statistic, value, resampled, confidence)
    return Estimate(value=value, low=low, high=high, n=n, method="BCa bootstrap", confidence=confidence, unit=unit)


def _bca_bounds(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float],
    value: float,
    resampled: list[float],
    confidence: float,
) -> tuple[float, float]:
    draws, normal = len(resampled), NormalDist()
    below = sum(r < value for r in resampled) + sum(r == value for r in resampled) / 2
    bias = normal.inv_cdf(min(max(below / draws, 0.5 / draws), 1 - 0.5 / draws))
    acceleration = _acceleration(values, statistic)

    def bound(p: float) -> float:
        z = bias + normal.inv_cdf(p)
        q = normal.cdf(bias + z / (1 - acceleration * z))
        return resampled[min(draws - 1, max(0, math.floor(q * draws)))]

    return min(value, bound((1 - confidence) / 2)), max(value, bound((1 + confidence) / 2))


def _acceleration(values: Sequence[float], statistic: Callable[[Sequence[float]], float]) -> float:
    if len(values) > _JACKKNIFE_LIMIT:
        return 0.0
    left_out = [statistic([*values[:i], *values[i + 1 :]]) for i in range(len(values))]
    centre = fmean(left_out)
    squares = math.fsum((centre - x) ** 2 for x in left_out)
    return math.fsum((centre - x) ** 3 for x in left_out) / (6 * squares**1.5) if squares > 0 else 0.0


def _t_estimate(
    value: float, standard_error: float, df: int, n: int, method: str, confidence: float, unit: str
) -> Estimate:
    half = t_quantile((1 + confidence) / 2, df) * standard_error if df > 0 else math.inf
    low, high = (value - half, value + half) if math.isfinite(half) else (-math.inf, math.inf)
    return Estimate(value=value, low=low, high=high, n=n, method=method, confidence=confidence, unit=unit)


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence must lie strictly between 0 and 1, and was {confidence!r}. Give 0.95 for 95 percent."
        )
