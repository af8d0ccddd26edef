"""Stops a run as soon as its verdict is known, by a test that may be looked at after every case.

The verdict is one of `analysis/sequential.py`: wrong with a probability of at most alpha over all looks together. What
is counted is a unit: a cluster where cases hang together, else a case, with all its reruns. Units must come in an order
that has nothing to do with their scores, so a run that may stop early asks them in a shuffled one, and counts them in
that order whichever is answered first: slow answers may be the wrong ones.

Limits: answers without a value are left out and counted in the sentence. Clusters weigh alike, however large. An early
stop costs power (a plan with one look at its end needs fewer cases), and the size of an effect that stopped a run is
overstated: quote the interval.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random
from typing import TypeVar

import msgspec

from watchkeeper.analysis.sequential import Watch, start
from watchkeeper.engines.experiments.results import Result
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate

T = TypeVar("T")
Done = Callable[[Result], str | None]
Place = tuple[int, int]


def unit_of(case: Case | Result) -> str:
    """What is counted as one: the cluster of a case, else the case."""
    return case.case_id if case.cluster is None else f"cluster {case.cluster}"


def sizes_of(cases: Iterable[Case], repeats: int) -> dict[str, int]:
    """How many answers each unit will have."""
    sizes: dict[str, int] = defaultdict(int)
    for case in cases:
        sizes[unit_of(case)] += repeats
    return dict(sizes)


class _Units:
    """Gathers the answers of each unit, until all have come; then it has one value, the mean of those with a value."""

    def __init__(self, score: str, sizes: Mapping[str, int]) -> None:
        self.score, self.left_out = score, 0
        self._sizes = sizes
        self._came: dict[str, list[float | None]] = defaultdict(list)

    def add(self, result: Result, less: float = 0.0) -> float | None:
        """Count a result; the value (less something) of its unit when it is the last of it, None before."""
        value = next((each.value for each in result.scores if each.name == self.score), None)
        self.left_out += value is None
        name = unit_of(result)
        came = self._came[name]
        came.append(None if value is None else value - less)
        if len(came) < self._sizes.get(name, 1):
            return None
        known = [each for each in self._came.pop(name) if each is not None]
        return sum(known) / len(known) if known else None

    def told(self, interval: Estimate, add: float = 0.0, sign: str = "") -> str:
        """The mean so far and its interval, in words."""
        value, low, high = (f"{each + add:{sign}.3g}" for each in (interval.value, interval.low, interval.high))
        left = f"; {self.left_out} answers without a value are left out" if self.left_out else ""
        return (
            f"{value} ({interval.confidence:.0%} interval that holds at all looks {low} to {high}) after "
            f"{interval.n} cases or clusters{left}"
        )


class Against:
    """Watches one score against what a baseline scored on the same cases; both lie between `low` and `high`.

    `sizes` says how many answers each unit has, 1 where it is not in there. Cases that the baseline lacks are left out.
    """

    def __init__(
        self,
        score: str,
        baseline: Mapping[str, float],
        *,
        sizes: Mapping[str, int] | None = None,
        alpha: float = 0.05,
        margin: float | None = None,
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        self.score = score
        self.watch: Watch = start(alpha, margin, low=low - high, high=high - low)
        self._baseline = baseline
        self._units = _Units(score, sizes or {})

    def __call__(self, result: Result) -> str | None:
        """Count a result; says why the run may end, None while it may not."""
        before = self._baseline.get(result.case_id)
        if before is None:
            result = _without_scores(result)
        difference = self._units.add(result, before or 0.0)
        if difference is None:
            return None
        if not self.watch.low <= difference <= self.watch.high:
            raise ValueError(
                f"The score {self.score!r} of {unit_of(result)!r} differs from the baseline's by {difference:g}, "
                f"beyond {self.watch.low:g} to {self.watch.high:g}. Say which values it can have: --range LOW HIGH."
            )
        self.watch = self.watch.update(difference)
        if self.watch.verdict == "not resolved":
            return None
        than = {"better": "better than", "worse": "worse than", "equivalent": "equivalent to"}
        return (
            f"{self.score} is {than.get(self.watch.verdict, 'not worse than')} the baseline's: difference "
            f"{self._units.told(self.watch.interval, sign='+')}"
        )


class AtLeast:
    """Watches whether one score's mean lies above or below a floor; the score lies between `low` and `high`."""

    def __init__(
        self,
        score: str,
        floor: float,
        *,
        sizes: Mapping[str, int] | None = None,
        alpha: float = 0.05,
        low: float = 0.0,
        high: float = 1.0,
    ) -> None:
        if not low < floor < high:
            raise ValueError(f"The floor of {score!r} is {floor:g}, and must lie between {low:g} and {high:g}.")
        self.score, self.floor = score, floor
        self.watch: Watch = start(alpha, low=low - floor, high=high - floor)
        self._units = _Units(score, sizes or {})

    def __call__(self, result: Result) -> str | None:
        """Count a result; says why the run may end, None while it may not."""
        value = self._units.add(result, self.floor)
        if value is None:
            return None
        if not self.watch.low <= value <= self.watch.high:
            raise ValueError(
                f"The score {self.score!r} of {unit_of(result)!r} is {value + self.floor:g}, beyond "
                f"{self.watch.low + self.floor:g} to {self.watch.high + self.floor:g}. Say which values it can have: "
                "--range LOW HIGH."
            )
        self.watch = self.watch.update(value)
        if self.watch.verdict == "not resolved":
            return None
        way = "above" if self.watch.verdict == "better" else "below"
        return f"{self.score} is {way} {self.floor:g}: {self._units.told(self.watch.interval, self.floor)}"


class InOrder:
    """Tells a watch of results in the order in which they were planned, each when all before it have come."""

    def __init__(self, done: Done, places: Sequence[Place]) -> None:
        self._done, self._places, self._next = done, places, 0
        self._waiting: dict[Place, Result] = {}

    def __call__(self, place: Place, result: Result) -> str | None:
        """Count a result at its place; says why the run may end, None while it may not."""
        self._waiting[place] = result
        while self._next < len(self._places) and self._places[self._next] in self._waiting:
            why = self._done(self._waiting.pop(self._places[self._next]))
            self._next += 1
            if why is not None:
                return why
        return None


def _without_scores(result: Result) -> Result:
    return msgspec.structs.replace(result, scores=())


def shuffled(cases: Sequence[T], seed: str) -> tuple[T, ...]:
    """The cases in an order that has nothing to do with them, the same one for the same seed."""
    order = list(cases)
    Random(seed).shuffle(order)
    return tuple(order)


def shuffled_units(cases: Sequence[Case], seed: str) -> tuple[Case, ...]:
    """The cases with their units in such an order, those of a cluster together."""
    units: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        units[unit_of(case)].append(case)
    return tuple(case for name in shuffled(list(units), seed) for case in units[name])
