"""The question behind `watchkeeper export`: whole rows of spans in the order of time, page after page."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import all_of, attribute, equal, every_column, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import And, Compare, Or, Order, Predicate, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record


class Exported(Record):
    """Spans with every indexed column, oldest first; `after` goes on behind the last span of the page before."""

    name: ClassVar[str] = "exported"
    since: p.Since = 0
    until: p.Until = FAR_NS
    model: p.ByModel = None
    status: p.ByStatus = None
    trace_id: p.ByTrace = None
    session: p.BySession = None
    run: p.ByRun = None
    user: p.ByUser = None
    agent: p.ByAgent = None
    service: p.ByService = None
    tool: p.ByTool = None
    operation: p.ByOperation = None
    attribute: p.ByAttribute = None
    after: Annotated[
        Annotated[str, Meta(pattern=r"^\d{1,19}:[0-9a-f]{32}:[0-9a-f]{16}$")] | None,
        Meta(description="START:TRACE:SPAN to go on behind."),
    ] = None
    limit: p.Limit = 500

    def select(self) -> Select:
        """Plan the query; a page is found by where the last one ended, so that the last is as cheap as the first."""
        since, behind = self.since, list[Predicate]()
        if self.after is not None:
            start, trace_id, span_id = self.after.split(":")
            since = max(since, int(start))
            later = Compare(column="start_ns", op=">", value=int(start))
            same = Compare(column="start_ns", op="=", value=int(start))
            beyond = Compare(column="trace_id", op=">", value=trace_id)
            within = And(
                all=(
                    Compare(column="trace_id", op="=", value=trace_id),
                    Compare(column="span_id", op=">", value=span_id),
                )
            )
            behind = [Or(any=(later, And(all=(same, Or(any=(beyond, within))))))]
        wanted = equal(
            model=self.model, status=self.status, trace_id=self.trace_id, session=self.session, run=self.run,
            user=self.user, agent=self.agent, service=self.service, tool=self.tool, operation=self.operation,
        )  # fmt: skip
        return Select(
            table="spans",
            since_ns=since,
            until_ns=self.until,
            columns=every_column("spans"),
            where=all_of(wanted, attribute(self.attribute), behind),
            order=(Order(by="start_ns"), Order(by="trace_id"), Order(by="span_id")),
            limit=self.limit,
        )

    def answer(self, rows: Rows) -> Answer:
        """Spans as plain values."""
        return page(rows, "spans")
