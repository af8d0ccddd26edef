"""Tells how unlikely a sum of randomly signed numbers is, far out where no simulation gets."""

from __future__ import annotations

import math
from collections.abc import Sequence

_STEPS = 200
_SMALLEST = 1e-300


def sign_flip_tail(moved: Sequence[float], observed: float) -> float:
    """The chance that the sum of `moved`, each with a random sign, is as far from zero as `observed`, either side.

    The saddlepoint approximation of Robinson (1982, "Saddlepoint approximations for permutation tests and confidence
    intervals") in the form of Lugannani and Rice (1980). Limits: for the tails it is made for its error is a few
    percent of the p-value; near the middle use the permutations themselves. At least 1e-300.
    """
    whole = math.fsum(map(abs, moved))
    if not moved or observed <= 0:
        return 1.0
    if observed >= whole * (1 - 1e-9):
        return max(_SMALLEST, 2.0 ** (1 - len(moved)))
    theta = 0.0
    for _ in range(_STEPS):
        # The slope is concave above zero, so Newton's steps come near from below and never pass the root.
        turned = [(d, math.tanh(theta * d)) for d in moved]
        short = observed - math.fsum([d * t for d, t in turned])
        steepness = math.fsum([d * d * (1 - t * t) for d, t in turned])
        if short <= 1e-10 * observed or steepness <= 0:
            break
        theta += short / steepness
    w = math.sqrt(max(0.0, 2 * (theta * observed - math.fsum(_log_cosh(theta * d) for d in moved))))
    u = theta * math.sqrt(math.fsum((d / _cosh(theta * d)) ** 2 for d in moved))
    if w < 1e-6 or u < 1e-12:
        return max(_SMALLEST, min(1.0, 2.0 ** (1 - len(moved)) if u < 1e-12 else 1.0))
    density = math.exp(-w * w / 2) / math.sqrt(2 * math.pi)
    tail = math.erfc(w / math.sqrt(2)) / 2 + density * (1 / u - 1 / w)
    return min(1.0, max(_SMALLEST, 2 * tail, 2.0 ** (1 - min(len(moved), 1000))))


def _log_cosh(x: float) -> float:
    return abs(x) + math.log1p(math.exp(-2 * abs(x))) - math.log(2)


def _cosh(x: float) -> float:
    return math.cosh(min(abs(x), 300.0))
