"""Questions about how often controls fire: policies that ruled, scorers that judged, fields that replies carried."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import CALL, all_of, columns, count, equal, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Aggregate, Bucket, Known, MapHas, Order, Rows, Select, Table
from watchkeeper.queries.timespan import FAR_NS, MINUTE_NS
from watchkeeper.records.record import Record

FIELDS = {
    "finish_reason": "finish_reasons",
    "usage": "output_tokens",
    "response_id": "response_id",
    "response_model": "response_model",
    "fingerprint": "fingerprint",
    "first_token": "first_token_ns",
}
"""What a reply may carry that others read, and the column that is null where it did not."""

Width = Annotated[int, Meta(ge=1, description="Width of a time bucket (1m, 1h).", extra=p.LENGTH)]


class Carried(Record):
    """Calls that were answered, by upstream and time bucket, and how many of their replies carried each field.

    `attributes` are keys of span attributes whose presence is counted as well, as `attribute_0` and so on.
    """

    name: ClassVar[str] = "carried"
    since: p.Since = 0
    until: p.Until = FAR_NS
    width: Width = MINUTE_NS
    attributes: Annotated[tuple[str, ...], Meta(description="Keys of attributes, with commas between them.")] = ()

    def select(self) -> Select:
        """Plan the query."""
        present = [count(name, Known(column=column)) for name, column in FIELDS.items()]
        marks = [
            count(f"attribute_{n}", MapHas(column="attributes", key=key, op="!=", value="\x00"))
            for n, key in enumerate(self.attributes)
        ]
        counts = (count("calls"), *present, *marks)
        return _by_bucket(self, "spans", "start_ns", ("upstream",), counts, where=all_of([CALL], equal(status="ok")))

    def answer(self, rows: Rows) -> Answer:
        """One item per bucket and upstream."""
        return page(rows)


class Asked(Record):
    """Calls of a model by time bucket, answered or not."""

    name: ClassVar[str] = "asked"
    since: p.Since = 0
    until: p.Until = FAR_NS
    width: Width = MINUTE_NS

    def select(self) -> Select:
        """Plan the query."""
        return _by_bucket(self, "spans", "start_ns", (), (count("calls"),), where=all_of([CALL]))

    def answer(self, rows: Rows) -> Answer:
        """One item per bucket that has calls."""
        return page(rows)


class Ruled(Record):
    """Rulings of policies, whatever they ruled, by instance and time bucket."""

    name: ClassVar[str] = "ruled"
    since: p.Since = 0
    until: p.Until = FAR_NS
    width: Width = MINUTE_NS

    def select(self) -> Select:
        """Plan the query."""
        return _by_bucket(self, "decisions", "at_ns", ("policy", "instance"), (count("rulings"),))

    def answer(self, rows: Rows) -> Answer:
        """One item per bucket, policy and instance."""
        return page(rows)


class Judged(Record):
    """Scores by scorer and time bucket of what they judge."""

    name: ClassVar[str] = "judged"
    since: p.Since = 0
    until: p.Until = FAR_NS
    width: Width = MINUTE_NS

    def select(self) -> Select:
        """Plan the query."""
        latest = {"latest_by": ("score_id",)}
        return _by_bucket(self, "scores", "event_ns", ("scorer", "name"), (count("scores"),), **latest)

    def answer(self, rows: Rows) -> Answer:
        """One item per bucket, scorer and name of score."""
        return page(rows)


def _by_bucket(
    asked: Carried | Asked | Ruled | Judged,
    table: Table,
    clock: str,
    keys: tuple[str, ...],
    counts: tuple[Aggregate, ...],
    **more: Any,
) -> Select:
    """Counts by time bucket and keys, in order of both."""
    return Select(
        table=table,
        since_ns=asked.since,
        until_ns=asked.until,
        columns=(Bucket(name=clock, width_ns=asked.width), *columns(*keys), *counts),
        group=("bucket", *keys),
        order=tuple(Order(by=key) for key in ("bucket", *keys)),
        **more,
    )
