"""Questions about the log records that came over OTLP: those of one span, and the latest of all."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import all_of, columns, equal, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS, HOUR_NS
from watchkeeper.records.logged import Logged
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Span

MOST_OF_A_SPAN = 1_000
_ORDER = (Order(by="at_ns"), Order(by="log_id"))


class Logs(Record):
    """Log records and events that came over OTLP, newest first; `asked` and `answered` are what a GenAI event says."""

    name: ClassVar[str] = "logs"
    since: p.Since = 0
    until: p.Until = FAR_NS
    trace_id: p.ByTrace = None
    span_id: p.BySpan = None
    event: Annotated[str | None, Meta(description="Only events of this name, such as gen_ai.choice.")] = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="logs",
            since_ns=self.since,
            until_ns=self.until,
            columns=columns(
                "at_ns", "name", "severity", "service", "trace_id", "span_id", "asked", "answered", "preview", "log_id"
            ),
            where=all_of(equal(trace_id=self.trace_id, span_id=self.span_id, name=self.event)),
            order=(Order(by="at_ns", descending=True), Order(by="log_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per log record."""
        return page(rows)


class LogsOf(Record):
    """The log records that belong to one span, oldest first, as records; at most a thousand."""

    name: ClassVar[str] = "logs_of"
    span: Span

    def select(self) -> Select:
        """Plan the query."""
        last_ns = self.span.end_ns or self.span.start_ns
        return Select(
            table="logs",
            since_ns=max(0, self.span.start_ns - HOUR_NS),
            until_ns=min(FAR_NS, last_ns + HOUR_NS),
            where=all_of(equal(trace_id=self.span.trace_id, span_id=self.span.span_id)),
            order=_ORDER,
            limit=MOST_OF_A_SPAN,
        )

    def answer(self, rows: Rows) -> tuple[Logged, ...]:
        """The log records."""
        place = rows.columns.index("record")
        return tuple(unpack(Logged, bytes(row[place])) for row in rows.rows)  # type: ignore[call-overload]
