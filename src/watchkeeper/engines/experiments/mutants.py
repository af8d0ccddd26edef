"""Grades an eval suite: plants known defects behind the target, and counts those that the suite notices.

A mutant is the target with one defect planted in its answers; a control is the target with a change that is no defect
(outer white space, Unicode form). A suite *alarms* when a score's mean is below its floor or a property is broken. What
counts is the share of mutants that alarm minus the share of controls that do: a suite that always fails gets nothing.

Limits: planted defects are not the defects of your future; a defect that does not apply to an answer (no unit in it, no
date) changes nothing, such a mutant is told as `inert` and counts on neither side.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from watchkeeper.analysis.asked import asked_text
from watchkeeper.analysis.mcnemar import score_interval
from watchkeeper.analysis.two_proportions import newcombe
from watchkeeper.kinds.ports import Completion, ModelProvider
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Defect = Literal["brittle", "wrong_unit", "stale", "silent", "off_by_one", "control"]
DEFECTS: tuple[Defect, ...] = ("brittle", "wrong_unit", "stale", "silent", "off_by_one")
_UNITS = (
    ("km", "miles"), ("kg", "pounds"), ("EUR", "USD"), ("euros", "dollars"), ("€", "$"), ("days", "weeks"),
    ("hours", "minutes"), ("°C", "°F"), ("litres", "gallons"), ("cm", "inches"), ("MB", "GB"),
)  # fmt: skip
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBER = re.compile(r"\d+")


class Mutant(Record):
    """A defect, the share of questions that it touches, and the seed that says which."""

    defect: Defect
    share: float
    seed: int


class MutantProvider:
    """A target with a defect. `questions` are those of the suite, which a brittle mutant knows by heart."""

    def __init__(self, provider: ModelProvider, mutant: Mutant, questions: frozenset[str]) -> None:
        self.changed = 0
        self._provider, self._mutant, self._questions = provider, mutant, questions

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """The target's answer, with the defect where it applies."""
        answer = await self._provider.complete(messages, parameters)
        if answer.error is not None or answer.output is None or not self._touches(messages):
            return answer
        new = self._mutated(messages, answer.output)
        self.changed += new != answer.output
        return msgspec.structs.replace(answer, output=new)

    def _touches(self, messages: str) -> bool:
        """Whether the defect touches a question; the same one always, as a real defect would."""
        drawn = hashlib.sha256(f"{self._mutant.seed}\0{messages}".encode("utf-8", "replace")).digest()
        return int.from_bytes(drawn[:4], "big") < self._mutant.share * 2**32

    def _mutated(self, messages: str, output: str) -> str:
        if self._mutant.defect == "brittle":
            return output if asked_text(messages) in self._questions else "I am not sure what you mean."
        return _CHANGES[self._mutant.defect](output)


def _other_unit(text: str) -> str:
    for one, other in _UNITS:
        for old, new in ((one, other), (other, one)):
            edge = r"\b" if old.isalpha() else ""
            if re.search(rf"{edge}{re.escape(old)}{edge}", text):
                return re.sub(rf"{edge}{re.escape(old)}{edge}", new, text)
    return text


def _next_day(text: str) -> str:
    def move(found: re.Match[str]) -> str:
        try:
            return (dt.date.fromisoformat(found[0]) + dt.timedelta(days=1)).isoformat()
        except (ValueError, OverflowError):
            return found[0]

    return _DATE.sub(move, text)


def _older(text: str) -> str:
    """The first number that is no part of a date, as it may have been in an older source."""
    inside = [found.span() for found in _DATE.finditer(text)]
    for found in _NUMBER.finditer(text):
        if not any(start <= found.start() < end for start, end in inside):
            return f"{text[: found.start()]}{max(0, int(found[0]) * 9 // 10 - 1)}{text[found.end() :]}"
    return text


_CHANGES: dict[str, Callable[[str], str]] = {
    "wrong_unit": _other_unit,
    "stale": _older,
    "silent": lambda _: "",
    "off_by_one": _next_day,
    "control": lambda text: f" {unicodedata.normalize('NFC', text)}\n",
}


class Trial(Record):
    """One mutant and whether the suite alarmed, by its scorers and by its properties; `inert` where nothing changed."""

    mutant: Mutant
    by_scorers: bool
    by_properties: bool
    inert: bool = False

    @property
    def alarmed(self) -> bool:
        """Whether anything in the suite noticed."""
        return self.by_scorers or self.by_properties


class Grade(Record):
    """What a suite is worth: `credit` is caught minus false alarms; `gain` is what properties add over the scorers."""

    mutants: int
    caught: int
    controls: int
    false_alarms: int
    inert: int
    credit: Estimate
    gain: Estimate
    by_defect: dict[str, tuple[int, int]]


def mutants_of(each: int, controls: int, shares: Sequence[float] = (0.5, 1.0)) -> list[Mutant]:
    """`each` mutants of every defect, their shares in turn, and the controls."""
    made = [
        Mutant(defect=defect, share=shares[seed % len(shares)], seed=seed) for defect in DEFECTS for seed in range(each)
    ]
    return made + [Mutant(defect="control", share=1.0, seed=seed) for seed in range(controls)]


def grade(trials: Sequence[Trial]) -> Grade:
    """The grade of a suite over its trials, with 95% intervals (Newcombe's; Tango's for the gain, which is paired)."""
    live = [each for each in trials if not each.inert]
    planted = [each for each in live if each.mutant.defect != "control"]
    controls = [each for each in trials if each.mutant.defect == "control"]
    caught, false = sum(each.alarmed for each in planted), sum(each.alarmed for each in controls)
    added = sum(each.by_properties and not each.by_scorers for each in planted)
    by_defect: dict[str, tuple[int, int]] = {}
    for defect in DEFECTS:
        own = [each for each in planted if each.mutant.defect == defect]
        by_defect[defect] = (sum(each.alarmed for each in own), len(own))
    return Grade(
        mutants=len(planted), caught=caught, controls=len(controls), false_alarms=false,
        inert=sum(each.inert for each in trials if each.mutant.defect != "control"),
        credit=newcombe(false, len(controls), caught, len(planted)),
        gain=score_interval(0, added, len(planted)), by_defect=by_defect,
    )  # fmt: skip
