"""Tells how good a system is at its best from how much it varies: aptitude and unreliability, apart.

After Laban et al. (2025), "LLMs get lost in multi-turn conversation": over many runs of a task, aptitude is the 90th
percentile of the score, unreliability the 90th minus the 10th; both are averaged over tasks, which are the independent
units, with Student's t interval. Percentiles interpolate linearly between order statistics. Limits: with few runs both
percentiles lie too near the middle, so unreliability is underestimated; ten runs or more, and the same number on both
sides of a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from watchkeeper.analysis.intervals import mean
from watchkeeper.records.estimate import Estimate

LEAST_RUNS = 2


class Aptitude(msgspec.Struct, frozen=True, kw_only=True):
    """The mean score, the aptitude and the unreliability over tasks, in units of the score."""

    average: Estimate
    aptitude: Estimate
    unreliability: Estimate
    tasks: int
    left_out: int


def aptitude(runs: Sequence[Sequence[float]]) -> Aptitude:
    """Over tasks, `runs[i]` being the scores of task i; tasks with fewer than two runs are left out and counted."""
    used = [sorted(each) for each in runs if len(each) >= LEAST_RUNS]
    high = [percentile(each, 0.9) for each in used]
    low = [percentile(each, 0.1) for each in used]
    return Aptitude(
        average=mean([sum(each) / len(each) for each in used]),
        aptitude=mean(high),
        unreliability=mean([h - l for h, l in zip(high, low, strict=True)]),  # noqa: E741
        tasks=len(used),
        left_out=len(runs) - len(used),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the sorted values lie, interpolated; raises `ValueError` for none."""
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    place = share * (len(ordered) - 1)
    at = int(place)
    above = ordered[min(at + 1, len(ordered) - 1)]
    return ordered[at] + (above - ordered[at]) * (place - at)
