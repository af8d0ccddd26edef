"""Questions about the proof: what was erased, and when the ends of all chains were written down."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import all_of, equal, every_column, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record


class Erasures(Record):
    """What was erased from the journals, newest first: who did it, when, why, and how much. It names nobody."""

    name: ClassVar[str] = "erasures"
    since: p.Since = 0
    until: p.Until = FAR_NS
    reason: Annotated[
        str | None, Meta(description="Only for this reason: subject, retention, sampling, redaction, disk_cap.")
    ] = None
    subject: Annotated[str | None, Meta(description="Only of this pseudonym.")] = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="erasures",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("erasures"),
            where=all_of(equal(reason=self.reason, subject=self.subject)),
            order=(Order(by="at_ns", descending=True), Order(by="erasure_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per erasure."""
        return page(rows)


class Checkpoints(Record):
    """The ends of all chains as they were written down, newest first."""

    name: ClassVar[str] = "checkpoints"
    since: p.Since = 0
    until: p.Until = FAR_NS
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="checkpoints",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("checkpoints"),
            order=(Order(by="at_ns", descending=True), Order(by="checkpoint_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per checkpoint."""
        return page(rows)
