"""Compares one feature of two independent samples: a p-value for any shift, and how large it is without a unit.

The test is the Mann-Whitney (Wilcoxon rank sum) test in its normal approximation with the correction for ties (Mann and
Whitney, 1947; Lehmann, 1975); for features that are 0 and 1 on both sides Fisher's exact test. The effect is Cliff's
delta (Cliff, 1993): how much more often a reply of B has more of it than one of A, less the reverse, -1 to 1.

Where replies hang together (turns of a session), `clusters` replaces each cluster by its mean first, so that the
cluster is the unit. Limits: the approximation holds from about eight a side; below that p is 1. It sees shifts, not a
change of spread around the same middle.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence

from watchkeeper.analysis.two_proportions import fisher_exact
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


def by_cluster(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """The mean of each cluster, in the order in which they first come."""
    groups: dict[Hashable, list[float]] = defaultdict(list)
    for value, cluster in zip(values, clusters, strict=True):
        groups[cluster].append(value)
    return [math.fsum(group) / len(group) for group in groups.values()]


def _delta(a: Sequence[float], b: Sequence[float]) -> float:
    ordered = sorted(a)
    wins = sum(bisect_left(ordered, x) - (len(ordered) - bisect_right(ordered, x)) for x in b)
    return wins / (len(a) * len(b))


def _mann_whitney(a: Sequence[float], b: Sequence[float], delta: float) -> float:
    n_a, n_b = len(a), len(b)
    n = n_a + n_b
    ties = sum(count**3 - count for count in Counter([*a, *b]).values())
    variance = n_a * n_b / 12 * ((n + 1) - ties / (n * (n - 1)))
    if variance <= 0:
        return 1.0
    distance = max(0.0, abs(delta) * n_a * n_b / 2 - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))
