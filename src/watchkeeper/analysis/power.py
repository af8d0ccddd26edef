"""Says how small an effect a comparison could have seen, and how many items it takes to see one.

Normal-theory plans for a two-sided test at `alpha` with chance `power` of detecting an effect that is
really there. Differences of rates are fractions: 0.03 is three percentage points. None means that no effect
would be detectable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from watchkeeper.analysis.mcnemar import tango_variance
from watchkeeper.analysis.quantiles import binomial_cdf, normal_quantile, t_quantile

_LARGEST_PLAN = 10**12
_LARGEST_EXACT = 10_000
_BY_EXACT_POWER = 100


def paired_mde(sd: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest mean difference that `n` pairs whose differences have standard deviation `sd` would
    show.

    None if there are fewer than two pairs, or if no spread was seen (then the effect that could hide is
    unknown).
    """
    _require_design(alpha, power)
    if n < 2 or not sd > 0:
        return None
    return error_mde(sd / math.sqrt(n), n - 1, alpha=alpha, power=power)


def error_mde(standard_error: float, df: float, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest true effect that an estimate with this standard error, known with `df` degrees of freedom, shows.

    None without an error bar that is above zero and finite.
    """
    _require_design(alpha, power)
    if not (0 < standard_error < math.inf and df > 0):
        return None
    return (t_quantile(1 - alpha / 2, df) + t_quantile(power, df)) * standard_error


def paired_sample_size(effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """How many pairs show a mean difference of `effect` when differences have standard deviation `sd`."""
    _require_design(alpha, power)
    _require_positive("effect", effect)
    _require_positive("sd", sd)
    return _smallest(lambda n: (paired_mde(sd, n, alpha=alpha, power=power) or math.inf) <= effect)


def flip_mde(mde: float, sd: float, units: int, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The `mde` of a t test as far as a sign-flip test of `units` shows it: below six its p-value is never below 0.05.

    With the fewest that will do, all of them must be on one side.
    """
    fewest = _fewest_flips(alpha)
    if units < fewest:
        return None
    return max(mde, sd * normal_quantile(power ** (1 / units))) if units == fewest else mde


def flips_needed(effect: float, sd: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """The fewest pairs with which a sign-flip test can show `effect`, see `flip_mde`."""
    fewest = _fewest_flips(alpha)
    return fewest if effect >= (flip_mde(0.0, sd, fewest, alpha=alpha, power=power) or 0.0) else fewest + 1


def _fewest_flips(alpha: float) -> int:
    return math.floor(2 - math.log2(alpha))


def two_proportions_sample_size(p1: float, p2: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """How many independent items per arm tell rate `p1` from rate `p2` (pooled z test; Fleiss, Levin and
    Paik, 2003).

    82% against 85% takes 2,402 an arm. The same items in both arms take far fewer: see
    `paired_binary_sample_size`.
    """
    _require_design(alpha, power)
    _require_rate("p1", p1)
    _require_rate("p2", p2)
    _require_positive("effect", abs(p1 - p2))
    pooled = (p1 + p2) / 2
    spread = normal_quantile(1 - alpha / 2) * math.sqrt(2 * pooled * (1 - pooled))
    spread += normal_quantile(power) * math.sqrt(p1 * (1 - p1) + p2 * (1 - p2))
    return math.ceil((spread / (p1 - p2)) ** 2)


def two_proportions_mde(baseline: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest rise above rate `baseline` that `n` independent items per arm would show."""
    _require_design(alpha, power)
    _require_rate("baseline", baseline)
    room = 1 - baseline
    return smallest_effect(
        room,
        lambda d: two_proportions_sample_size(baseline, baseline + d, alpha=alpha, power=power) <= n,
    )


def paired_binary_sample_size(
    difference: float,
    discordance: float,
    *,
    alpha: float = 0.05,
    power: float = 0.8,
    exact_test: bool = False,
) -> int:
    """How many items show `difference` between two rates when `discordance` of the items end differently.

    Connor's formula for McNemar's test (1987): three points take 870 items at 10% discordance and 1,306 at
    15%. `exact_test` plans for the exact test, which is stricter and takes about 2/difference items more.
    """
    _require_design(alpha, power)
    _require_rate("discordance", discordance)
    _require_positive("difference", abs(difference))
    if not abs(difference) <= discordance <= 1:
        raise ValueError(
            f"A difference of {difference!r} needs at least that much discordance, which was "
            f"{discordance!r}. Give the fraction of items on which the two sides differ."
        )
    return _smallest(lambda n: _mcnemar_detects(abs(difference), n, discordance, alpha, power, exact_test))


def paired_binary_mde(
    n: int, discordance: float, *, alpha: float = 0.05, power: float = 0.8, exact_test: bool = False
) -> float | None:
    """The smallest difference of two rates over the same `n` items that McNemar's test would show.

    `discordance` is the observed fraction of items that end differently; an effect larger than it is taken
    to bring its own discordance. With `exact_test` no effect is detectable below six items at alpha 0.05; up to 100
    items it is by the exact power, above by an approximation that errs to the larger side where few items are
    discordant.
    """
    _require_design(alpha, power)
    _require_rate("discordance", discordance)
    if n < 1:
        return None
    if exact_test and n <= _BY_EXACT_POWER:
        return _exact_mde(n, discordance, alpha, power)
    return smallest_effect(1.0, lambda d: _mcnemar_detects(d, n, discordance, alpha, power, exact_test))


@lru_cache(maxsize=1024)
def _exact_mde(n: int, discordance: float, alpha: float, power: float) -> float | None:
    return smallest_effect(
        1.0, lambda d: paired_binary_power(n, d, max(d, discordance), alpha=alpha) >= power, steps=12
    )


def two_proportions_margin_size(rate: float, margin: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """How many independent items per arm show, at one-sided `alpha`, that B is not worse by `margin`, both at `rate`.

    Blackwelder (1982, "Proving the null hypothesis in clinical trials"). Limits: too few where the margin is wider than
    what the rate leaves to 0 or 1 (98%, margin 5 points: power 65% for 80%, with Newcombe's interval).
    """
    _require_design(alpha, power)
    _require_rate("baseline", rate)
    _require_positive("effect", margin)
    reach = normal_quantile(1 - alpha) + normal_quantile(power)
    return max(2, math.ceil(2 * rate * (1 - rate) * (reach / margin) ** 2))


def paired_binary_margin_size(discordance: float, margin: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """How many items show, at one-sided `alpha`, that B is not worse by `margin` if both sides are equally good.

    For Tango's score test, with the variance that it supposes at the margin; `discordance` is the share of items that
    end differently.
    """
    _require_design(alpha, power)
    _require_rate("discordance", discordance)
    _require_positive("effect", margin)
    if margin >= 1:
        raise ValueError(f"A margin of rates lies below 1, and was {margin!r}. 3 points are 0.03.")
    supposed = tango_variance(discordance / 2, discordance / 2, 1.0, -margin)
    reach = normal_quantile(1 - alpha) * math.sqrt(supposed) + normal_quantile(power) * math.sqrt(discordance)
    return max(2, math.ceil((reach / margin) ** 2))


def exact_test_size(difference: float, discordance: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """How many items show `difference` with the exact McNemar test, by its exact power, in steps of 1%.

    Limits: the power of an exact test goes up and down a little with the number of items, so that a few more items may
    have a little less; above 10,000 items it is the approximation of `paired_binary_sample_size`.
    """
    n = paired_binary_sample_size(difference, discordance, alpha=alpha, power=power)
    if n > _LARGEST_EXACT:
        return paired_binary_sample_size(difference, discordance, alpha=alpha, power=power, exact_test=True)
    step = max(1, n // 100)
    while paired_binary_power(n, difference, discordance, alpha=alpha) < power:
        n += step
    return n


def paired_binary_power(n: int, difference: float, discordance: float, *, alpha: float = 0.05) -> float:
    """The exact chance that the exact McNemar test on `n` items rejects, for a true `difference` and
    `discordance`.

    Sums over the number of discordant items within 8 standard deviations, so it takes on the order of
    sqrt(n) steps.
    """
    _require_design(alpha, 0.5)
    if n < 0 or not abs(difference) <= discordance <= 1 or discordance == 0:
        raise ValueError(
            f"Power needs n >= 0 and |difference| <= discordance <= 1 with some discordance, and got {n!r}, "
            f"{difference!r} and {discordance!r}. Correct the assumed rates."
        )
    share = (1 + difference / discordance) / 2
    reach = 8 * math.sqrt(n * discordance * (1 - discordance)) + 1
    first, last = max(0, math.floor(n * discordance - reach)), min(n, math.ceil(n * discordance + reach))
    total = 0.0
    for k in range(first, last + 1):
        weight = binomial_cdf(k, n, discordance) - binomial_cdf(k - 1, n, discordance)
        limit = _critical(k, alpha)
        total += weight * (binomial_cdf(limit, k, share) + binomial_cdf(limit, k, 1 - share))
    return min(1.0, total)


def smallest_effect(largest: float, detected: Callable[[float], bool], steps: int = 50) -> float | None:
    """The smallest effect up to `largest` that is detected, by bisection; None if that one is not."""
    if not largest > 0 or not detected(largest):
        return None
    low, high = 0.0, largest
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if detected(middle) else (middle, high)
    return high


def _critical(k: int, alpha: float) -> int:
    """The largest minority among `k` discordant items at which the exact test rejects; -1 if there is none."""
    low, high = -1, k // 2
    while low < high:
        middle = (low + high + 1) // 2
        if 2 * binomial_cdf(middle, k, 0.5) <= alpha and 2 * middle < k:
            low = middle
        else:
            high = middle - 1
    return low


def _mcnemar_detects(
    difference: float, n: int, discordance: float, alpha: float, power: float, exact_test: bool
) -> bool:
    both = max(discordance, difference)
    needed = normal_quantile(1 - alpha / 2) * math.sqrt(both)
    needed += normal_quantile(power) * math.sqrt(max(0.0, both - difference * difference))
    correction = 1 / n if exact_test else 0.0
    return (difference - correction) * math.sqrt(n) >= needed


def _smallest(enough: Callable[[int], bool]) -> int:
    high = 2
    while not enough(high):
        high *= 2
        if high > _LARGEST_PLAN:
            raise ValueError("The plan needs more than 10^12 items. Ask for a larger effect or a lower power.")
    low = high // 2 if high > 2 else 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _require_design(alpha: float, power: float) -> None:
    if not (0 < alpha < 1 and 0 < power < 1):
        raise ValueError(
            f"alpha and power must lie strictly between 0 and 1, and were {alpha!r} and {power!r}. "
            "Common values are 0.05 and 0.8."
        )


def _require_rate(name: str, rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"{name} must be a fraction from 0 to 1, and was {rate!r}. Write 82 percent as 0.82.")


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} must be above 0, and was {value!r}. Name the smallest one that would matter to you.")
