"""Says what one sum is for each unit of another (dollars for each success), and whether that has moved.

The parts of a time series hang together (a storm of retries, a busy hour), so blocks of time are what is counted as
independent, not single calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from watchkeeper.analysis.quantiles import t_quantile
from watchkeeper.records.estimate import Estimate


class Block(NamedTuple):
    """What happened in one stretch of time: an amount, and the units that it is told for."""

    amount: float
    units: float


class Change(NamedTuple):
    """Two ratios and how many times the later one is the earlier one."""

    before: Estimate
    after: Estimate
    times: Estimate


def ratio_of(blocks: Sequence[Block], *, confidence: float = 0.95, unit: str = "") -> Estimate:
    """The sum of amounts over the sum of units, with an interval on the log scale.

    Linearised variance of a ratio of sums over blocks (Cochran, "Sampling Techniques", 3rd ed. 1977, chapter 6), taken
    to the logarithm, with a t quantile on the number of blocks less one. Without units the value is NaN; with fewer
    than two blocks, or without amounts, the interval is everything that is possible. Limits: for blocks that are longer
    than what hangs together within them; below about ten blocks, or with one block that outweighs all others, coverage
    falls short of nominal.
    """
    units, amount = math.fsum(b.units for b in blocks), math.fsum(b.amount for b in blocks)
    n = len(blocks)
    method = f"ratio of sums over {n} blocks, log scale"
    if units <= 0:
        return Estimate(value=math.nan, low=0.0, high=math.inf, n=n, method=method, confidence=confidence, unit=unit)
    value = amount / units
    spread = _log_error(blocks, value, amount)
    if not math.isfinite(spread):
        return Estimate(value=value, low=0.0, high=math.inf, n=n, method=method, confidence=confidence, unit=unit)
    reach = math.exp(min(700.0, t_quantile(0.5 + confidence / 2, n - 1) * spread))
    return Estimate(
        value=value, low=value / reach, high=value * reach, n=n, method=method, confidence=confidence, unit=unit
    )


def change_of(before: Sequence[Block], after: Sequence[Block], *, confidence: float = 0.95) -> Change:
    """How many times the later ratio is the earlier one; Welch's degrees of freedom. Unknown is NaN and no bound."""
    first, second = ratio_of(before, confidence=confidence), ratio_of(after, confidence=confidence)
    n = min(first.n, second.n)
    method = "log ratio of two ratios of sums over blocks (Welch t)"
    errors = [_error_of(blocks) for blocks in (before, after)]
    known = first.value > 0 and second.value > 0 and all(math.isfinite(error) for error in errors)
    if not known:
        value = second.value / first.value if first.value > 0 else math.nan
        return Change(
            first, second, Estimate(value=value, low=0.0, high=math.inf, n=n, method=method, confidence=confidence)
        )
    squares = [error * error for error in errors]
    total = sum(squares)
    weights = [square * square / (size.n - 1) for square, size in zip(squares, (first, second), strict=True)]
    freedom = total * total / sum(weights) if sum(weights) > 0 else n - 1.0
    reach = math.exp(min(700.0, t_quantile(0.5 + confidence / 2, max(1.0, freedom)) * math.sqrt(total)))
    value = second.value / first.value
    times = Estimate(value=value, low=value / reach, high=value * reach, n=n, method=method, confidence=confidence)
    return Change(first, second, times)


def _error_of(blocks: Sequence[Block]) -> float:
    units, amount = math.fsum(b.units for b in blocks), math.fsum(b.amount for b in blocks)
    return _log_error(blocks, amount / units, amount) if units > 0 else math.inf


def _log_error(blocks: Sequence[Block], value: float, amount: float) -> float:
    n = len(blocks)
    if n < 2 or amount <= 0:
        return math.inf
    squares = math.fsum((b.amount - value * b.units) ** 2 for b in blocks)
    return math.sqrt(n / (n - 1) * squares) / amount
