"""The question who used a version, when and how much."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.explorer import FAILED
from watchkeeper.queries.filters import CALL, all_of, attribute, columns, count, equal, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Aggregate, Known, Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record


class Uses(Record):
    """The uses of a version: its calls by user, session and trace, with when first and last; the first ones first.

    Calls without a user are left out. One use is one session, or one trace where no session is known.
    """

    name: ClassVar[str] = "uses"
    since: p.Since = 0
    until: p.Until = FAR_NS
    manifest: Annotated[str | None, Meta(description="Only calls of this composition, by its digest.")] = None
    model: p.ByModel = None
    attribute: p.ByAttribute = None
    user: p.ByUser = None
    service: p.ByService = None
    agent: p.ByAgent = None
    limit: p.Limit = 100_000
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                *columns("tenant", "user", "session", "trace_id"),
                Aggregate(function="min", column="start_ns", alias="first_ns"),
                Aggregate(function="max", column="start_ns", alias="last_ns"),
                count("calls"),
                count("errors", FAILED),
            ),
            where=all_of(
                [CALL, Known(column="user")],
                equal(manifest=self.manifest, model=self.model, user=self.user, service=self.service, agent=self.agent),
                attribute(self.attribute),
            ),
            group=("tenant", "user", "session", "trace_id"),
            order=(Order(by="first_ns"), Order(by="user"), Order(by="trace_id"), Order(by="session")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per user, session and trace."""
        return page(rows)
