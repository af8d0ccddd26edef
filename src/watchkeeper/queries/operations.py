"""Questions about the house at work: key figures, decisions, steps of runs, models, drops and audits."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.explorer import DENIED, FAILED
from watchkeeper.queries.filters import CALL, CALLS, FIRST, all_of, columns, count, equal, every_column, page, total
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import Aggregate, Among, Bucket, Column, Compare, Known, Order, Predicate, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record
from watchkeeper.records.span import Operation

Verdict = Literal["allow", "amend", "deny", "hold", "retry"]


class Overview(Record):
    """Key figures of model calls: calls, errors, denied, tokens, cost, latency in nanoseconds; by bucket or at once.

    `unpriced` and `unmetered` count calls that were answered and whose cost or tokens are unknown: sums leave them out.
    """

    name: ClassVar[str] = "overview"
    since: p.Since = 0
    until: p.Until = FAR_NS
    model: p.ByModel = None
    service: p.ByService = None
    width: Annotated[int, Meta(ge=0, description="Width of a time bucket (1m, 1h); 0 is one row.", extra=p.LENGTH)] = 0

    def select(self) -> Select:
        """Plan the query."""
        answered = Compare(column="status", op="=", value="ok")
        bucket = (Bucket(name="start_ns", width_ns=self.width),) if self.width else ()
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                *bucket,
                count("calls"),
                count("errors", FAILED),
                count("denied", DENIED),
                count("open", Compare(column="status", op="=", value="open")),
                count("unpriced", all_of([answered, Known(column="cost_usd", known=False)])),
                count("unmetered", all_of([answered, Known(column="output_tokens", known=False)])),
                total("input_tokens"),
                total("output_tokens"),
                total("cost_usd"),
                Aggregate(function="quantile", column="duration_ns", alias="p50_ns", q=0.5),
                Aggregate(function="quantile", column="duration_ns", alias="p95_ns", q=0.95),
                Aggregate(function="distinct", column="trace_id", alias="traces"),
                Aggregate(function="distinct", column="session", alias="sessions"),
            ),
            where=all_of([CALL], equal(model=self.model, service=self.service)),
            group=("bucket",) if self.width else (),
            order=(Order(by="bucket"),) if self.width else (),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item, or one per bucket."""
        return page(rows)


class Models(Record):
    """The models that answered, with provider, calls, tokens, cost, and when they were first and last seen."""

    name: ClassVar[str] = "models"
    since: p.Since = 0
    until: p.Until = FAR_NS

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                *columns("model", "provider"),
                Aggregate(function="min", column="start_ns", alias="first_ns"),
                Aggregate(function="max", column="start_ns", alias="last_ns"),
                count("calls"),
                count("errors", FAILED),
                total("input_tokens"),
                total("output_tokens"),
                total("cost_usd"),
            ),
            where=all_of([CALL, Known(column="model")]),
            group=("model", "provider"),
            order=(Order(by="calls", descending=True), Order(by="model"), Order(by="provider")),
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per model and provider."""
        return page(rows)


class Decisions(Record):
    """What policies ruled, newest first, with the facts they read."""

    name: ClassVar[str] = "decisions"
    since: p.Since = 0
    until: p.Until = FAR_NS
    policy: Annotated[str | None, Meta(description="Only this policy.")] = None
    instance: Annotated[str | None, Meta(description="Only this configured instance of a policy.")] = None
    verdict: Annotated[Verdict | None, Meta(description="Only this ruling.")] = None
    mode: Annotated[Literal["shadow", "enforce"] | None, Meta(description="Only in this mode.")] = None
    reason: Annotated[str | None, Meta(description="Only with this reason code.")] = None
    trace_id: p.ByTrace = None
    span_id: p.BySpan = None
    session: p.BySession = None
    run: p.ByRun = None
    user: p.ByUser = None
    key: p.ByKey = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="decisions",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("decisions"),
            where=all_of(
                equal(
                    policy=self.policy,
                    instance=self.instance,
                    verdict=self.verdict,
                    mode=self.mode,
                    reason=self.reason,
                    trace_id=self.trace_id,
                    span_id=self.span_id,
                    session=self.session,
                    run=self.run,
                    user=self.user,
                    key=self.key,
                )
            ),
            order=(Order(by="at_ns", descending=True), Order(by="decision_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per decision."""
        return page(rows, "decisions")


