"""The question which upstreams answered calls, how often, how long they took, and how many of the calls failed."""

from __future__ import annotations

from typing import ClassVar

from watchkeeper.queries import parameters as p
from watchkeeper.queries.explorer import FAILED
from watchkeeper.queries.filters import CALL, all_of, columns, count, equal, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Aggregate, Compare, Known, Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record


class UpstreamCalls(Record):
    """Calls and errors by upstream and model, with p50 and p95 of their duration (ns) and the last success.

    A call counts at the upstream that was asked last: one that fell over counts where it was answered.
    """

    name: ClassVar[str] = "upstream_calls"
    since: p.Since = 0
    until: p.Until = FAR_NS
    model: p.ByModel = None

    def select(self) -> Select:
        """Plan the query."""
        quantiles = tuple(
            Aggregate(function="quantile", column="duration_ns", alias=f"p{percent}_ns", q=percent / 100)
            for percent in (50, 95)
        )
        well = Compare(column="status", op="=", value="ok")
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                *columns("upstream", "model"),
                count("calls"),
                count("errors", FAILED),
                *quantiles,
                Aggregate(function="max", column="start_ns", alias="last_ns"),
                Aggregate(function="max", column="start_ns", alias="last_ok_ns", where=well),
            ),
            where=all_of([CALL, Known(column="upstream")], equal(model=self.model)),
            group=("upstream", "model"),
            order=(Order(by="upstream"), Order(by="calls", descending=True), Order(by="model")),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per upstream and model."""
        return page(rows)
