"""Plants known defects behind a target: a mutant is the target with one defect, a control with a harmless change.

A defect shows everywhere, or only where the target was not rehearsed: on questions that are not among those it is known
by. That is how defects escape curated examples. `brittle` shows only there by its nature: asked in other words, the
mutant does not understand. Which questions are touched depends on the mutant and the question alone, so that two suites
which ask the same see the same.
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
from watchkeeper.engines.experiments.runner import Asked
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.record import Record

Defect = Literal["brittle", "wrong_unit", "stale", "silent", "off_by_one", "control"]
Where = Literal["everywhere", "unrehearsed"]
DEFECTS: tuple[Defect, ...] = ("brittle", "wrong_unit", "stale", "silent", "off_by_one")
WHERE: tuple[Where, ...] = ("everywhere", "unrehearsed")
_UNITS = (
    ("km", "miles"), ("kg", "pounds"), ("EUR", "USD"), ("euros", "dollars"), ("€", "$"), ("days", "weeks"),
    ("hours", "minutes"), ("°C", "°F"), ("litres", "gallons"), ("cm", "inches"), ("MB", "GB"),
)  # fmt: skip
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBER = re.compile(r"\d+")


class Mutant(Record):
    """A defect, where it shows, the share of questions that it touches there, and the seed that says which."""

    defect: Defect
    share: float
    seed: int
    where: Where = "everywhere"

    @property
    def name(self) -> str:
        """The mutant in words."""
        return f"{self.defect} {self.where} {self.share:g} #{self.seed}"


def mutants_of(each: int, controls: int, shares: Sequence[float] = (0.5, 1.0)) -> list[Mutant]:
    """`each` mutants of every defect and the controls, so mixed that any beginning of the list is a fair part of it.

    Where a defect shows and its share take turns.
    """
    planted = [
        Mutant(
            defect=defect,
            share=shares[seed // len(WHERE) % len(shares)],
            seed=seed,
            where="unrehearsed" if defect == "brittle" else WHERE[seed % len(WHERE)],
        )
        for seed in range(each)
        for defect in DEFECTS
    ]
    harmless = [Mutant(defect="control", share=shares[-1 - seed % len(shares)], seed=seed) for seed in range(controls)]
    size = max(1, len(planted)), max(1, len(harmless))
    placed = [(index / size[0], mutant) for index, mutant in enumerate(planted)]
    placed += [(index / size[1], mutant) for index, mutant in enumerate(harmless)]
    return [mutant for _, mutant in sorted(placed, key=lambda each: each[0])]


class MutantProvider:
    """A target with a defect, asked by draws as an `Asker` is. `rehearsed` are the questions that it is known by.

    `changed` counts the answers that it changed, `applies` those that it would change wherever it showed.
    """

    def __init__(self, ask: Asked, mutant: Mutant, rehearsed: frozenset[str]) -> None:
        self.changed = self.applies = 0
        self._ask, self._mutant, self._rehearsed = ask, mutant, rehearsed

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """One answer, as a ModelProvider gives it: the draw is the first."""
        return await self(messages, parameters)

    async def __call__(self, messages: str, parameters: Mapping[str, object], draw: str = "0") -> Completion:
        """The target's answer, with the defect where it applies."""
        answer = await self._ask(messages, parameters, draw)
        if answer.error is not None or answer.output is None:
            return answer
        new = _changed(self._mutant, answer.output)
        if new == answer.output:
            return answer
        self.applies += 1
        if not self._touches(messages):
            return answer
        self.changed += 1
        return msgspec.structs.replace(answer, output=new)

    def _touches(self, messages: str) -> bool:
        """Whether the defect touches a question; the same one always, as a real defect would."""
        if self._mutant.where == "unrehearsed" and question_of(messages) in self._rehearsed:
            return False
        drawn = hashlib.sha256(f"{self._mutant.seed}\0{messages}".encode("utf-8", "replace")).digest()
        return int.from_bytes(drawn[:4], "big") < self._mutant.share * 2**32


def question_of(messages: str) -> str:
    """What a question is known by: the text of its last user message, or all of it where that is no text."""
    return asked_text(messages) or messages


def _changed(mutant: Mutant, output: str) -> str:
    if mutant.defect == "control":
        return _HARMLESS[mutant.seed % len(_HARMLESS)](output)
    return _DEFECTIVE[mutant.defect](output)


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
    """The last number that is no part of a date, as it may have been in an older source."""
    inside = [found.span() for found in _DATE.finditer(text)]
    for found in reversed(list(_NUMBER.finditer(text))):
        if not any(start <= found.start() < end for start, end in inside):
            return f"{text[: found.start()]}{max(0, int(found[0]) * 9 // 10 - 1)}{text[found.end() :]}"
    return text


_DEFECTIVE: dict[str, Callable[[str], str]] = {
    "brittle": lambda _: "I am not sure what you mean.",
    "wrong_unit": _other_unit,
    "stale": _older,
    "silent": lambda _: "",
    "off_by_one": _next_day,
}
_HARMLESS: tuple[Callable[[str], str], ...] = (
    lambda text: f" {text}\n",
    lambda text: f"{text}  ",
    lambda text: f"{unicodedata.normalize('NFD', text)}\n",
    lambda text: f"\n{unicodedata.normalize('NFC', text)}",
    lambda text: f"{text}\r\n",
)
"""Changes that no reader sees: white space at the ends, the Unicode form."""
