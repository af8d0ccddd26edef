"""Plans an eval by its kind: how many items an effect takes, or which effect so many items show, clusters included."""

from __future__ import annotations

import math
from typing import Literal

from watchkeeper.analysis import power as powers
from watchkeeper.records.record import Record

Kind = Literal["independent", "paired", "graded"]
Goal = Literal["difference", "non-inferiority", "equivalence"]
_FEWEST_CLUSTERS = 6
_LARGEST_EXACT = 10_000
_NEEDED: dict[str, str] = {"independent": "baseline", "paired": "discordance", "graded": "sd"}


class Planned(Record, frozen=True, kw_only=True):
    """A plan: `n` items (a side, when independent) show `effect` with `power` at `alpha`; None: none would show.

    For the goals "non-inferiority" and "equivalence" `effect` is the margin. Two outcomes of the same items are planned
    by the usual approximation; `power_of_exact_test` is what the exact test of `compare` has at those items (None above
    10,000), `n_for_exact_test` the items with which that has `power`.
    """

    kind: Kind
    n: int
    effect: float | None
    alpha: float
    power: float
    design_effect: float
    method: str
    goal: Goal = "difference"
    power_of_exact_test: float | None = None
    n_for_exact_test: int | None = None
    notes: tuple[str, ...] = ()


def design_effect(cluster_size: float, icc: float) -> float:
    """By how much clusters inflate the items needed: 1 + (size - 1) x icc (Kish, 1965, "Survey Sampling").

    `icc` is the intra-class correlation: how much of the variance lies between clusters, 0 to 1.
    """
    if not cluster_size >= 1:
        raise ValueError(f"cluster size must be at least 1, and was {cluster_size!r}. Give a cluster's mean size.")
    if not 0 <= icc <= 1:
        raise ValueError(f"icc must be a fraction from 0 to 1, and was {icc!r}. 0 is for items that are independent.")
    return 1 + (cluster_size - 1) * icc


def plan(
    kind: Kind,
    *,
    effect: float | None = None,
    n: int | None = None,
    baseline: float | None = None,
    discordance: float | None = None,
    sd: float | None = None,
    inflation: float = 1.0,
    alpha: float = 0.05,
    power: float = 0.8,
    goal: Goal = "difference",
    cluster_size: float = 1.0,
) -> Planned:
    """Plan for `effect` (then `n` is worked out) or for `n` (then the effect is).

    "independent" compares two rates over other items and needs `baseline`; "paired" two rates over the same items and
    needs `discordance`; "graded" two means over the same items and needs `sd`, that of the differences. `inflation` is
    the design effect of clusters of `cluster_size`. `goal` "non-inferiority" plans to show, at one-sided `alpha`, that
    B is not worse by `effect` or more, "equivalence" that it is neither worse nor better by that (Schuirmann, 1987),
    both for a true difference of zero. Raises ValueError when something is missing or cannot be.
    """
    known = {"baseline": baseline, "discordance": discordance, "sd": sd}
    if known[_NEEDED[kind]] is None:
        raise ValueError(f"A plan for {kind} items needs --{_NEEDED[kind]}; look at an earlier run for it.")
    if (effect is None) == (n is None):
        raise ValueError("Give either the effect to find or the number of items, and not both.")
    if effect is not None and goal == "difference" and kind == "independent" and not 0 <= (baseline or 0) + effect <= 1:
        raise ValueError(
            f"A baseline of {baseline!r} and an effect of {effect!r} make a rate outside 0 to 1. 3 points are 0.03."
        )
    rate = known[_NEEDED[kind]] or 0.0
    # Of two one-sided tests each may miss half as often.
    each = power if goal != "equivalence" else 1 - (1 - power) / 2
    if n is not None:
        effect = _effect(kind, goal, math.floor(n / inflation), rate, alpha, each)
    else:
        assert effect is not None
        n = math.ceil(_items(kind, goal, effect, rate, alpha, each) * inflation)
    exact: tuple[float | None, int | None] = None, None
    if kind == "paired" and goal == "difference" and inflation == 1 and effect is not None:
        exact = _exact(n, abs(effect), rate, alpha, power)
    return Planned(
        kind=kind,
        n=n,
        effect=effect,
        alpha=alpha,
        power=power,
        design_effect=inflation,
        method=_method(kind, goal),
        goal=goal,
        power_of_exact_test=exact[0],
        n_for_exact_test=exact[1],
        notes=_of_clusters(n / cluster_size, kind, goal) if cluster_size > 1 else (),
    )


