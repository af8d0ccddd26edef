"""Questions about rescues: what was tried again, elsewhere or otherwise so that calls succeeded, and how often."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import CALL, FIRST, all_of, count, equal
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import And, Attribute, Bucket, Compare, MapHas, Or, Order, Projection, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record

KINDS = ("retry", "fallback", "continued", "repair", "default", "client_retry")
"""The kinds of rescues, as the gateway and applications name them on a span: `watchkeeper.rescues.<kind>`."""

_TOTAL = "watchkeeper.rescues"


class Rescues(Record):
    """Rescues for each successful call over time: retries, fallbacks, continued streams, repairs and filled defaults.

    `rescues` counts all of them, also of calls that failed in the end, and those that a program tells of its own steps
    (`watchkeeper.rescue`); `rescued` counts calls with at least one.
    `rescues_per_success` is unknown where nothing succeeded. Where the settings keep attributes out of the index no
    rescue is seen.
    """

    name: ClassVar[str] = "rescues"
    since: p.Since = 0
    until: p.Until = FAR_NS
    width: Annotated[int, Meta(ge=0, description="Width of a time bucket (1m, 1h); 0 is one row.", extra=p.LENGTH)] = 0
    model: p.ByModel = None
    service: p.ByService = None
    upstream: Annotated[str | None, Meta(description="Only calls that this upstream answered in the end.")] = None

    def select(self) -> Select:
        """Plan the query: calls by how often they were rescued, and in which way."""
        bucket: tuple[Projection, ...] = (Bucket(name="start_ns", width_ns=self.width),) if self.width else ()
        kinds = tuple(Attribute(column="attributes", key=f"{_TOTAL}.{kind}", alias=kind) for kind in KINDS)
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                *bucket,
                Attribute(column="attributes", key=_TOTAL, alias="times"),
                *kinds,
                count("spans"),
                count("calls", CALL),
                count("successes", And(all=(CALL, Compare(column="status", op="=", value="ok")))),
            ),
            where=all_of(
                [FIRST, Or(any=(CALL, MapHas(column="attributes", key=_TOTAL, op=">=", value=1)))],
                equal(model=self.model, service=self.service, upstream=self.upstream),
            ),
            group=(*(("bucket",) if self.width else ()), "times", *KINDS),
            order=(Order(by="bucket"),) if self.width else (),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item, or one per bucket that has calls."""
        found: dict[Any, dict[str, Any]] = {}
        for row in rows.dicts():
            item = found.setdefault(row.get("bucket"), self._empty(row.get("bucket")))
            calls, spans = _number(row["calls"]), _number(row["spans"])
            item["calls"] += calls
            item["successes"] += _number(row["successes"])
            item["rescues"] += spans * _number(row["times"])
            item["rescued"] += calls if _number(row["times"]) else 0
            for kind in KINDS:
                item[kind] += spans * _number(row[kind])
        items = list(found.values()) or ([] if self.width else [self._empty(None)])
        for item in items:
            item["rescues_per_success"] = item["rescues"] / item["successes"] if item["successes"] else None
        return Answer(items=tuple(items), complete=rows.complete)

    def _empty(self, bucket: object) -> dict[str, Any]:
        begin: dict[str, Any] = {"bucket": bucket} if self.width else {}
        return begin | dict.fromkeys(("calls", "successes", "rescued", "rescues", *KINDS), 0)


def _number(value: object) -> int:
    """A count, also from an attribute that is kept as text; what is none is 0."""
    try:
        return max(0, int(float(str(value)))) if value is not None else 0
    except (ValueError, OverflowError):
        return 0
