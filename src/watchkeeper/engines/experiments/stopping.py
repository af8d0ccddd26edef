"""Stops a run as soon as its verdict is known, by a test that may be looked at after every case.

The verdict is one of `analysis/sequential.py`: wrong with a probability of at most alpha over all looks together. Cases
must come in an order that has nothing to do with their scores, so a run that may stop early asks them in a shuffled
one.

Limits: an early stop costs power (a plan with one look at its end needs fewer cases), and the size of an effect that
stopped a run is overstated: quote the interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

from watchkeeper.analysis.sequential import Watch, start
from watchkeeper.engines.experiments.results import Result

T = TypeVar("T")


class Against:
    """Watches one score against what a baseline scored on the same cases; both lie between `low` and `high`.

    `repeats` answers of a case are averaged before it counts; cases without a value, or that the baseline lacks, are
    left out.
    """

    def __init__(
        self,
        score: str,
        baseline: Mapping[str, float],
        *,
        repeats: int = 1,
        alpha: float = 0.05,
        margin: float | None = None,
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        self.score = score
        self.watch: Watch = start(alpha, margin, low=low - high, high=high - low)
        self._baseline, self._repeats = baseline, repeats
        self._came: dict[str, list[float | None]] = defaultdict(list)

    def __call__(self, result: Result) -> str | None:
        """Count a result; says why the run may end, None while it may not."""
        value = next((each.value for each in result.scores if each.name == self.score), None)
        came = self._came[result.case_id]
        came.append(value)
        if len(came) < self._repeats or result.case_id not in self._baseline:
            return None
        known = [each for each in came if each is not None]
        if not known:
            return None
        difference = sum(known) / len(known) - self._baseline[result.case_id]
        if not self.watch.low <= difference <= self.watch.high:
            raise ValueError(
                f"The score {self.score!r} of case {result.case_id!r} differs from the baseline's by {difference:g}, "
                f"beyond {self.watch.low:g} to {self.watch.high:g}. Say which values it can have: --range LOW HIGH."
            )
        self.watch = self.watch.update(difference)
        if self.watch.verdict == "not resolved":
            return None
        told = self.watch.interval
        than = {"better": "better than", "worse": "worse than", "equivalent": "equivalent to"}
        return (
            f"{self.score} is {than.get(self.watch.verdict, 'not worse than')} the baseline's: difference "
            f"{told.value:+.3g} ({told.confidence:.0%} interval that holds at all looks {told.low:+.3g} to "
            f"{told.high:+.3g}) after {told.n} cases"
        )


class AtLeast:
    """Watches whether one score's mean lies above or below a floor; the score lies between `low` and `high`."""

    def __init__(self, score: str, floor: float, *, alpha: float = 0.05, low: float = 0.0, high: float = 1.0) -> None:
        if not low < floor < high:
            raise ValueError(f"The floor of {score!r} is {floor:g}, and must lie between {low:g} and {high:g}.")
        self.score, self.floor = score, floor
        self.watch: Watch = start(alpha, low=low - floor, high=high - floor)

    def __call__(self, result: Result) -> str | None:
        """Count a result; says why the run may end, None while it may not."""
        value = next((each.value for each in result.scores if each.name == self.score), None)
        if value is None or not self.watch.low <= value - self.floor <= self.watch.high:
            return None
        self.watch = self.watch.update(value - self.floor)
        if self.watch.verdict == "not resolved":
            return None
        told, way = self.watch.interval, "above" if self.watch.verdict == "better" else "below"
        return (
            f"{self.score} is {way} {self.floor:g}: {told.value + self.floor:.3g} ({told.confidence:.0%} interval that "
            f"holds at all looks {told.low + self.floor:.3g} to {told.high + self.floor:.3g}) after {told.n} answers"
        )


def shuffled(cases: Sequence[T], seed: str) -> tuple[T, ...]:
    """The cases in an order that has nothing to do with them, the same one for the same seed."""
    order = list(cases)
    Random(seed).shuffle(order)
    return tuple(order)
