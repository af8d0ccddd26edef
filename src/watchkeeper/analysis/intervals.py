"""Gives a mean, a rate or any statistic the interval that its sample size deserves.

Every function returns an `Estimate`. Too little evidence is an answer, not an error: with no values the
value is NaN, and with none or one the interval is everything that is possible (minus to plus infinity, or 0
to 1 for a rate).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from random import Random
from statistics import NormalDist, fmean
from typing import NamedTuple

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
    found = spread(values)
    return _t_estimate(found.value, found.standard_error, found.df, len(values), "Student t", confidence, unit)


class Spread(NamedTuple):
    """A mean of clustered values: its standard error (infinite below two clusters), and what is known of that error."""

    value: float
    standard_error: float
    df: float
    clusters: int


def clustered(
    values: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95, unit: str = ""
) -> Estimate:
    """The mean of values that hang together in clusters (reruns of an item, turns of a session, items of a
    template).

    `clusters[i]` names the cluster of `values[i]`; the estimate's `n` counts clusters, for they are what is
    independent. Cluster-robust variance CR2 and a t interval on Satterthwaite's degrees of freedom, see
    `cluster_spread`. Limits: as Student's t, below about 15 clusters of skewed sums coverage falls short.
    """
    _require_confidence(confidence)
    found = cluster_spread(values, clusters)
    method = f"cluster-robust t (CR2) over {len(values)} values"
    return _t_estimate(found.value, found.standard_error, found.df, found.clusters, method, confidence, unit)


def clustered_rate(
    values: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95, unit: str = ""
) -> Estimate:
    """The mean of clustered scores that lie in 0..1, with Wilson's interval at the sample size that they are worth.

    That size is mean (1 - mean) / variance, with the cluster-robust variance, for outcomes at most their number; t
    takes the place of z (Korn and Graubard, 1998; Franco, Little, Louis and Slud, 2019, "Comparative study of
    confidence intervals for proportions in complex sample surveys"). It stays within 0..1 and keeps
    its width where all values are alike: each cluster then counts as one trial.
    """
    _require_confidence(confidence)
    found = cluster_spread(values, clusters)
    most = len(values) if all(x in (0.0, 1.0) for x in values) else math.inf
    low, high = rate_bounds(found, confidence, most)
    method = f"cluster-robust Wilson (CR2) over {len(values)} values"
    return Estimate(
        value=found.value, low=low, high=high, n=found.clusters, method=method, confidence=confidence, unit=unit
    )


def rate_bounds(found: Spread, confidence: float, most: float = math.inf) -> tuple[float, float]:
    """Wilson's bounds of a mean within 0..1 at the size that its spread is worth, `most` at the most."""
    if found.clusters < 2:
        return 0.0, 1.0
    if not found.standard_error > 0:
        return _score_bounds(found.value, found.clusters, normal_quantile((1 + confidence) / 2))
    worth = min(most, found.value * (1 - found.value) / found.standard_error**2)
    return _score_bounds(found.value, worth, t_quantile((1 + confidence) / 2, found.df))


def graded_rate(values: Sequence[float], *, confidence: float = 0.95, unit: str = "") -> Estimate:
    """The mean of independent scores within 0..1 with Wilson's interval at the sample size that they are worth.

    As `clustered_rate`, each score a cluster of its own: it leans away from the end that scores crowd at, stays within
    0..1 and keeps its width where all are alike. Measured on 4,000 samples each of grades 0, 0.5 and 1: 95% intervals
    covered the mean in 94% to 98% at 10 to 200 scores, where Student's t covered 40% to 95%.
    Limits: for scores of which 0 and 1 are the ends; 91% at 10 scores crowded at an end and few alike.
    """
    _require_confidence(confidence)
    found = spread(values)
    low, high = rate_bounds(found, confidence)
    method = "Wilson at the effective size"
    return Estimate(
        value=found.value, low=low, high=high, n=found.clusters, method=method, confidence=confidence, unit=unit
    )


def within_ends(values: Sequence[float]) -> bool:
    """Whether values lie within 0..1 and reach an end of it, as rates and grades do and latencies hardly ever."""
    return bool(values) and min(values) >= 0.0 and max(values) <= 1.0 and (min(values) == 0.0 or max(values) == 1.0)


def clustered_error(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """The cluster-robust (CR2) standard error of the mean of `values`; infinite below two clusters."""
    return cluster_spread(values, clusters).standard_error


def spread(values: Sequence[float]) -> Spread:
    """Standard error and degrees of freedom of a mean of independent values."""
    n = len(values)
    if n < 2:
        return Spread(values[0] if n else math.nan, math.inf, 0.0, n)
    value = math.fsum(values) / n
    squares = math.fsum([(x - value) ** 2 for x in values])
    return Spread(value, math.sqrt(squares / (n - 1) / n), n - 1, n)


def apart(before: Spread, after: Spread) -> Spread:
    """The difference after - before of two independent means, with Welch's degrees of freedom."""
    a, b = before.standard_error**2, after.standard_error**2
    if not math.isfinite(a + b):
        return Spread(after.value - before.value, math.inf, 0.0, 0)
    df = (a + b) ** 2 / (a * a / before.df + b * b / after.df) if a + b > 0 else before.df + after.df
    return Spread(after.value - before.value, math.sqrt(a + b), df, before.clusters + after.clusters)


def difference(before: Sequence[float], after: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """The difference of the means of two independent samples, after - before, with Welch's t interval.

    Limits: those of `mean`.
    """
    _require_confidence(confidence)
    found = apart(spread(before), spread(after))
    n = len(before) + len(after)
    return _t_estimate(found.value, found.standard_error, found.df, n, "Welch t", confidence, "")


def cluster_spread(values: Sequence[float], clusters: Sequence[Hashable]) -> Spread:
    """Standard error and degrees of freedom of a mean of clustered values.

    The bias-reduced variance CR2 (Bell and McCaffrey, 2002): each cluster's sum of residuals over sqrt(1 - its share of
    the values); for clusters of one size that is CR1's factor G/(G-1). The degrees of freedom are Satterthwaite's under
    a working model of one intra-cluster correlation, estimated from the values (Imbens and Kolesar, 2016, "Robust
    standard errors in small samples"): G - 1 for clusters of one size, fewer where few clusters hold most values.
    """
    if len(values) != len(clusters):
        raise ValueError(
            f"Each value needs its cluster, and there are {len(values)} values and {len(clusters)} clusters. "
            "Give two sequences of the same length."
        )
    n = len(values)
    value = fmean(values) if n else math.nan
    sums: dict[Hashable, list[float]] = {}
    for x, cluster in zip(values, clusters, strict=True):
        held = sums.setdefault(cluster, [0.0, 0.0])
        held[0] += x - value
        held[1] += 1
    count = len(sums)
    if count < 2:
        return Spread(value, math.inf, 0.0, count)
    sizes = [size for _, size in sums.values()]
    error = math.sqrt(math.fsum(s * s / (1 - size / n) for s, size in sums.values())) / n
    if max(sizes) == min(sizes):
        return Spread(value, error, count - 1, count)
    squares = math.fsum((x - value) ** 2 for x in values)
    alike = _intra_cluster_correlation(list(sums.values()), squares)
    return Spread(value, error, _satterthwaite(sizes, alike), count)


def _intra_cluster_correlation(sums: Sequence[Sequence[float]], squares: float) -> float:
    """Fisher's one-way estimate, kept within 0..1, from each cluster's sum and size and the whole sum of squares."""
    n, count = sum(size for _, size in sums), len(sums)
    between = math.fsum(s * s / size for s, size in sums)
    if n <= count:
        return 0.0
    within_mean, between_mean = (squares - between) / (n - count), between / (count - 1)
    size = (n - math.fsum(size * size for _, size in sums) / n) / (count - 1)
    total = between_mean + (size - 1) * within_mean
    return min(1.0, max(0.0, (between_mean - within_mean) / total)) if total > 0 else 0.0


def _satterthwaite(sizes: Sequence[float], alike: float) -> float:
    """(tr M)^2 / tr M^2 for M = K (diag v - v p' - p v' + V p p') K, with shares p and variances v of cluster sums."""
    n = sum(sizes)
    p = [size / n for size in sizes]
    v = [size * (1 - alike + alike * size) for size in sizes]
    whole = math.fsum(v)
    k2 = [1 / (1 - share) for share in p]
    own = [k * x for k, x in zip(k2, v, strict=True)]
    aa = math.fsum(k * x * x for k, x in zip(k2, p, strict=True))
    bb = math.fsum(k * x * x for k, x in zip(k2, v, strict=True))
    ab = math.fsum(k * x * y for k, x, y in zip(k2, p, v, strict=True))
    trace = math.fsum(own) - 2 * ab + whole * aa
    square = math.fsum(d * d for d in own) + 2 * aa * bb + 2 * ab * ab + (whole * aa) ** 2
    square -= 4 * math.fsum(d * k * x * y for d, k, x, y in zip(own, k2, p, v, strict=True))
    square += 2 * whole * math.fsum(d * k * x * x for d, k, x in zip(own, k2, p, strict=True))
    square -= 4 * whole * ab * aa
    return max(1.0, trace * trace / square)


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
    low, high = _score_bounds(successes / n, n, normal_quantile((1 + confidence) / 2))
    return Estimate(
        value=successes / n, low=low, high=high, n=n, method="Wilson score", confidence=confidence, unit=unit
    )


def _score_bounds(rate: float, n: float, z: float) -> tuple[float, float]:
    shrink = z * z / n
    centre = (rate + shrink / 2) / (1 + shrink)
    half = z * math.sqrt(rate * (1 - rate) / n + shrink / (4 * n)) / (1 + shrink)
    return 0.0 if rate <= 0 else max(0.0, centre - half), 1.0 if rate >= 1 else min(1.0, centre + half)


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
    value: float, standard_error: float, df: float, n: int, method: str, confidence: float, unit: str
) -> Estimate:
    half = t_quantile((1 + confidence) / 2, df) * standard_error if df > 0 else math.inf
    low, high = (value - half, value + half) if math.isfinite(half) else (-math.inf, math.inf)
    return Estimate(value=value, low=low, high=high, n=n, method=method, confidence=confidence, unit=unit)


def _require_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence must lie strictly between 0 and 1, and was {confidence!r}. Give 0.95 for 95 percent."
        )
