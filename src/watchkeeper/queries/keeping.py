"""Questions about what is kept: why a trace was kept and what went, and how often something stands in bodies."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import CALLS, all_of, columns, count, equal, every_column, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Among, Attribute, Known, Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record

REMOVED = "watchkeeper.removed"


class KeptTraces(Record):
    """Traces whose bodies are kept beyond the window, newest first: for which reasons, and with what probability."""

    name: ClassVar[str] = "kept"
    since: p.Since = 0
    until: p.Until = FAR_NS
    trace_id: p.ByTrace = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="kept",
            since_ns=self.since,
            until_ns=self.until,
            columns=columns("trace_id", "reasons", "probability", "at_ns", "share", "rules"),
            where=all_of([Known(column="trace_id")], equal(trace_id=self.trace_id)),
            order=(Order(by="at_ns", descending=True), Order(by="trace_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per trace."""
        return page(rows, "kept")


class Thinnings(Record):
    """What retention took from which segment of the journal, newest first."""

    name: ClassVar[str] = "thinnings"
    since: p.Since = 0
    until: p.Until = FAR_NS
    writer: Annotated[str | None, Meta(description="Only of this writer's journal.")] = None
    stage: Annotated[
        Literal["sampled", "bodies", "fields", "metadata", "records", "trimmed"] | None,
        Meta(description="Only segments that went to this stage."),
    ] = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        wanted = (
            "at_ns", "writer", "segment", "stage", "why", "traces", "kept_traces", "frames", "freed_bytes", "since_ns",
            "until_ns", "share", "window_ns", "rules",
        )  # fmt: skip
        return Select(
            table="kept",
            since_ns=self.since,
            until_ns=self.until,
            columns=columns(*wanted),
            where=all_of([Known(column="writer")], equal(writer=self.writer, stage=self.stage)),
            order=(Order(by="at_ns", descending=True), Order(by="writer"), Order(by="segment")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per segment and stage."""
        return page(rows)


class BodyRate(Record):
    """The share of model calls whose reply (or request) holds a text, estimated where bodies were thinned.

    The answer has its interval, its method, and its coverage: the share of calls that are still there, or stood for by
    a random sample. Asked through the API or `watchkeeper ask`, which read the bodies.
    """

    name: ClassVar[str] = "body_rate"
    text: Annotated[str | None, Meta(description="The text to look for, letter case aside.")] = None
    pattern: Annotated[
        str | None,
        Meta(max_length=500, description="A regular expression instead; a costly one is refused."),
    ] = None
    side: Annotated[Literal["reply", "request"], Meta(description="Where to look.")] = "reply"
    since: p.Since = 0
    until: p.Until = FAR_NS
    model: p.ByModel = None
    service: p.ByService = None
    read: Annotated[int, Meta(ge=10, le=100_000, description="At most this many traces are read of each stratum.")] = (
        1000
    )

    def select(self) -> Select:
        """Plan what needs no body: the calls of each trace, and where they lie."""
        if (self.text is None) == (self.pattern is None):
            raise ValueError("say what to look for: text=... or pattern=..., one of them")
        removed = Attribute(column="attributes", key=REMOVED, alias="removed")
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(*columns("trace_id", "origin_writer", "origin_segment"), removed, count("calls")),
            where=all_of([Among(column="operation", values=CALLS)], equal(model=self.model, service=self.service)),
            group=("trace_id", "origin_writer", "origin_segment", "removed"),
            order=(Order(by="trace_id"),),
        )

    def answer(self, rows: Rows) -> Answer:
        """Without bodies: how many calls and traces the question is about."""
        place = rows.columns.index("calls")
        calls = sum(int(str(row[place])) for row in rows.rows)
        return Answer(
            items=({"calls": calls, "traces": len({row[0] for row in rows.rows}), "coverage": None},),
            complete=rows.complete,
        )


class KeptRows(Record):
    """All rows about kept traces or thinned segments since a moment, for estimates."""

    name: ClassVar[str] = "kept_rows"
    since: p.Since = 0
    until: p.Until = FAR_NS

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="kept",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("kept"),
            order=(Order(by="at_ns"),),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per decision."""
        return page(rows, "kept")
