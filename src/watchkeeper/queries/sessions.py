"""Questions about sessions: which there were, what they cost, and where calls in them failed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.explorer import DENIED, FAILED
from watchkeeper.queries.filters import CALL, all_of, attribute, count, equal, page, total
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Aggregate, Column, Join, Known, Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record

Sorting = Annotated[
    Literal["cost", "calls", "errors", "tokens", "newest"], Meta(description="The greatest first; or the newest first.")
]
_ORDERS: dict[str, str] = {
    "cost": "cost_usd", "calls": "calls", "errors": "errors", "tokens": "input_tokens", "newest": "start_ns",
}  # fmt: skip
_SORTED: dict[str, Aggregate] = {
    "cost_usd": total("cost_usd"),
    "calls": count("calls", CALL),
    "errors": count("errors", FAILED),
    "input_tokens": total("input_tokens"),
    "start_ns": Aggregate(function="min", column="start_ns", alias="start_ns"),
}


class Sessions(Record):
    """Sessions with their calls, traces, errors, tokens and cost: the dearest first, or as `sort` says.

    Sums are over the session's spans within the time range, and leave out agent and workflow spans, which repeat what
    the calls below them used.
    """

    name: ClassVar[str] = "sessions"
    since: p.Since = 0
    until: p.Until = FAR_NS
    session: p.BySession = None
    user: p.ByUser = None
    service: p.ByService = None
    agent: p.ByAgent = None
    attribute: p.ByAttribute = None
    sort: Sorting = "cost"
    limit: p.Limit = 50
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query: which sessions they are, by the one sum that decides, and then all sums of those."""
        by = _ORDERS[self.sort]
        order = (Order(by=by, descending=True), Order(by="session"))
        where = all_of(
            [Known(column="session")],
            equal(session=self.session, user=self.user, service=self.service, agent=self.agent),
            attribute(self.attribute),
        )
        first = Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(Column(name="session"), _SORTED[by]),
            where=where,
            group=("session",),
            order=order,
            limit=self.limit,
            offset=self.cursor,
        )
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            joins=(Join(kind="semi", select=first, on=(("session", "session"),)),),
            columns=(
                Column(name="session"),
                Aggregate(function="min", column="start_ns", alias="start_ns"),
                Aggregate(function="max", column="end_ns", alias="end_ns"),
                Aggregate(function="distinct", column="trace_id", alias="traces"),
                Aggregate(function="min", column="user", alias="user"),
                count("calls", CALL),
                count("errors", FAILED),
                count("denied", DENIED),
                total("input_tokens"),
                total("output_tokens"),
                total("cost_usd"),
            ),
            where=where,
            group=("session",),
            order=order,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per session."""
        return page(rows)
