"""Gates: what a run must show before a release, with three outcomes: passed, failed, and not resolved."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal

from watchkeeper.engines.experiments.compare import NotComparable, Side, compare_sides, side_of_results
from watchkeeper.engines.experiments.results import Outcome, Result
from watchkeeper.engines.experiments.stopping import Against, AtLeast
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Wanted = Literal["not-worse", "non-inferior", "equivalent", "better"]
_PASSING: dict[str, frozenset[str]] = {
    "not-worse": frozenset({"better", "equivalent", "non-inferior", "not resolved"}),
    "non-inferior": frozenset({"better", "equivalent", "non-inferior"}),
    "equivalent": frozenset({"equivalent"}),
    "better": frozenset({"better"}),
}


class Ruled(Record):
    """What a gate made of a run. `passed` None: the evidence does not say.

    A gate on a cell names it ("family=dates, difficulty=easy"), with the rate that was measured there.
    """

    gate: str
    passed: bool | None
    sentence: str
    cell: str | None = None
    rate: Estimate | None = None


class Gate(ABC):
    """Rules on a run that has ended; some can say while it goes on that their verdict is known."""

    @abstractmethod
    def __call__(self, outcome: Outcome) -> Ruled:
        """Rule on a run."""

    def watches(self, score: str) -> bool:
        """Whether this gate can end a run early by a score."""
        return False

    def early(self, score: str, sizes: Mapping[str, int], span: tuple[float, float]) -> Callable[[Result], str | None]:
        """What to tell of each result, for a score that it watches; `span` are the least and most it can be.

        `sizes` says how many answers each unit (a cluster or a case) will have.
        """
        raise ValueError(f"This gate does not watch {score!r}.")


def _early(outcome: Outcome) -> str:
    """What to say of an interval of a run that was looked at until its verdict was known."""
    if outcome.ended_by != "verdict":
        return ""
    return " The run ended early, and these intervals are of one look: quote the one that holds at all looks."


class Floor(Gate):
    """A score's mean must be at least a value: passed when its whole interval is, failed when none of it is."""

    def __init__(self, score: str, floor: float) -> None:
        self.score, self.floor = score, floor

    @classmethod
    def read(cls, text: str) -> Floor:
        """A gate from SCORE=VALUE; raises `ValueError`."""
        score, equals, value = text.partition("=")
        try:
            floor = float(value)
        except ValueError:
            floor = float("nan")
        if not score or not equals or floor != floor:
            raise ValueError(f"--at-least {text!r}: write SCORE=VALUE, for example exact=0.8.")
        return cls(score.strip(), floor)

    def __call__(self, outcome: Outcome) -> Ruled:
        """Compare the interval of the mean with the floor. Answers that failed are told, and may turn the verdict."""
        gate = f"{self.score} at least {self.floor:g}"
        found = outcome.experiment.summary.get(self.score)
        if found is None:
            known = ", ".join(sorted(outcome.experiment.summary)) or "none"
            return Ruled(gate=gate, passed=None, sentence=f"No answer has a score {self.score!r}; there are: {known}.")
        told = f"{found.value:.3g} ({found.confidence:.0%} interval {found.low:.3g} to {found.high:.3g}, n = {found.n})"
        passed = True if found.low >= self.floor else False if found.high < self.floor else None
        missing = sum(
            all(score.name != self.score or score.value is None for score in result.scores)
            for result in outcome.results
        )
        if missing:
            told += f"; {missing} of {len(outcome.results)} answers have no value and are not in it"
            if passed and found.value * (1 - missing / len(outcome.results)) < self.floor:
                passed, told = None, told + ", and if they were all 0 the mean would be below"
        return Ruled(gate=gate, passed=passed, sentence=f"{told}.{_early(outcome)}")

    def watches(self, score: str) -> bool:
        """Whether it is about this score."""
        return score == self.score

    def early(self, score: str, sizes: Mapping[str, int], span: tuple[float, float]) -> Callable[[Result], str | None]:
        """Watch the score against the floor."""
        return AtLeast(score, self.floor, sizes=sizes, low=span[0], high=span[1])


class AgainstBaseline(Gate):
    """The verdict on every score that both runs have must be the wanted one."""

    def __init__(self, baseline: Side, wanted: Wanted, margin: float | None) -> None:
        self._baseline, self._wanted, self._margin = baseline, wanted, margin

    def __call__(self, outcome: Outcome) -> Ruled:
        """Compare case by case; a score that is worse fails, one that is not resolved passes "not-worse" only."""
        gate = f"{self._wanted} against {self._baseline.name}"
        try:
            compared = compare_sides(self._baseline, side_of_results("this run", outcome.results), self._margin)
        except (NotComparable, ValueError) as error:
            return Ruled(gate=gate, passed=None, sentence=f"They cannot be compared: {error}")
        passing, passed, told = _PASSING[self._wanted], True, []
        unresolved = False
        for each in compared:
            found = each.comparison
            told.append(
                f"{each.score} is {found.verdict} ({found.difference.value:+.3g}, {found.difference.low:+.3g} to "
                f"{found.difference.high:+.3g}, n = {found.n})"
            )
            passed = passed and found.verdict in passing
            unresolved = unresolved or (found.verdict == "not resolved" and found.verdict not in passing)
        worse = any(each.comparison.verdict == "worse" for each in compared)
        verdict = True if passed else None if unresolved and not worse else False
        return Ruled(gate=gate, passed=verdict, sentence="; ".join(told) + f".{_early(outcome)}")

    def watches(self, score: str) -> bool:
        """Whether the baseline has this score."""
        return any(each.name == score for each in self._baseline.scores)

    def early(self, score: str, sizes: Mapping[str, int], span: tuple[float, float]) -> Callable[[Result], str | None]:
        """Watch the differences to the baseline."""
        values: dict[str, list[float]] = {}
        for each in self._baseline.scores:
            if each.name == score and each.value is not None:
                values.setdefault(each.subject_id, []).append(each.value)
        means = {case: sum(found) / len(found) for case, found in values.items()}
        return Against(score, means, sizes=sizes, margin=self._margin, low=span[0], high=span[1])
