"""The eight questions of a trace explorer, as values."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, structs

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import (
    CALL,
    all_of,
    at_least,
    attribute,
    columns,
    containing,
    count,
    equal,
    every_column,
    page,
    total,
)
from watchkeeper.queries.fitting import Fitting
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import (
    Aggregate,
    Among,
    Bucket,
    Column,
    Compare,
    Join,
    Known,
    Order,
    Predicate,
    Projection,
    Rows,
    Select,
)
from watchkeeper.queries.timespan import DAY_NS, FAR_NS, HOUR_NS, MINUTE_NS
from watchkeeper.records.record import Record

SPAN_COLUMNS = columns(
    "trace_id", "span_id", "parent_id", "start_ns", "end_ns", "duration_ns", "name", "operation", "status",
    "error_type", "message", "http_status", "service", "door", "provider", "model", "tool", "input_tokens",
    "output_tokens", "cost_usd", "user", "session", "run", "agent", "preview",
)  # fmt: skip
"""What a list of spans shows."""

TRACE_MARGIN_NS = HOUR_NS
"""How far outside the asked range the other spans of a listed trace are looked for."""

NEWEST = (Order(by="start_ns", descending=True), Order(by="trace_id"), Order(by="span_id"))
FAILED = Compare(column="status", op="=", value="error")
DENIED = Compare(column="status", op="=", value="denied")

TraceId = Annotated[str, Meta(description="The trace: 32 hex digits.")]
Dimension = Literal["model", "provider", "upstream", "service", "tenant", "key", "user", "session", "run", "agent"]
Grouping = Annotated[Dimension, Meta(description="What to add up by.")]
Sorting = Annotated[
    Literal["newest", "cost", "tokens", "errors"], Meta(description="newest first, or the greatest first.")
]


class Trace(Record):
    """All spans of one trace in the order in which they started, with every indexed column."""

    name: ClassVar[str] = "trace"
    trace_id: TraceId
    since: p.Since = 0
    until: p.Until = FAR_NS
    limit: p.Limit = 10_000

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("spans"),
            where=all_of(equal(trace_id=self.trace_id)),
            order=(Order(by="start_ns"), Order(by="span_id")),
            limit=self.limit,
        )

    def answer(self, rows: Rows) -> Answer:
        """Spans as plain values."""
        return page(rows, "spans")


class Traces(Fitting):
    """Traces with a span in the time range that fits all filters; one row per trace, with its sums.

    Sums and times are over the whole trace, as far as its spans started within an hour of the range. Tokens and cost
    leave out agent and workflow spans, which repeat what the calls below them used. `models` names at most two, the
    first and last by name; `model_count` says how many there were. `preview` is the root's, else that of the first call
    that has one. `unpriced` counts answered calls of unknown cost, `roots` and `failed_roots` spans without a parent.
    """

    name: ClassVar[str] = "traces"
    min_cost: p.MinCost = None
    sort: Sorting = "newest"
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query: the traces that have a fitting span, those of them to be shown, then their sums."""
        low = max(0, self.since - TRACE_MARGIN_NS)
        high = min(FAR_NS, self.until + TRACE_MARGIN_NS)
        joins = [Join(kind="semi", select=self.fitting(), on=(("trace_id", "trace_id"),))]
        costly: list[Predicate] = []
        if self.min_cost is not None:
            sums = Select(
                table="spans",
                since_ns=low,
                until_ns=high,
                columns=(Column(name="trace_id", alias="costly_id"), total("cost_usd", "whole_cost_usd")),
                group=("costly_id",),
            )
            joins.append(Join(kind="left", select=sums, on=(("trace_id", "costly_id"),)))
            costly = at_least(whole_cost_usd=self.min_cost)
        order = (*_TRACE_ORDERS[self.sort], Order(by="start_ns", descending=True), Order(by="trace_id"))
        names = {"trace_id", *(each.by for each in order)}
        first = Select(
            table="spans",
            since_ns=low,
            until_ns=high,
            columns=tuple(each for each in _TRACE_SUMS if _alias(each) in names),
            where=all_of(costly),
            joins=tuple(joins),
            group=("trace_id",),
            order=order,
            limit=self.limit,
            offset=self.cursor,
        )
        return Select(
            table="spans",
            since_ns=low,
            until_ns=high,
            columns=_TRACE_SUMS,
            joins=(Join(kind="semi", select=first, on=(("trace_id", "trace_id"),)),),
            group=("trace_id",),
            order=order,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per trace."""
        items = []
        for row in page(rows).items:
            first, last = row.pop("first_model"), row.pop("last_model")
            names = tuple(dict.fromkeys(name for name in (first, last) if name is not None))
            ended = row["end_ns"] is not None and not row["open"]
            name, any_name, asked = row.pop("root_name"), row.pop("any_name"), row.pop("asked")
            items.append(
                {
                    **row,
                    "name": name if name is not None else any_name,
                    "preview": row["preview"] or asked or "",
                    "duration_ns": row["end_ns"] - row["start_ns"] if ended else None,
                    "models": names,
                }
            )
        return Answer(items=tuple(items), complete=rows.complete)


class TracesNamed(Record):
    """Some traces by their ids, newest first, each as `Traces` shows it; ids that are not there are left out."""

    name: ClassVar[str] = "traces_named"
    ids: Annotated[tuple[str, ...], Meta(description="The trace ids, with commas between them.")] = ()
    since: p.Since = 0
    until: p.Until = FAR_NS

    def select(self) -> Select:
        """Plan the query."""
        plan = Traces(since=self.since, until=self.until, limit=len(self.ids)).select()
        return structs.replace(plan, joins=(), where=Among(column="trace_id", values=self.ids))

    def answer(self, rows: Rows) -> Answer:
        """One item per trace."""
        return Traces().answer(rows)


def _alias(projection: Projection) -> str:
    return projection.name if isinstance(projection, Column) else projection.alias or ""


_ROOT = Known(column="parent_id", known=False)
_SPOKEN = (Compare(column="preview", op="!=", value=""),)
_ANSWERED = Compare(column="status", op="=", value="ok")
_TRACE_SUMS: tuple[Projection, ...] = (
    Column(name="trace_id"),
    Aggregate(function="min", column="start_ns", alias="start_ns"),
    Aggregate(function="max", column="end_ns", alias="end_ns"),
    Aggregate(function="min", column="name", alias="root_name", where=_ROOT),
    Aggregate(function="min", column="name", alias="any_name"),
    Aggregate(function="min", column="preview", alias="preview", where=_ROOT),
    Aggregate(function="first", column="preview", alias="asked", by="start_ns", where=all_of([CALL, *_SPOKEN])),
    count("spans"),
    count("calls", CALL),
    count("errors", FAILED),
    count("denied", DENIED),
    count("open", Compare(column="status", op="=", value="open")),
    count("unpriced", all_of([CALL, _ANSWERED, Known(column="cost_usd", known=False)])),
    count("roots", _ROOT),
    count("failed_roots", all_of([_ROOT, FAILED])),
    total("input_tokens"),
    total("output_tokens"),
    total("cost_usd"),
    Aggregate(function="min", column="model", alias="first_model"),
    Aggregate(function="max", column="model", alias="last_model"),
    Aggregate(function="distinct", column="model", alias="model_count"),
    *(
        Aggregate(function="min", column=name, alias=name)
        for name in ("service", "door", "session", "run", "user", "agent")
    ),
)
_TRACE_ORDERS: dict[str, tuple[Order, ...]] = {
    "newest": (),
    "cost": (Order(by="cost_usd", descending=True),),
    "tokens": (Order(by="input_tokens", descending=True),),
    "errors": (Order(by="errors", descending=True),),
}


class Spans(Record):
    """The last spans that fit all filters, newest first."""

    name: ClassVar[str] = "spans"
    since: p.Since = 0
    until: p.Until = FAR_NS
    model: p.ByModel = None
    status: p.ByStatus = None
    trace_id: p.ByTrace = None
    span_id: p.BySpan = None
    session: p.BySession = None
    run: p.ByRun = None
    user: p.ByUser = None
    agent: p.ByAgent = None
    service: p.ByService = None
    tool: p.ByTool = None
    operation: p.ByOperation = None
    manifest: Annotated[str | None, Meta(description="Only calls of this composition, by its digest.")] = None
    attribute: p.ByAttribute = None
    min_cost: p.MinCost = None
    min_duration: p.MinDuration = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=SPAN_COLUMNS,
            where=all_of(
                equal(
                    manifest=self.manifest,
                    model=self.model,
                    status=self.status,
                    trace_id=self.trace_id,
                    span_id=self.span_id,
                    session=self.session,
                    run=self.run,
                    user=self.user,
                    agent=self.agent,
                    service=self.service,
                    tool=self.tool,
                    operation=self.operation,
                ),
                at_least(cost_usd=self.min_cost, duration_ns=self.min_duration),
                attribute(self.attribute),
            ),
            order=NEWEST,
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """Spans as plain values."""
        return page(rows)


class Latency(Record):
    """Percentiles of the duration of finished calls per time bucket, in nanoseconds, with their number and errors."""

    name: ClassVar[str] = "latency"
    since: p.Since = 0
    until: p.Until = FAR_NS
    width: p.Width = MINUTE_NS
    model: p.ByModel = None
    service: p.ByService = None
    operation: p.ByOperation = "chat"

    def select(self) -> Select:
        """Plan the query."""
        quantiles = tuple(
            Aggregate(function="quantile", column="duration_ns", alias=f"p{percent}_ns", q=percent / 100)
            for percent in (50, 90, 95, 99)
        )
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(Bucket(name="start_ns", width_ns=self.width), count("calls"), count("errors", FAILED), *quantiles),
            where=all_of(
                equal(model=self.model, service=self.service, operation=self.operation or None),
                [Known(column="duration_ns")],
            ),
            group=("bucket",),
            order=(Order(by="bucket"),),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per bucket that has calls."""
        return page(rows)


class Costs(Record):
    """Calls, tokens and cost by model (or user, ...) and day; `unpriced` counts calls whose cost is unknown."""

    name: ClassVar[str] = "costs"
    since: p.Since = 0
    until: p.Until = FAR_NS
    by: Grouping = "model"
    width: p.Width = DAY_NS

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                Bucket(name="start_ns", width_ns=self.width),
                Column(name=self.by),
                count("calls"),
                count("unpriced", Known(column="cost_usd", known=False)),
                total("input_tokens", where=None),  # what calls a model is no summary of other calls
                total("output_tokens", where=None),
                total("cost_usd", where=None),
            ),
            where=CALL,
            group=("bucket", self.by),
            order=(Order(by="bucket"), Order(by="cost_usd", descending=True), Order(by=self.by)),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per bucket and value."""
        return page(rows)


class Sli(Record):
    """How many scores of a name were good, per time bucket, for spans (or traces, sessions) that fit the filters.

    Each score counts once, in its latest revision, in the bucket of the time it judges. `unknown` counts scores
    without a value; they are neither good nor in `total`.
    """

    name: ClassVar[str] = "sli"
    score: Annotated[str, Meta(description="The name of the score.")]
    on: Annotated[Literal["span", "trace", "session"], Meta(description="What the score judges.")] = "span"
    good: p.Good = 1.0
    since: p.Since = 0
    until: p.Until = FAR_NS
    width: p.Width = HOUR_NS
    model: p.ByModel = None
    service: p.ByService = None
    agent: p.ByAgent = None
    status: p.ByStatus = None

    def select(self) -> Select:
        """Plan the query: latest scores whose subject is among the fitting spans."""
        subject = {"span": "span_id", "trace": "trace_id", "session": "session"}[self.on]
        fitting = equal(model=self.model, service=self.service, agent=self.agent, status=self.status)
        # The judged span starts before the score's event, at most by the length of a session.
        spans = Select(
            table="spans",
            since_ns=max(0, self.since - DAY_NS),
            until_ns=min(FAR_NS, self.until + DAY_NS),
            columns=columns(subject),
            where=all_of(fitting, [Known(column=subject)]),
        )
        return Select(
            table="scores",
            since_ns=self.since,
            until_ns=self.until,
            latest_by=("score_id",),
            columns=(Bucket(name="event_ns", width_ns=self.width), *good_counts(self.good)),
            where=all_of(equal(name=self.score, subject_kind=self.on)),
            joins=(Join(kind="semi", select=spans, on=(("subject_id", subject),), large=True),) if fitting else (),
            group=("bucket",),
            order=(Order(by="bucket"),),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per bucket that has scores."""
        return page(rows)


def good_counts(good: float) -> tuple[Aggregate, ...]:
    """Good, bad, total and unknown among scores."""
    return (
        count("good", Compare(column="value", op=">=", value=good)),
        count("bad", Compare(column="value", op="<", value=good)),
        Aggregate(function="count", column="value", alias="total"),
        count("unknown", Known(column="value", known=False)),
    )


class Search(Record):
    """Spans whose preview, message or name contain some text, letter case aside, newest first."""

    name: ClassVar[str] = "previews"
    text: Annotated[str, Meta(min_length=1, description="The text to look for, as it is: % and _ mean themselves.")]
    since: p.Since = 0
    until: p.Until = FAR_NS
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=SPAN_COLUMNS,
            where=all_of(containing(self.text)),
            order=NEWEST,
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """Spans as plain values."""
        return page(rows)