class RunSteps(Record):
    """Tool calls of runs in time order, run by run, for backtests; with `calls`, the model calls and their cost too.

    Arguments and results are not in the index: `origin_*` name the journal frame that holds them.
    """

    name: ClassVar[str] = "run_steps"
    since: p.Since = 0
    until: p.Until = FAR_NS
    run: p.ByRun = None
    session: p.BySession = None
    agent: p.ByAgent = None
    calls: Annotated[bool, Meta(description="Also the model calls of the runs.")] = False
    limit: p.Limit = 100_000
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        wanted: tuple[str, ...] = (Operation.TOOL.value, *(CALLS if self.calls else ()))
        known: list[Predicate] = [Known(column="run"), Among(column="operation", values=wanted), FIRST]
        return Select(
            table="spans",
            since_ns=self.since,
            until_ns=self.until,
            columns=columns(
                "run", "agent", "session", "trace_id", "span_id", "start_ns", "end_ns", "operation", "tool",
                "tool_call_id", "status", "model", "input_tokens", "output_tokens", "cost_usd",
                "origin_writer", "origin_segment", "origin_offset", "origin_item",
            ),
            where=all_of(known, equal(run=self.run, session=self.session, agent=self.agent)),
            order=(Order(by="run"), Order(by="start_ns"), Order(by="span_id")),
            limit=self.limit,
            offset=self.cursor,
        )  # fmt: skip

    def answer(self, rows: Rows) -> Answer:
        """One item per step."""
        return page(rows)


class Drops(Record):
    """The drop ledger: what could not be kept, why, how many, and when first and last."""

    name: ClassVar[str] = "drops"
    since: p.Since = 0
    until: p.Until = FAR_NS
    limit: p.Limit = 1000

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="drops",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                *columns("what", "reason", "door"),
                total("count", where=None),
                Aggregate(function="min", column="first_ns", alias="first_ns"),
                Aggregate(function="max", column="last_ns", alias="last_ns"),
                Aggregate(function="max", column="detail", alias="detail"),
            ),
            group=("what", "reason", "door"),
            order=(Order(by="last_ns", descending=True), Order(by="what"), Order(by="reason"), Order(by="door")),
            limit=self.limit,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per kind of loss, reason and door; `detail` is one example."""
        return page(rows)


class Audits(Record):
    """Administrative acts, newest first."""

    name: ClassVar[str] = "audits"
    since: p.Since = 0
    until: p.Until = FAR_NS
    act: Annotated[str | None, Meta(description="Only this act, such as key.created.")] = None
    subject: Annotated[str | None, Meta(description="Only about this.")] = None
    actor: Annotated[str | None, Meta(description="Only by this actor, such as local or key:<id>.")] = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="audits",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("audits"),
            where=all_of(equal(act=self.act, subject=self.subject, actor=self.actor)),
            order=(Order(by="at_ns", descending=True), Order(by="audit_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per act."""
        return page(rows)


class Manifests(Record):
    """Compositions that were seen, newest first: the digest and the components of each."""

    name: ClassVar[str] = "manifests"
    since: p.Since = 0
    until: p.Until = FAR_NS
    digest: Annotated[str | None, Meta(description="Only this composition.")] = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query; a composition seen by several writers is one row."""
        return Select(
            table="manifests",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                Column(name="digest"),
                Aggregate(function="min", column="first_seen_ns", alias="first_seen_ns"),
                Aggregate(function="min", column="components", alias="components"),
            ),
            where=all_of(equal(digest=self.digest)),
            group=("digest",),
            order=(Order(by="first_seen_ns", descending=True), Order(by="digest")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per composition."""
        return page(rows, "manifests")
