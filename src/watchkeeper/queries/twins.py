"""The question for the spans that tell of a call a second time."""

from __future__ import annotations

from typing import ClassVar

from watchkeeper.queries.filters import all_of, equal
from watchkeeper.queries.select import Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS, HOUR_NS
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Span


class TwinsOf(Record):
    """The spans that tell of the same call as one that counts, oldest first."""

    name: ClassVar[str] = "twins_of"
    span: Span

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=max(0, self.span.start_ns - HOUR_NS),
            until_ns=min(FAR_NS, self.span.start_ns + HOUR_NS),
            where=all_of(equal(duplicate_of=f"{self.span.trace_id}:{self.span.span_id}")),
            order=(Order(by="start_ns"), Order(by="span_id")),
            limit=100,
        )

    def answer(self, rows: Rows) -> tuple[Span, ...]:
        """The spans."""
        place = rows.columns.index("record")
        return tuple(unpack(Span, bytes(row[place])) for row in rows.rows)  # type: ignore[call-overload]
