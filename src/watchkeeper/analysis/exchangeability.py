"""Says that something changed, at any time and with a valid error, by betting against "it is all the same".

Samples that are drawn alike are exchangeable: no order of theirs is more likely than another. A conformal p-value asks
how strange the newest sample is among all before it, itself included; while nothing changes these p-values are
independent and uniform, whatever the samples' distribution is (Vovk, Gammerman and Shafer, 2005, "Algorithmic Learning
in a Random World"). Betting on small ones multiplies a stake that on average does not grow, and exceeds 1/alpha with
a probability of at most alpha, ever (Ville, 1939). A stake is laid anew at every round, in shares that sum to one (the
e-detector of Shin, Ramdas and Rinaldo, 2022), so that a change that comes late is not hidden by a long quiet time.

Limits: what is alike in every feature that is looked at is not seen. A change found is a change from what was seen
before, for better or for worse.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

EXPONENTS = (0.1, 0.3, 0.5, 0.7)
"""The stake is split over bets that grow as p ** (e - 1): a small e gains on few very strange samples, a large e on
many that are a little strange."""
_SMALLEST_P = 1e-12


class LabelRanks:
    """Conformal p-values of labels: a label is the stranger, the more seldom it was seen."""

    def __init__(self) -> None:
        self._seen: Counter[Hashable] = Counter()

    def p_value(self, label: Hashable, u: float) -> float:
        """Take in a label; its smoothed p-value. `u` is uniform on [0, 1) and independent of the samples."""
        self._seen[label] += 1
        own = self._seen[label]
        rarer = sum(count for count in self._seen.values() if count < own)
        alike = sum(count for count in self._seen.values() if count == own)
        return (rarer + u * alike) / self._seen.total()


class NumberRanks:
    """Conformal p-values of numbers, two-sided: a number is strange at either end of those seen."""

    def __init__(self) -> None:
        self._seen: list[float] = []

    def p_value(self, number: float, u: float) -> float:
        """Take in a number; its smoothed p-value. `u` is uniform on [0, 1) and independent of the samples."""
        insort(self._seen, number)
        below = bisect_left(self._seen, number)
        alike = bisect_right(self._seen, number) - below
        rank = (below + u * alike) / len(self._seen)
        return 2 * min(rank, 1 - rank)


class Bets:
    """One e-process over p-values: its value exceeds 1/alpha with a probability of at most alpha while all is the same.

    Call `begin` at the beginning of each round; the stake that a round lays is 1 / (k (k + 1)) of the whole.
    """

    def __init__(self, exponents: Sequence[float] = EXPONENTS) -> None:
        self._stakes = dict.fromkeys(exponents, 0.0)
        self._rounds = 0

    def begin(self) -> None:
        """Lay the stake of the next round."""
        self._rounds += 1
        share = 1 / (self._rounds * (self._rounds + 1))
        self._stakes = {exponent: stake + share for exponent, stake in self._stakes.items()}

    def bet(self, p_value: float) -> None:
        """Win or lose by the next p-value."""
        p = min(1.0, max(_SMALLEST_P, p_value))
        self._stakes = {e: min(1e300, stake * e * math.pow(p, e - 1)) for e, stake in self._stakes.items()}

    @property
    def value(self) -> float:
        """What the whole stake is worth: 1 before the first bet."""
        unlaid = 1 / (self._rounds + 1)
        return math.fsum(self._stakes.values()) / len(self._stakes) + unlaid


def mean_of(values: Iterable[float]) -> float:
    """The mean of e-processes, which is one itself, however they depend on one another; 1 for none."""
    held = list(values)
    return math.fsum(held) / len(held) if held else 1.0
