"""The question how long people waited for the first token."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import CALL, all_of, columns, count, equal, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Aggregate, Bucket, Known, Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS, MINUTE_NS
from watchkeeper.records.record import Record

Grouping = Annotated[
    Literal["time", "model", "provider", "upstream", "service"], Meta(description="Time buckets, or one row for each.")
]


class FirstTokens(Record):
    """Percentiles of the time to the first token, in nanoseconds, and of how many calls it is known.

    Only calls that told it count: streamed calls through the gateway, and spans that carry it. `calls` is how many
    calls there were with and without it, so that a percentile over few of them is seen as one.
    """

    name: ClassVar[str] = "first_tokens"
    since: p.Since = 0
    until: p.Until = FAR_NS
    by: Grouping = "time"
    width: p.Width = MINUTE_NS
    model: p.ByModel = None
    service: p.ByService = None

    def select(self) -> Select:
        """Plan the query."""
        timed = self.by == "time"
        first = (Bucket(name="start_ns", width_ns=self.width),) if timed else columns(self.by)
        key = "bucket" if timed else self.by
        order = Order(by=key) if timed else Order(by="known", descending=True)
        quantiles = tuple(
            Aggregate(function="quantile", column="first_token_ns", alias=f"p{percent}_ns", q=percent / 100)
            for percent in (50, 90, 95, 99)
        )
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(*first, count("calls"), count("known", Known(column="first_token_ns")), *quantiles),
            where=all_of([CALL], equal(model=self.model, service=self.service)),
            group=(key,),
            order=(order, Order(by=key)),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per bucket, or per model, ..."""
        return page(rows)
