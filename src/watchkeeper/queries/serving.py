"""The question which compositions answer calls now."""

from __future__ import annotations

from typing import ClassVar

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import CALL, all_of, columns, count, equal, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Aggregate, Known, Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record


class Serving(Record):
    """The compositions that answered calls in a window: model, calls, when first and last; the busiest first."""

    name: ClassVar[str] = "serving"
    since: p.Since = 0
    until: p.Until = FAR_NS
    model: p.ByModel = None
    service: p.ByService = None
    agent: p.ByAgent = None
    limit: p.Limit = 1000

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                *columns("manifest", "request_model", "upstream"),
                count("calls"),
                Aggregate(function="min", column="start_ns", alias="first_ns"),
                Aggregate(function="max", column="start_ns", alias="last_ns"),
            ),
            where=all_of(
                [CALL, Known(column="manifest")], equal(model=self.model, service=self.service, agent=self.agent)
            ),
            group=("manifest", "request_model", "upstream"),
            order=(Order(by="calls", descending=True), Order(by="manifest")),
            limit=self.limit,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per composition, requested model and upstream."""
        return page(rows)
