"""Quantiles of the normal and Student's t distribution on the standard library alone."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

_STANDARD_NORMAL = NormalDist()
_TINY = 1e-300
_MAX_TERMS = 100_000


def normal_quantile(p: float) -> float:
    """The value below which a standard normal variable falls with probability `p`, for 0 < p < 1."""
    _require_open_unit("p", p)
    return _STANDARD_NORMAL.inv_cdf(p)


@lru_cache(maxsize=4096)
def t_quantile(p: float, df: float) -> float:
    """The value below which Student's t with `df` degrees of freedom falls with probability `p`.

    Found by bisection of the distribution function, so it is right to about 1e-11 relative. `df` may be
    fractional or infinite (the normal limit). Raises ValueError outside 0 < p < 1 and df > 0.
    """
    _require_open_unit("p", p)
    if not df > 0:
        raise ValueError(f"Student's t needs degrees of freedom above 0, and got {df!r}. Give at least two values.")
    if math.isinf(df):
        return _STANDARD_NORMAL.inv_cdf(p)
    if p < 0.5:
        return -t_quantile(1 - p, df)
    inside = 2 * p - 1
    low, high = 0.0, 1.0
    while _t_inside(high, df) < inside:
        low, high = high, 2 * high
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _t_inside(middle, df) < inside else (low, middle)
    return (low + high) / 2


def t_two_sided(t: float, df: float) -> float:
    """The chance that Student's t with `df` degrees of freedom is as far from zero as `t`, on either side."""
    if math.isinf(t):
        return 0.0
    return beta_cdf(df / (df + t * t), df / 2, 0.5)


def beta_cdf(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), for a, b > 0 and x in [0, 1].

    Continued fraction DLMF 8.17.22 by the modified Lentz method, after the reflection I_x(a, b) = 1 -
    I_{1-x}(b, a) where that converges faster. Raises ArithmeticError if it does not converge.
    """
    if not (a > 0 and b > 0 and 0 <= x <= 1):
        raise ValueError(f"I_x(a, b) needs a, b > 0 and 0 <= x <= 1, and got x={x!r}, a={a!r}, b={b!r}.")
    if x in (0.0, 1.0):
        return float(x)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_series(1 - x, b, a)
    return _beta_series(x, a, b)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """The chance of at most `k` successes in `n` independent trials of success probability `p`."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return beta_cdf(1 - p, n - k, k + 1)


def _t_inside(t: float, df: float) -> float:
    """P(|T| < t)."""
    return beta_cdf(t * t / (df + t * t), 0.5, df / 2)


def _beta_series(x: float, a: float, b: float) -> float:
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _away_from_zero(1 + even * d)
        c = _away_from_zero(1 + even / c)
        fraction *= c * d
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 / _away_from_zero(1 + odd * d)
        c = _away_from_zero(1 + odd / c)
        step = c * d
        fraction *= step
        if abs(step - 1) < 1e-15:
            return math.exp(log_front) * fraction / a
    raise ArithmeticError(
        f"The incomplete beta function did not converge for x={x!r}, a={a!r}, b={b!r} in {_MAX_TERMS} terms. "
        "Check that the counts are real ones; parameters this large are outside its range."
    )


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _require_open_unit(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie strictly between 0 and 1, and was {value!r}. Give 0.95 for 95 percent.")
