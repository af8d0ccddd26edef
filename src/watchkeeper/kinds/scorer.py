"""The kind that judges *after*: a subject in, scores out."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import ClassVar, Protocol, runtime_checkable

from watchkeeper.kinds.header import Header
from watchkeeper.records.case import Case
from watchkeeper.records.record import Record, Scalar


class Subject(Record):
    """What is judged: the output of a case, span, trace, session or run.

    `output` is the text that a person would see, `calls` the JSON text of the tool calls it made (a list of {name,
    arguments}). `evidence` is the JSON text of what stood behind it (the question, its sources with their texts, the
    corpus), for scorers that ask where an answer came from. `case` carries the input and what was expected, where
    there is one.
    """

    kind: str
    subject_id: str
    output: str | None = None
    calls: str | None = None
    evidence: str | None = None
    case: Case | None = None
    finish_reason: str | None = None
    attributes: dict[str, Scalar] = {}


class Mark(Record):
    """One judgment before it is filed as a Score: `value` 0..1 or any number, or a label, with the reason.

    A subject that cannot be judged has neither value nor label, and `explanation` says why.
    """

    name: str
    value: float | None = None
    label: str | None = None
    explanation: str | None = None


Scores = tuple[Mark, ...]


@runtime_checkable
class Scorer(Protocol):
    """Judges a subject. Its fields are its parameters."""

    header: ClassVar[Header]

    def score(self, subject: Subject) -> Scores | Awaitable[Scores]:
        """Judge one subject."""
        ...
