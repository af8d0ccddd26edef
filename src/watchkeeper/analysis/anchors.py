"""Tells a judge that drifts from a system that drifts, by answers that stay the same and are judged again and again.

An anchor is an answer that is kept. Its scores can only move if the ruler moves; the scores of live answers move with
the ruler and with the system. Each of both is held against its own baseline, whose mean is known to within an interval
(t, with the second term of Bernstein's bound, which keeps a width where all scores were alike). Against "the mean is
still in that interval" is bet as in `sequential`, by a stake that is laid anew every round, in shares that sum to one
(the e-detector of Shin, Ramdas and Rinaldo, 2022), so that a late change is not hidden by a long quiet time. Half of
alpha goes to the baseline and half to the bets, which may be looked at whenever one likes.

Which of both moved then follows: anchors alone, or live answers by as much as the anchors, "ruler moved"; live answers
by more than the anchors can have, "system moved"; both, and not by the same amount, "both". Where live answers moved
and the anchors may or may not have moved as much, the cause is "not resolved".

Limits: whether two shifts are the same is a t interval at the same alpha over what is there now, not a bet. Anchors
must be like what is judged, good and bad in the same mixture: a ruler that moved only where no anchor lies is not seen,
and one that moved more on live answers than on anchors looks as if the system had moved too. A shift smaller than the
baseline's own interval is never found: judge the anchors more often at the beginning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal, NamedTuple

from watchkeeper.analysis.intervals import Spread, apart, spread
from watchkeeper.analysis.quantiles import t_quantile
from watchkeeper.analysis.sequential import start
from watchkeeper.records.estimate import Estimate

Cause = Literal["quiet", "ruler moved", "system moved", "both", "not resolved"]


class Judged(NamedTuple):
    """One score, from 0 to 1, and the round it belongs to (a day, say)."""

    value: float
    round: int


class Moved(NamedTuple):
    """What moved; the odds against "nothing did" for anchors and live answers, and by how much each shifted."""

    cause: Cause
    ruler_odds: float
    system_odds: float
    ruler_shift: Estimate
    system_shift: Estimate
    alarm_at: float


def moved(
    anchors: Mapping[str, Sequence[Judged]],
    live: Sequence[Judged],
    *,
    anchor_baseline: int = 5,
    live_baseline: int = 1_000,
    alpha: float = 0.05,
) -> Moved:
    """Weigh all scores after the baselines: the first `anchor_baseline` of each anchor, the first of the live ones.

    Anything but "quiet" is wrong with a probability of at most alpha, whenever and however often one looks. Scores are
    in order of time.
    """
    # Two streams, each with half for its baseline and the rest for bets in two directions.
    part = alpha / 4
    ruler_rounds, ruler_null = _anchor_steps(anchors, anchor_baseline, part)
    system_rounds, system_null = _live_steps(live, live_baseline, part)
    ruler = _odds(ruler_rounds, ruler_null)
    system = _odds(system_rounds, system_null)
    ruler_spread = spread(
        [
            fmean(each.value for each in scores[anchor_baseline:])
            - fmean(each.value for each in scores[:anchor_baseline])
            for scores in anchors.values()
            if len(scores) > anchor_baseline
        ]
    )
    before, after = ([each.value for each in half] for half in (live[:live_baseline], live[live_baseline:]))
    system_spread = apart(spread(before), spread(after))
    cause = _cause(ruler >= 2 / part, system >= 2 / part, apart(ruler_spread, system_spread), alpha)
    return Moved(cause, ruler, system, _shift(ruler_spread, alpha), _shift(system_spread, alpha), 2 / part)


def _cause(ruler: bool, system: bool, apart: Spread, alpha: float) -> Cause:
    differ = _shift(apart, alpha).excludes(0.0)
    if not ruler:
        return "quiet" if not system else "system moved" if differ else "not resolved"
    return "both" if system and differ else "ruler moved"


_Rounds = dict[int, list[float]]


def _anchor_steps(anchors: Mapping[str, Sequence[Judged]], baseline: int, alpha: float) -> tuple[_Rounds, float]:
    """Each later score less its anchor's baseline, by round, and how far their mean may be off by that baseline."""
    rounds: _Rounds = {}
    squares, n = 0.0, 0
    for scores in anchors.values():
        first = [each.value for each in scores[:baseline]]
        if len(first) < baseline:
            continue
        centre = fmean(first)
        squares, n = squares + sum((x - centre) ** 2 for x in first), n + 1
        for each in scores[baseline:]:
            rounds.setdefault(each.round, []).append(each.value - centre)
    if n == 0 or baseline < 2:
        return {}, 0.0
    variance = squares / (n * (baseline - 1))
    return rounds, _reach(math.sqrt(variance / (n * baseline)), n * (baseline - 1), n * baseline, alpha)


def _live_steps(live: Sequence[Judged], baseline: int, alpha: float) -> tuple[_Rounds, float]:
    """Each later score less the baseline's mean, by round, and how far that mean may be off."""
    if len(live) <= baseline:
        return {}, 0.0
    found = spread([each.value for each in live[:baseline]])
    rounds: _Rounds = {}
    for each in live[baseline:]:
        rounds.setdefault(each.round, []).append(each.value - found.value)
    return rounds, _reach(found.standard_error, found.df, baseline, alpha)


def _reach(standard_error: float, df: float, n: int, alpha: float) -> float:
    return t_quantile(1 - alpha / 2, df) * standard_error + math.log(2 / alpha) / (3 * n)


def _odds(rounds: _Rounds, null: float) -> float:
    """What the stake against "the mean is within +-null" is worth now: laid at each round, in either direction."""
    if not rounds or null >= 1:
        return 1.0
    order = sorted(rounds)
    stakes = {True: 1 / (len(order) + 1), False: 1 / (len(order) + 1)}
    watch = start()
    # From the last round backwards: the stake of each round sees what came from it on.
    for place in range(len(order), 0, -1):
        watch = watch.extend(rounds[order[place - 1]])
        for above in stakes:
            log = watch.evidence(null if above else -null, above=above)
            stakes[above] += math.exp(min(log, 600.0)) / (place * (place + 1))
    return max(stakes.values())


def _shift(found: Spread, alpha: float) -> Estimate:
    half = t_quantile(1 - alpha / 2, found.df) * found.standard_error if found.df > 0 else math.inf
    return Estimate(
        value=found.value,
        low=found.value - half if math.isfinite(half) else -math.inf,
        high=found.value + half if math.isfinite(half) else math.inf,
        n=found.clusters,
        method="difference of means, t",
        confidence=1 - alpha,
    )
