"""Says that something which used to happen stopped happening, at any time and with a valid error.

Opportunities (calls, say) come in order, and some of them fire. They are cut into blocks of so many opportunities that
nearly every block fires while all is well; whether a block fired at all is one observation, so that firings which come
in bursts count once. A lower bound of the share of firing blocks is learnt from the first blocks (Clopper and Pearson,
1934, one-sided), and every later block is a bet against "the share is still at least that": a silent block multiplies
a stake, a firing one nearly destroys it. Under that hypothesis the stake never grows on average, and it exceeds
1/alpha with a probability of at most alpha, ever (Ville, 1939). A stake is laid anew at each block in shares
1 / (t (t + 1)) that sum to one (the e-detector of Shin, Ramdas and Rinaldo, 2022), so that a long healthy time before
does not hide a silence.

Limits: blocks are taken as independent and alike. A share that drifts down slowly, a season longer than the learning
time, or traffic that moves to calls that never fired break that; block size and learning time are what protects.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

PILOT_FIRINGS = 30
"""Firings that are seen before a block's size is chosen from their rate."""

EXPECTED_FIRINGS = 3.0
"""Firings that a block holds on average; of Poisson ones 5% of the blocks hold none."""

LEARN_BLOCKS = 40
LEAST_SHARE = 0.4
ATTEMPTS = 3
QUIETER = 0.05
"""The bet is against a share that fell to a twentieth."""


class Slot(NamedTuple):
    """A stretch of time: when it begins, how many opportunities it held, and how many of them fired."""

    at_ns: int
    opportunities: int
    firings: int


class Silence(NamedTuple):
    """What became of the bets. `evidence` is the stake's worth; `since` the first slot after the last firing.

    `expected` is how many firings the opportunities since then should have held, by the rate before; `size` the
    opportunities of a block and `low` the share of firing blocks that is bet against.
    """

    evidence: float
    since_ns: int
    opportunities: int
    expected: float
    rate: float
    size: int
    low: float
    blocks: int


def silence(slots: Sequence[Slot], alpha: float, declared: float | None = None) -> Silence | None:
    """The evidence that firing stopped, when it is worth 1/alpha at the end of `slots`; None otherwise.

    `slots` are in order of time. `alpha` is the probability of a false alarm over all time: half of it is for the
    learnt bound, half for the bets. With a `declared` rate (firings per opportunity) nothing is learnt, and the whole
    of it is for the bets. Too little history is no evidence.
    """
    if declared is not None:
        size = max(1, math.ceil(EXPECTED_FIRINGS / declared))
        rest, low, share = list(slots), 1 - (1 - declared) ** size, alpha
    else:
        learnt = _learn(slots, alpha / 2)
        if learnt is None:
            return None
        rest, size, low, share = *learnt, alpha / 2
    evidence, blocks = _bet([fired for fired, _ in _blocks(rest, size)], low)
    if evidence < 1 / share:
        return None
    return _told(slots, evidence, size, low, blocks, declared)


def lower_bound(successes: int, n: int, error: float) -> float:
    """The exact one-sided lower bound of a share: at any true share below it, so many successes have chance `error`."""
    if successes == 0:
        return 0.0
    low, high = 0.0, successes / n
    for _ in range(60):
        middle = (low + high) / 2
        if _at_least(successes, n, middle) < error:
            low = middle
        else:
            high = middle
    return low


def _at_least(successes: int, n: int, share: float) -> float:
    """The chance of at least so many successes of n."""
    if share <= 0:
        return 0.0
    if share >= 1:
        return 1.0
    total = 0.0
    for k in range(successes, n + 1):
        total += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + k * math.log(share) + (n - k) * math.log1p(-share)
        )  # fmt: skip
    return min(total, 1.0)


def _learn(slots: Sequence[Slot], error: float) -> tuple[list[Slot], int, float] | None:
    """The slots after those learnt from, the size of a block, and the lower bound of the share of firing blocks.

    The size comes from the first firings and the bound from the blocks after them, so that neither is chosen on the
    other's data. Where firings come in such bursts that many blocks are silent, it is learnt anew with larger blocks
    on what follows.
    """
    firings = opportunities = used = 0
    while used < len(slots) and firings < PILOT_FIRINGS:
        firings, opportunities = firings + slots[used].firings, opportunities + slots[used].opportunities
        used += 1
    if firings < PILOT_FIRINGS:
        return None
    size = max(1, math.ceil(EXPECTED_FIRINGS * opportunities / firings))
    rest = list(slots[used:])
    for _ in range(ATTEMPTS):
        blocks = []
        for block in _blocks(rest, size):
            blocks.append(block)
            if len(blocks) == LEARN_BLOCKS:
                break
        if len(blocks) < LEARN_BLOCKS:
            return None
        rest = rest[blocks[-1][1] :]
        low = lower_bound(sum(fired for fired, _ in blocks), LEARN_BLOCKS, error / ATTEMPTS)
        if low >= LEAST_SHARE:
            return rest, size, low
        size *= 3
    return None


def _blocks(slots: Iterable[Slot], size: int) -> Iterable[tuple[bool, int]]:
    """Whole blocks: whether each fired, and how many slots were read by its end."""
    opportunities, fired = 0, False
    for read, slot in enumerate(slots, 1):
        opportunities += slot.opportunities
        fired = fired or slot.firings > 0
        if opportunities >= size:
            yield fired, read
            opportunities, fired = 0, False


def _bet(fired: Sequence[bool], low: float) -> tuple[float, int]:
    """The worth of the stake after all blocks, and how many there were."""
    low = min(low, 1 - 1e-9)
    on_silence = (1 - QUIETER * low) / (1 - low)
    worth = 0.0
    for number, did in enumerate(fired, 1):
        worth = (worth + 1 / (number * (number + 1))) * (QUIETER if did else on_silence)
        worth = min(worth, 1e300)
    return worth, len(fired)


def _told(
    slots: Sequence[Slot], evidence: float, size: int, low: float, blocks: int, declared: float | None
) -> Silence | None:
    last = max((place for place, slot in enumerate(slots) if slot.firings), default=-1)
    before, after = slots[: last + 1], slots[last + 1 :]
    missed = sum(slot.opportunities for slot in after)
    if not missed:
        return None
    total = sum(slot.opportunities for slot in before)
    rate = declared if declared is not None else sum(slot.firings for slot in before) / max(1, total)
    since = next(slot.at_ns for slot in after if slot.opportunities)
    return Silence(evidence, since, missed, rate * missed, rate, size, low, blocks)
