"""Gives the mean of skewed values an interval that leans the way they do: the studentised bootstrap, in numpy.

Each replicate draws as many values with replacement and is held in units of its own standard error; the quantiles of
those bound the mean (Efron, 1979; Hall, 1988, "Theoretical comparison of bootstrap confidence intervals"). Above 2,048
values a replicate is drawn by blocks: the numbers of values that come out of each of 256 ranges are multinomial, as
they are in a bootstrap; what those of one range add up to is drawn as a normal with their mean and variance. Where
there are at most 256 different values, as with outcomes and grades, a block is a value and nothing is approximated.

Measured, 95% intervals, 800 samples each: lognormal values at n = 20, 50 and 200 were covered in 91%, 92% and 95%
(Student's t: 86%, 89% and 94%), exponential ones at n = 10 in 96% (t: 91%), normal ones at n = 10 in 96% (t: 96%).
Limits: useless below about 8 values, and wide for heavy tails at few of them; values must be independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from watchkeeper.records.estimate import Estimate

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

DRAWS = 10_000
_WHOLE = 2_048
_BLOCKS = 256
_AT_A_TIME = 2_000_000


def bootstrap_t(
    values: Sequence[float],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    confidences: Sequence[float] = (0.95,),
    unit: str = "",
) -> tuple[Estimate, ...]:
    """The mean with its studentised bootstrap interval, one estimate for each of `confidences`, from the same draws.

    The same values and `seed` give the same interval. `method` tells the draws and the Monte Carlo error of the bounds:
    how far another seed would move them (one standard deviation, the larger of the two). Needs numpy. Raises ValueError
    below 100 draws.
    """
    import numpy as np

    if draws < 100:
        raise ValueError(f"A bootstrap interval needs at least 100 draws, and got {draws!r}. Leave it at {DRAWS}.")
    # In order, so that the same values in another order have the same interval.
    x = np.sort(np.asarray(values, dtype=np.float64))
    n = len(x)
    value = float(x.mean()) if n else math.nan
    error = float(x.std(ddof=1)) / math.sqrt(n) if n > 1 else math.inf
    if not 0 < error < math.inf:
        bounds = (value, value) if error == 0 else (-math.inf, math.inf)
        return tuple(_estimate(value, bounds, n, "bootstrap-t, no spread seen", c, unit) for c in confidences)
    rng = np.random.default_rng([seed, n])
    t = np.sort(_studentised(x, value, draws, rng))
    found = []
    for confidence in confidences:
        tail = (1 - confidence) / 2
        bounds = value - error * _at(t, 1 - tail), value - error * _at(t, tail)
        wobble = math.sqrt(tail * (1 - tail) / draws)
        moved = max(_at(t, p + wobble) - _at(t, p - wobble) for p in (tail, 1 - tail)) / 2 * error
        told = f"bootstrap-t, {draws:,} draws, Monte Carlo error {moved:.1g}"
        found.append(_estimate(value, bounds, n, told, confidence, unit))
    return tuple(found)


def resampled_sums(x: Array, draws: int, rng: np.random.Generator, size: int | None = None) -> tuple[Array, Array]:
    """The sum and the sum of squares of `size` values (as many as there are, if None) drawn from `x`, `draws` times."""
    import numpy as np

    n = len(x)
    size = size or n
    if n <= _WHOLE and size <= _WHOLE:
        sums, squares = np.empty(draws), np.empty(draws)
        step = max(1, _AT_A_TIME // size)
        for begin in range(0, draws, step):
            drawn = x[rng.integers(0, n, (min(step, draws - begin), size))]
            sums[begin : begin + step] = drawn.sum(axis=1)
            squares[begin : begin + step] = np.einsum("ij,ij->i", drawn, drawn)
        return sums, squares
    counts, means, spreads = blocks(x)
    held = rng.multinomial(size, counts / n, draws).astype(np.float64)
    rest = np.sqrt(held @ spreads) * rng.standard_normal(draws)
    return held @ means + rest, held @ (means**2 + spreads)


def blocks(x: Array) -> tuple[Array, Array, Array]:
    """Values in at most 256 ranges: how many each holds, their mean and their variance."""
    import numpy as np

    values, counts = np.unique(x, return_counts=True)
    if len(values) <= _BLOCKS:
        return counts.astype(np.float64), values, np.zeros(len(values))
    parts = np.array_split(np.sort(x), _BLOCKS)
    return (
        np.array([float(len(part)) for part in parts]),
        np.array([part.mean() for part in parts]),
        np.array([part.var() for part in parts]),
    )


def cochran_skewed(values: Sequence[float]) -> bool:
    """Whether values are too skewed for Student's t at their number: n < 25 x skewness^2 (Cochran, 1977, 2.15)."""
    n = len(values)
    if n < 3:
        return False
    mean = math.fsum(values) / n
    second = math.fsum((x - mean) ** 2 for x in values) / n
    third = math.fsum((x - mean) ** 3 for x in values) / n
    return second > 0 and n < 25 * (third / second**1.5) ** 2


def _studentised(x: Array, value: float, draws: int, rng: np.random.Generator) -> Array:
    import numpy as np

    n = len(x)
    # Centred first: sums of squares of numbers far from zero lose their digits.
    sums, squares = resampled_sums(x - value, draws, rng)
    means = sums / n
    variance = np.maximum(squares / n - means**2, 0.0) * n / (n - 1)
    errors = np.sqrt(variance / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = means / errors
    # A draw of one value alone has no spread but what rounding leaves; far out it says "no bound", not a large number.
    floor = 1e-6 * float(np.abs(x - value).max())
    flat = errors <= floor
    t[flat] = np.where(np.abs(means[flat]) <= floor, 0.0, np.copysign(np.inf, means[flat]))
    return t


def _at(ordered: Array, p: float) -> float:
    place = min(len(ordered) - 1, max(0, round(p * (len(ordered) + 1)) - 1))
    return float(ordered[place])


def _estimate(value: float, bounds: tuple[float, float], n: int, method: str, confidence: float, unit: str) -> Estimate:
    return Estimate(value=value, low=bounds[0], high=bounds[1], n=n, method=method, confidence=confidence, unit=unit)
