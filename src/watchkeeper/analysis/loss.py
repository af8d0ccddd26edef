"""Says what an uncontained fault can have cost: damage per second, times seconds until it was contained, times unit
cost.

Each factor comes with its own bounds, and the product's bounds are the products of theirs: the widest that the factors
allow, whatever they have to do with each other. A factor that is unknown makes the product unknown.

Limits: no advice about cover, and no forecast: the rate and the time are those that were measured, and the next fault
has its own. The unit cost is what its owner declared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from watchkeeper.analysis.quantiles import normal_quantile
from watchkeeper.records.estimate import Estimate


def rate(events: int, seconds: float, *, confidence: float = 0.95) -> Estimate:
    """Events per second with Byar's approximation to the exact Poisson interval (Breslow and Day, 1987, vol. II, 2.11).

    With no time the rate is unknown (NaN, zero to infinity); with no events its lower bound is 0. Limits: for events
    that come independently; a loop's are more regular than that, so the interval is wide rather than narrow.
    """
    if events < 0 or seconds < 0:
        raise ValueError(f"A rate needs events >= 0 and seconds >= 0, and got {events!r} in {seconds!r} s.")
    method = "Poisson, Byar"
    if seconds == 0:
        return Estimate(
            value=math.nan, low=0.0, high=math.inf, n=events, method=method, confidence=confidence, unit="/s"
        )
    z = normal_quantile((1 + confidence) / 2)
    low = 0.0 if events == 0 else events * max(0.0, 1 - 1 / (9 * events) - z / (3 * math.sqrt(events))) ** 3
    more = events + 1
    high = more * (1 - 1 / (9 * more) + z / (3 * math.sqrt(more))) ** 3
    return Estimate(
        value=events / seconds,
        low=low / seconds,
        high=high / seconds,
        n=events,
        method=method,
        confidence=confidence,
        unit="/s",
    )


def observed_range(values: Sequence[float], *, unit: str = "") -> Estimate:
    """Measured values as they are: the median, the least and the largest; no interval for what is to come."""
    if not values:
        return Estimate(value=math.nan, low=0.0, high=math.inf, n=0, method="not measured", confidence=1.0, unit=unit)
    ordered = sorted(values)
    middle = ordered[(len(ordered) - 1) // 2]
    return Estimate(
        value=middle,
        low=ordered[0],
        high=ordered[-1],
        n=len(ordered),
        method="median and range",
        confidence=1.0,
        unit=unit,
    )


def declared_range(low: float, high: float, *, unit: str = "") -> Estimate:
    """What its owner says that it lies between; the value is the middle."""
    if not 0 <= low <= high:
        raise ValueError(f"A range needs 0 <= from <= to, and got {low!r} to {high!r}.")
    return Estimate(value=(low + high) / 2, low=low, high=high, n=0, method="declared", confidence=1.0, unit=unit)


def loss(per_second: Estimate, seconds: Estimate, unit_cost: Estimate) -> Estimate:
    """The product of the three, in the unit cost's unit; unknown (NaN, up to infinity) where one of them is."""
    parts = (per_second, seconds, unit_cost)
    return Estimate(
        value=math.prod(each.value for each in parts),
        low=math.prod(each.low for each in parts),
        high=_product([each.high for each in parts]),
        n=min((each.n for each in parts if each.method != "declared"), default=0),
        method="rate x time x unit cost, bounds multiplied",
        confidence=min(each.confidence for each in parts),
        unit=unit_cost.unit,
    )


def _product(highs: Sequence[float]) -> float:
    """Zero times unknown is unknown here: an upper bound that is not known is not made small by another one."""
    return math.inf if any(math.isinf(each) for each in highs) else math.prod(highs)
