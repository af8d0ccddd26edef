"""The question which agents, models, releases or compositions recorded spans name, for lists to choose from."""

from __future__ import annotations

from typing import ClassVar, Literal

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import CALL, all_of, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import (
    Aggregate,
    Attribute,
    Column,
    Known,
    MapHas,
    Order,
    Predicate,
    Projection,
    Rows,
    Select,
)
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.queries.versions import RELEASE
from watchkeeper.records.record import Record

What = Literal["agent", "model", "release", "manifest"]


class Seen(Record):
    """What spans name as their agent, or calls as their model, release or composition; the last seen first."""

    name: ClassVar[str] = "seen"
    what: What
    since: p.Since = 0
    until: p.Until = FAR_NS
    limit: p.Limit = 100

    def select(self) -> Select:
        """Plan the query."""
        named: Projection = Column(name=self.what, alias="value")
        known: list[Predicate] = [Known(column=self.what)]
        if self.what == "release":
            named = Attribute(column="attributes", key=RELEASE, alias="value")
            known = [MapHas(column="attributes", key=RELEASE, op="!=", value="")]
        if self.what != "agent":
            known.append(CALL)
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(named, Aggregate(function="max", column="start_ns", alias="last_ns")),
            where=all_of(known),
            group=("value",),
            order=(Order(by="last_ns", descending=True), Order(by="value")),
            limit=self.limit,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per value, with when it was last seen."""
        return page(rows)
