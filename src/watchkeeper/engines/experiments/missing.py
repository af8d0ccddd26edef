"""Says within which bounds a mean lies when what is missing is counted too: worst-case bounds (Manski, 2003).

A mean over the answers that came is about those alone. A target that fails on half of the cases may fail on the hard
ones; how the others would have been scored, nothing says. If scores lie between 0 and 1, the mean over all that was
planned lies between that with a 0 for each missing one and that with a 1. No assumption is made, so the bounds are
wide, and they are no confidence interval: they are about these cases, not about others like them.
"""

from __future__ import annotations

from collections import defaultdict

from watchkeeper.engines.experiments.results import Outcome
from watchkeeper.records.record import Record


class Bounds(Record):
    """What is known of one score's mean over all planned answers; `low` and `high` None where it is not within 0..1."""

    score: str
    planned: int
    missing: int
    low: float | None
    high: float | None


def bounds_of(outcome: Outcome) -> tuple[Bounds, ...]:
    """The bounds of every score of which an answer lacks a value; nothing where all have one."""
    values: dict[str, list[float]] = defaultdict(list)
    for result in outcome.results:
        for score in result.scores:
            if score.value is not None:
                values[score.name].append(score.value)
            elif score.label is None:
                values.setdefault(score.name, [])
    return tuple(
        _bounds(name, values[name], outcome.planned)
        for name in sorted(values)
        if 0 <= len(values[name]) < outcome.planned
    )


def _bounds(name: str, known: list[float], planned: int) -> Bounds:
    missing = planned - len(known)
    if not all(0.0 <= value <= 1.0 for value in known):
        return Bounds(score=name, planned=planned, missing=missing, low=None, high=None)
    total = sum(known)
    return Bounds(score=name, planned=planned, missing=missing, low=total / planned, high=(total + missing) / planned)


def told(bounds: Bounds) -> str:
    """The bounds in a sentence."""
    begin = f"{bounds.score}: {bounds.missing} of {bounds.planned} planned answers have no value and are in no mean"
    if bounds.low is None or bounds.high is None:
        return f"{begin}; what they would change is unknown, for the score is not between 0 and 1."
    return f"{begin}; over all of them it lies between {bounds.low:.3g} and {bounds.high:.3g}."
