"""Keeps people's words out of the index, for those who encrypt the journal: the index itself is not encrypted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from watchkeeper.records.case import Case
from watchkeeper.records.decision import Decision
from watchkeeper.records.logged import Logged
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.source import Source
from watchkeeper.records.span import Span

HIDDEN = "(not in the index)"


class Lean:
    """A Settler that leaves ids, names, times, counts and cost, and takes out what people and models wrote.

    Limits: users, sessions, models, tools and the names of spans stay, since questions are asked by them.
    """

    async def settle(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """The records without content."""
        return tuple(bare(record) for record in records)


def bare(record: Record) -> Record:
    """A record without what people and models wrote; one that holds none as it is."""
    take_out = _WITHOUT.get(type(record))
    left: Record = record if take_out is None else take_out(record)
    return left


_WITHOUT: dict[type[Record], Callable[[Any], Any]] = {
    Span: lambda span: replace(span, preview="", message=None, attributes={}),
    Logged: lambda logged: replace(logged, asked="", answered="", preview=""),
    Decision: lambda decision: replace(decision, sentence=HIDDEN, facts={}),
    Score: lambda score: replace(score, explanation=None, attributes={}),
    Source: lambda source: replace(source, query=None),
    Case: lambda case: replace(case, messages="[]", expected=None),
}
