"""Compares two independent samples of scores: other items, other users or other weeks on either side.

Outcomes of 0 and 1 get Fisher's exact test (above 500 on both sides together the pooled z test) and Newcombe's hybrid
score interval (1998, method 10); all else Welch's t test. Grades that lie within 0..1 and reach an end have the
interval of Newcombe's form with Wilson's bounds at the size that they are worth, other scores Welch's. With clusters
the variances are cluster-robust (CR2), each with Satterthwaite's degrees of freedom.

Measured on 2,000 to 4,000 pairs of equal samples each: "better" or "worse" in 2.6% of outcomes (rate 0.8) at 20 a side,
4.4% at 100 and 60, 5.3% at 300; of lognormal scores in 3.6%, 5.0% and 4.6%. 95% intervals covered in 95% to 98%.
Limits: pairing the same items shows far smaller differences; use `paired.compare` wherever both sides have them. One
look.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from watchkeeper.analysis import intervals, power
from watchkeeper.analysis.paired import Evidence
from watchkeeper.analysis.quantiles import t_quantile, t_two_sided
from watchkeeper.analysis.two_proportions import fisher_exact, newcombe
from watchkeeper.records.estimate import Estimate

_EXACT = 500


class Sample(NamedTuple):
    """The scores of one side, and the cluster of each where scores hang together."""

    values: Sequence[float]
    clusters: Sequence[Hashable] | None = None


def unpaired_evidence(a: Sample, b: Sample, confidences: tuple[float, float]) -> Evidence:
    """Test and intervals of the difference b - a of two means; raises ValueError for an empty side."""
    if not a.values or not b.values:
        raise ValueError("Each side needs a score to be compared. Look at what was filtered out.")
    outcomes = {*a.values, *b.values} <= {0.0, 1.0}
    spreads = _spread(a), _spread(b)
    error, df = _welch(*spreads)
    alpha = round(1 - confidences[0], 12)
    if outcomes and a.clusters is None and b.clusters is None:
        p_value, test = _rates(a.values, b.values)
        counts = int(sum(a.values)), len(a.values), int(sum(b.values)), len(b.values)
        found = [newcombe(*counts, confidence=each) for each in confidences]
        said = f"{test}, Newcombe score interval"
    else:
        difference = spreads[1].value - spreads[0].value
        p_value = t_two_sided(difference / error, df) if 0 < error < math.inf else 1.0
        bounded = intervals.within_ends([*a.values, *b.values])
        made = _hybrid if bounded and min(s.clusters for s in spreads) > 1 else _welch_interval
        found = [made(*spreads, confidence) for confidence in confidences]
        over = "" if a.clusters is None and b.clusters is None else " over clusters (CR2)"
        said = f"Welch t test, {found[0].method}{over}"
    return Evidence(
        method=said,
        p_value=p_value,
        difference=found[0],
        inner=found[1],
        mde=power.error_mde(error, df, alpha=alpha) if math.isfinite(error) else None,
    )


def _spread(side: Sample) -> intervals.Spread:
    if side.clusters is None:
        return intervals.spread(side.values)
    return intervals.cluster_spread(side.values, side.clusters)


def _welch(a: intervals.Spread, b: intervals.Spread) -> tuple[float, float]:
    """The standard error of the difference and its degrees of freedom (Welch, 1947)."""
    if min(a.clusters, b.clusters) < 2:
        return math.inf, 0.0
    squares = a.standard_error**2, b.standard_error**2
    whole = sum(squares)
    if whole == 0:
        return 0.0, min(a.df, b.df)
    return math.sqrt(whole), whole**2 / (squares[0] ** 2 / a.df + squares[1] ** 2 / b.df)


def _rates(a: Sequence[float], b: Sequence[float]) -> tuple[float, str]:
    won = sum(a), sum(b)
    n = len(a) + len(b)
    if n <= _EXACT:
        return fisher_exact(int(won[0]), len(a), int(won[1]), len(b)), "Fisher's exact"
    rate = sum(won) / n
    error = math.sqrt(rate * (1 - rate) * (1 / len(a) + 1 / len(b)))
    gap = abs(won[1] / len(b) - won[0] / len(a))
    return (math.erfc(gap / error / math.sqrt(2)) if error > 0 else 1.0), "pooled z test"


def _welch_interval(a: intervals.Spread, b: intervals.Spread, confidence: float) -> Estimate:
    error, df = _welch(a, b)
    half = t_quantile((1 + confidence) / 2, df) * error if 0 < error < math.inf else math.inf
    return _estimate(a, b, (half, half), "Welch interval", confidence)


def _hybrid(a: intervals.Spread, b: intervals.Spread, confidence: float) -> Estimate:
    (low_a, high_a), (low_b, high_b) = (intervals.rate_bounds(side, confidence) for side in (a, b))
    below = math.hypot(b.value - low_b, high_a - a.value)
    above = math.hypot(high_b - b.value, a.value - low_a)
    return _estimate(a, b, (below, above), "hybrid score interval", confidence)


def _estimate(
    a: intervals.Spread, b: intervals.Spread, reach: tuple[float, float], method: str, confidence: float
) -> Estimate:
    value = b.value - a.value
    return Estimate(
        value=value,
        low=value - reach[0],
        high=value + reach[1],
        n=min(a.clusters, b.clusters),
        method=method,
        confidence=confidence,
    )
