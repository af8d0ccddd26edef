"""Questions about what agents did to the world."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import all_of, equal, every_column, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Known, Order, Predicate, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record


class Effects(Record):
    """What agents did to the world, newest first, each as it stands: planned, done, failed, undone or unknown."""

    name: ClassVar[str] = "effects"
    since: p.Since = 0
    until: p.Until = FAR_NS
    tool: p.ByTool = None
    agent: p.ByAgent = None
    run: p.ByRun = None
    session: p.BySession = None
    user: p.ByUser = None
    key: p.ByKey = None
    status: Annotated[str | None, Meta(description="Only planned, done, failed, undone or unknown ones.")] = None
    idempotency_key: Annotated[str | None, Meta(description="Only with this idempotency key.")] = None
    effect_id: Annotated[str | None, Meta(description="Only this effect.")] = None
    trace_id: p.ByTrace = None
    settled: Annotated[bool | None, Meta(description="Only those whose end is known, or not known.")] = None
    limit: p.Limit = 1000
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        known: list[Predicate] = [] if self.settled is None else [Known(column="settled_ns", known=self.settled)]
        return Select(
            table="effects",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("effects"),
            where=all_of(
                equal(
                    tool=self.tool,
                    agent=self.agent,
                    run=self.run,
                    session=self.session,
                    user=self.user,
                    key=self.key,
                    status=self.status,
                    idempotency_key=self.idempotency_key,
                    effect_id=self.effect_id,
                    trace_id=self.trace_id,
                ),
                known,
            ),
            order=(Order(by="at_ns", descending=True), Order(by="effect_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per effect."""
        return page(rows, "effects")
