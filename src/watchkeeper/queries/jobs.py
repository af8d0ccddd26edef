"""Questions about work that takes minutes."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import all_of, equal, every_column, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record


class Jobs(Record):
    """Jobs in their latest state, last moved first: where each is and, apart from it, what is known of its result."""

    name: ClassVar[str] = "jobs"
    since: p.Since = 0
    until: p.Until = FAR_NS
    status: Annotated[
        Literal["queued", "running", "waiting", "ended"] | None, Meta(description="Only jobs that are there now.")
    ] = None
    outcome: Annotated[
        Literal[
            "needs-input", "completed-verified", "completed-unverified", "refused", "failed", "cancelled", "unknown"
        ]
        | None,
        Meta(description="Only jobs with this outcome."),
    ] = None
    job_id: Annotated[str | None, Meta(description="Only this job.")] = None
    run: p.ByRun = None
    session: p.BySession = None
    user: p.ByUser = None
    agent: p.ByAgent = None
    key: p.ByKey = None
    trace_id: p.ByTrace = None
    limit: p.Limit = 1000
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="jobs",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("jobs"),
            where=all_of(
                equal(
                    status=self.status,
                    outcome=self.outcome,
                    job_id=self.job_id,
                    run=self.run,
                    session=self.session,
                    user=self.user,
                    agent=self.agent,
                    key=self.key,
                    trace_id=self.trace_id,
                )
            ),
            order=(Order(by="at_ns", descending=True), Order(by="job_id")),
            limit=self.limit,
            offset=self.cursor,
            latest_by=("job_id",),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per job."""
        return page(rows, "jobs")
