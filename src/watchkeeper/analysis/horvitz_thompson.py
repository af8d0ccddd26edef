"""Says what a thinned record still says of the whole: totals, means and shares from items kept with known probability.

An item that was kept with probability p stands for 1/p items (Horvitz and Thompson, 1952, "A generalization of sampling
without replacement from a finite universe", JASA 47). The total of values weighted so is unbiased whatever the values
are. A mean divides two such totals (Hajek, 1971): slightly biased, and far less scattered.

What was kept for a reason was kept for certain; it is a stratum of its own in which every item was seen, and only the
rest of the record has an error bar.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from watchkeeper.analysis.quantiles import normal_quantile, t_quantile
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

FEW = 30


class Stratum(Record):
    """A part of the record within which every cluster had the same chance to be seen.

    `units` and `clusters` count what there is (replies, and the traces that hold them), which the metadata says without
    a body. `seen` holds, for each cluster that was looked into, how many of its units hit and how many units it has.
    """

    units: int
    clusters: int
    seen: tuple[tuple[int, int], ...] = ()

    @property
    def seen_units(self) -> int:
        """How many units were looked into."""
        return sum(size for _, size in self.seen)

    @property
    def hits(self) -> int:
        """How many of them hit."""
        return sum(hits for hits, _ in self.seen)

    @property
    def whole(self) -> bool:
        """Whether nothing was left out, so that there is no sampling error."""
        return len(self.seen) >= self.clusters or self.seen_units >= self.units


def total(
    values: Sequence[float], probabilities: Sequence[float], *, confidence: float = 0.95, unit: str = ""
) -> Estimate:
    """The total over a whole record, from the items that were kept independently with known probabilities.

    Unbiased: the mean over all samples is the true total. The interval is normal, with the unbiased variance estimate
    for independent (Poisson) sampling. Limits: with few kept items, or few that carry the total, it is too narrow; with
    none it says nothing.
    """
    _require(values, probabilities)
    n = len(values)
    value = math.fsum(x / p for x, p in zip(values, probabilities, strict=True))
    variance = math.fsum((1 - p) * (x / p) ** 2 for x, p in zip(values, probabilities, strict=True))
    margin = normal_quantile((1 + confidence) / 2) * math.sqrt(variance) if n else math.inf
    return Estimate(
        value=value, low=value - margin, high=value + margin, n=n, method="Horvitz-Thompson", confidence=confidence,
        unit=unit,
    )  # fmt: skip


def mean(
    values: Sequence[float], probabilities: Sequence[float], *, confidence: float = 0.95, unit: str = ""
) -> Estimate:
    """The mean over a whole record, from the items that were kept independently with known probabilities.

    Hajek's ratio of two weighted totals, its variance by linearisation (Sarndal, Swensson and Wretman, 1992, "Model
    Assisted Survey Sampling", 5.7) with a Student t interval on n - 1 degrees of freedom. Limits: biased by the order
    of 1/n; for shares near 0 or 1 use `share`.
    """
    _require(values, probabilities)
    n = len(values)
    if n == 0:
        return _nothing(math.nan, -math.inf, math.inf, 0, confidence, unit)
    weight = math.fsum(1 / p for p in probabilities)
    value = math.fsum(x / p for x, p in zip(values, probabilities, strict=True)) / weight
    squares = math.fsum((1 - p) * ((x - value) / p) ** 2 for x, p in zip(values, probabilities, strict=True))
    if n == 1:
        return _nothing(value, -math.inf, math.inf, 1, confidence, unit)
    margin = t_quantile((1 + confidence) / 2, n - 1) * math.sqrt(squares * n / (n - 1)) / weight
    return Estimate(
        value=value, low=value - margin, high=value + margin, n=n, method="Hajek", confidence=confidence, unit=unit
    )


def share(strata: Sequence[Stratum], *, confidence: float = 0.95, unit: str = "") -> Estimate:
    """The share of units that hit, over all strata; `n` counts the clusters that were looked into.

    Within a stratum the ratio of hits to units over clusters, its variance by linearisation with the finite population
    correction, and Wilson's interval at the effective sample size that follows from it (Korn and Graubard, 1998,
    "Confidence intervals for proportions with small expected number of positive counts estimated from survey data").
    Where nothing or all hit, each cluster counts as one observation. Strata are joined as by Zou and Donner (2008,
    "Construction of confidence limits about effect measures: a general approach"): the distances to the limits add up
    in squares. A stratum into which nobody looked may hold anything between none and all.

    Limits: the clusters seen must be a random sample of their stratum. Very unequal clusters with few seen give
    intervals that are too narrow.
    """
    units = sum(stratum.units for stratum in strata)
    seen = sum(len(stratum.seen) for stratum in strata)
    if units == 0:
        return _nothing(math.nan, 0.0, 1.0, 0, confidence, unit)
    value = low = high = blind = 0.0
    for stratum in strata:
        weight = stratum.units / units
        if weight == 0:
            continue
        if not stratum.seen_units:
            blind += weight
            continue
        rate = stratum.hits / stratum.seen_units
        value += weight * rate
        below, above = _limits(stratum, rate, confidence)
        low += (weight * (rate - below)) ** 2
        high += (weight * (above - rate)) ** 2
    known = value
    value = known / (1 - blind) if blind < 1 else math.nan
    return Estimate(
        value=value,
        low=max(0.0, known - math.sqrt(low)),
        high=min(1.0, known + math.sqrt(high) + blind),
        n=seen,
        method="stratified Hajek, Wilson",
        confidence=confidence,
        unit=unit,
    )


def _limits(stratum: Stratum, rate: float, confidence: float) -> tuple[float, float]:
    if stratum.whole:
        return rate, rate
    m = len(stratum.seen)
    left_out = 1 - m / stratum.clusters
    squares = math.fsum((hits - rate * size) ** 2 for hits, size in stratum.seen)
    if m > 1 and squares > 0:
        variance = left_out * squares * m / (m - 1) / stratum.seen_units**2
        effective = min(rate * (1 - rate) / variance, stratum.seen_units / left_out)
    else:
        effective = m / left_out
    quantile = (1 + confidence) / 2
    z = t_quantile(quantile, m - 1) if 1 < m < FEW else normal_quantile(quantile)
    centre = (rate + z * z / (2 * effective)) / (1 + z * z / effective)
    reach = z / (1 + z * z / effective) * math.sqrt(rate * (1 - rate) / effective + (z / (2 * effective)) ** 2)
    return min(rate, max(0.0, centre - reach)), max(rate, min(1.0, centre + reach))


def _nothing(value: float, low: float, high: float, n: int, confidence: float, unit: str) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=n, method="Hajek", confidence=confidence, unit=unit)


def _require(values: Sequence[float], probabilities: Sequence[float]) -> None:
    if len(values) != len(probabilities):
        raise ValueError(
            f"Each value needs its probability, and there are {len(values)} values and {len(probabilities)} "
            "probabilities. Give two sequences of the same length."
        )
    for p in probabilities:
        if not 0 < p <= 1:
            raise ValueError(f"{p} is not a probability with which anything was kept; expected above 0, at most 1.")
