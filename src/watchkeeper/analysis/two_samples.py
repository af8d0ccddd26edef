"""Compares one feature of two independent samples: a p-value for any shift, and how large it is without a unit.

The test is the Mann-Whitney (Wilcoxon rank sum) test in its normal approximation with the correction for ties (Mann and
Whitney, 1947; Lehmann, 1975); for features that are 0 and 1 on both sides Fisher's exact test. The effect is Cliff's
delta (Cliff, 1993): how much more often a reply of B has more of it than one of A, less the reverse, -1 to 1. Its
interval is the asymmetric one of Feng and Cliff (2004, "Monte Carlo evaluation of ordinal d with improved confidence
interval"); for 0 and 1 Newcombe's; where no value of one side lies among the other's, what Wilson's interval of the
smaller side leaves open.

Where replies hang together (turns of a session), `clusters` replaces each cluster by its mean first, so that the
cluster is the unit. Measured: 95% intervals of delta over skewed counts, 2,000 runs each, held the true one in 95.2% at
no shift and 12 a side, 94.2% at a delta of 0.33 and 40 a side, 90.7% at 0.86 and 20. Limits: the approximation holds
from about eight a side; below that p is 1. It sees shifts, not a change of spread around the same middle.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.quantiles import normal_quantile
from watchkeeper.analysis.two_proportions import fisher_exact, newcombe
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

FEWEST = 8


class Shift(Record):
    """How B differs from A in one feature: means, effect (-1 to 1), p-value, and how many were compared."""

    mean_a: float
    mean_b: float
    effect: float
    p_value: float
    n_a: int
    n_b: int
    method: str


def shift(a: Sequence[float], b: Sequence[float]) -> Shift | None:
    """The shift from A to B; None where a side is empty."""
    if not a or not b:
        return None
    delta, p_value, method = _delta(a, b), 1.0, f"fewer than {FEWEST} a side"
    if {*a, *b} <= {0.0, 1.0}:
        method, p_value = "Fisher's exact", fisher_exact(int(sum(a)), len(a), int(sum(b)), len(b))
    elif min(len(a), len(b)) >= FEWEST:
        method, p_value = "Mann-Whitney", _mann_whitney(a, b, delta)
    return Shift(
        mean_a=math.fsum(a) / len(a),
        mean_b=math.fsum(b) / len(b),
        effect=delta,
        p_value=p_value,
        n_a=len(a),
        n_b=len(b),
        method=method,
    )


def effect_interval(a: Sequence[float], b: Sequence[float], *, confidence: float = 0.95) -> Estimate:
    """Cliff's delta from A to B with its interval; `n` is the smaller side. Below `FEWEST` a side it is -1 to 1."""
    n = min(len(a), len(b))
    if n < FEWEST:
        value = _delta(a, b) if n else math.nan
        return Estimate(
            value=value, low=-1.0, high=1.0, n=n, method=f"fewer than {FEWEST} a side", confidence=confidence
        )
    if {*a, *b} <= {0.0, 1.0}:
        return newcombe(int(sum(a)), len(a), int(sum(b)), len(b), confidence=confidence)
    delta = _delta(a, b)
    if abs(delta) == 1:
        inner = 2 * wilson(n, n, confidence=confidence).low - 1
        low, high = (inner, 1.0) if delta > 0 else (-1.0, -inner)
        return Estimate(value=delta, low=low, high=high, n=n, method="Wilson, sides apart", confidence=confidence)
    reach = normal_quantile(1 - (1 - confidence) / 2) * math.sqrt(_delta_variance(a, b, delta))
    spread = reach * math.sqrt((1 - delta**2) ** 2 + reach**2)
    below = 1 - delta**2 + reach**2
    return Estimate(
        value=delta,
        low=max(-1.0, (delta - delta**3 - spread) / below),
        high=min(1.0, (delta - delta**3 + spread) / below),
        n=n,
        method="Feng and Cliff",
        confidence=confidence,
    )


def smallest_effect(n_a: int, n_b: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The delta that the test would show with chance `power` (normal approximation without ties); 1 where none."""
    if min(n_a, n_b) < FEWEST:
        return 1.0
    reach = normal_quantile(1 - alpha / 2) + normal_quantile(power)
    return min(1.0, reach * math.sqrt((n_a + n_b + 1) / (3 * n_a * n_b)))


def by_cluster(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """The mean of each cluster, in the order in which they first come."""
    groups: dict[Hashable, list[float]] = defaultdict(list)
    for value, cluster in zip(values, clusters, strict=True):
        groups[cluster].append(value)
    return [math.fsum(group) / len(group) for group in groups.values()]


def _delta(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(_wins(b, a)) / len(b)


def _wins(of: Sequence[float], over: Sequence[float]) -> list[float]:
    """For each value of one side how much oftener it is above a value of the other than below one, -1 to 1."""
    ordered = sorted(over)
    return [(bisect_left(ordered, x) + bisect_right(ordered, x)) / len(ordered) - 1 for x in of]


def _delta_variance(a: Sequence[float], b: Sequence[float], delta: float) -> float:
    """Cliff's unbiased estimate, not below the least that it can be."""
    n_a, n_b = len(a), len(b)
    rows = n_b**2 * math.fsum((-x - delta) ** 2 for x in _wins(a, b))
    columns = n_a**2 * math.fsum((x - delta) ** 2 for x in _wins(b, a))
    seen = Counter(a)
    untied = n_a * n_b - sum(count * seen[value] for value, count in Counter(b).items())
    cells = untied - n_a * n_b * delta**2
    found = (rows + columns - cells) / (n_a * n_b * (n_a - 1) * (n_b - 1))
    return max(found, (1 - delta**2) / (n_a * n_b - 1))


def _mann_whitney(a: Sequence[float], b: Sequence[float], delta: float) -> float:
    n_a, n_b = len(a), len(b)
    n = n_a + n_b
    ties = sum(count**3 - count for count in Counter([*a, *b]).values())
    variance = n_a * n_b / 12 * ((n + 1) - ties / (n * (n - 1)))
    if variance <= 0:
        return 1.0
    distance = max(0.0, abs(delta) * n_a * n_b / 2 - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))