def _of_clusters(count: float, kind: Kind, goal: Goal) -> tuple[str, ...]:
    """What few clusters mean for a plan that knows the design effect alone."""
    if count < _FEWEST_CLUSTERS and goal == "difference" and kind != "independent":
        return (f"These are about {count:.0f} clusters, and below {_FEWEST_CLUSTERS} no comparison is ever resolved.",)
    # The plan's quantiles are those of many items; a comparison has as many degrees of freedom as clusters, less one.
    few, many = (powers.error_mde(1.0, df) or 0.0 for df in (max(1.0, count - 1), math.inf))
    more = (few / many) ** 2 - 1
    return (f"These are about {count:.0f} clusters: with so few take {more:.0%} more.",) if more > 0.05 else ()


def _method(kind: Kind, goal: Goal) -> str:
    named = {
        "independent": "pooled z test of two rates",
        "paired": "Connor's formula for McNemar's test",
        "graded": "paired t test",
    }
    if goal == "difference":
        return named[kind]
    of_margins = {**named, "independent": "Blackwelder's formula for two rates", "paired": "Tango's score test"}
    return of_margins[kind] + (", one-sided" if goal == "non-inferiority" else ", two one-sided tests")


def _exact(n: int, effect: float, discordance: float, alpha: float, power: float) -> tuple[float | None, int | None]:
    """The power of the exact test at `n` items, and the items that it takes."""
    both = max(effect, discordance)
    held = powers.paired_binary_power(n, effect, both, alpha=alpha) if n <= _LARGEST_EXACT else None
    return held, powers.exact_test_size(effect, both, alpha=alpha, power=power)


def _items(kind: Kind, goal: Goal, effect: float, rate: float, alpha: float, power: float) -> int:
    if kind == "graded":
        effect = abs(effect) if goal == "difference" else effect
        if goal != "difference":
            return powers.paired_sample_size(effect, rate, alpha=2 * alpha, power=power)
        n = powers.paired_sample_size(effect, rate, alpha=alpha, power=power)
        return max(n, powers.flips_needed(effect, rate, alpha=alpha, power=power))
    if goal != "difference":
        size = powers.two_proportions_margin_size if kind == "independent" else powers.paired_binary_margin_size
        return size(rate, effect, alpha=alpha, power=power)
    if kind == "independent":
        return powers.two_proportions_sample_size(rate, rate + effect, alpha=alpha, power=power)
    return powers.paired_binary_sample_size(effect, rate, alpha=alpha, power=power)


def _effect(kind: Kind, goal: Goal, n: int, rate: float, alpha: float, power: float) -> float | None:
    if goal != "difference" and kind != "graded":
        return powers.smallest_effect(0.999, lambda d: _items(kind, goal, d, rate, alpha, power) <= n)
    if kind == "independent":
        rise = powers.two_proportions_mde(rate, n, alpha=alpha, power=power)
        # Where there is no room above, a fall is what shows.
        fall = powers.two_proportions_mde(1 - rate, n, alpha=alpha, power=power) if rise is None else None
        return -fall if fall is not None else rise
    if kind == "paired":
        return powers.paired_binary_mde(n, rate, alpha=alpha, power=power)
    if goal != "difference":
        return powers.paired_mde(rate, n, alpha=2 * alpha, power=power)
    mde = powers.paired_mde(rate, n, alpha=alpha, power=power)
    return None if mde is None else powers.flip_mde(mde, rate, n, alpha=alpha, power=power)
