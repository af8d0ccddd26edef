"""Questions about what answers rest on: the sources of a trace, the answers that rest on a document, the documents."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from watchkeeper.queries import parameters as p
from watchkeeper.queries.filters import all_of, columns, count, equal, every_column, page
from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import (
    Aggregate,
    Among,
    Column,
    Compare,
    Not,
    Or,
    Order,
    Predicate,
    Rows,
    Select,
)
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import Record
from watchkeeper.records.source import SIGHTED, Fate, Seen

SIGHTED_NOW = Among(column="seen", values=tuple(each.value for each in SIGHTED))
"""Holds for a source whose text was found in a recorded request."""

ENTERED = Or(any=(SIGHTED_NOW, Among(column="status", values=(Fate.ENTERED.value, Fate.TRUNCATED.value))))
"""Holds for a source that was in the context: found there, or said to have been."""

DOCUMENT = "document:"
"""What the subject of an act or a finding about a document begins with."""

WITHDRAWN = {
    "withdrawn": "document.withdrawn",
    "deletion": "document.deletion_asked",
    "consent": "document.consent_revoked",
}
"""Why a document is taken back, and the act that says so."""

ByDocument = Annotated[str | None, Meta(description="Only this document.")]
ByVersion = Annotated[str | None, Meta(description="Only this version of it.")]


class Sources(Record):
    """Chunks that were retrieved, by trace and rank, with what became of each and where it was found."""

    name: ClassVar[str] = "sources"
    since: p.Since = 0
    until: p.Until = FAR_NS
    trace_id: p.ByTrace = None
    span_id: p.BySpan = None
    document: ByDocument = None
    version: ByVersion = None
    index_version: Annotated[str | None, Meta(description="Only from this version of the index.")] = None
    status: Annotated[str | None, Meta(description="Only candidate, entered, truncated or dropped ones.")] = None
    reason: Annotated[str | None, Meta(description="Only what was dropped for this reason.")] = None
    seen: Annotated[str | None, Meta(description="Only exact, normalised, part, declared, textless ones ...")] = None
    entered: Annotated[bool | None, Meta(description="Only what was in the context, or only what was not.")] = None
    session: p.BySession = None
    user: p.ByUser = None
    limit: p.Limit = 1000
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        wanted: list[Predicate] = equal(
            trace_id=self.trace_id,
            span_id=self.span_id,
            document=self.document,
            version=self.version,
            index_version=self.index_version,
            status=self.status,
            reason=self.reason,
            seen=self.seen,
            session=self.session,
            user=self.user,
        )
        if self.entered is not None:
            wanted.append(ENTERED if self.entered else Not(inner=ENTERED))
        return Select(
            table="sources",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("sources"),
            where=all_of(wanted),
            order=(Order(by="at_ns"), Order(by="trace_id"), Order(by="rank"), Order(by="source_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per chunk."""
        return page(rows, "sources")


class RestedOn(Record):
    """The answers whose context held a document, one for each trace, newest first: retrieved alone does not count.

    `seen` counts the chunks whose text was found in the request, `declared` those that rest on the assembler's word.
    """

    name: ClassVar[str] = "rested_on"
    document: Annotated[str, Meta(description="The document.")]
    version: ByVersion = None
    since: p.Since = 0
    until: p.Until = FAR_NS
    session: p.BySession = None
    user: p.ByUser = None
    limit: p.Limit = 1000
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="sources",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                Column(name="trace_id"),
                Aggregate(function="min", column="at_ns", alias="at_ns"),
                count("chunks"),
                count("seen", SIGHTED_NOW),
                count("declared", Not(inner=SIGHTED_NOW)),
                *(Aggregate(function="first", column=each, alias=each, by="at_ns") for each in _WHOSE),
                Aggregate(function="distinct", column="version", alias="versions"),
                Aggregate(function="max", column="version", alias="version"),
            ),
            where=all_of(
                equal(document=self.document, version=self.version, session=self.session, user=self.user), [ENTERED]
            ),
            group=("trace_id",),
            order=(Order(by="at_ns", descending=True), Order(by="trace_id")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per answer."""
        return page(rows)


_WHOSE = ("tenant", "user", "session", "run", "agent", "span_id")


class Documents(Record):
    """Documents by version: how many answers they entered, how often they were retrieved, dropped, and when last."""

    name: ClassVar[str] = "documents"
    since: p.Since = 0
    until: p.Until = FAR_NS
    document: ByDocument = None
    version: ByVersion = None
    limit: p.Limit = 100
    cursor: p.Cursor = 0

    def select(self) -> Select:
        """Plan the query."""
        dropped = Compare(column="status", op="=", value=Fate.DROPPED.value)
        return Select(
            table="sources",
            since_ns=self.since,
            until_ns=self.until,
            columns=(
                Column(name="document"),
                Column(name="version"),
                Aggregate(function="distinct", column="trace_id", alias="answers", where=ENTERED),
                count("entered", ENTERED),
                count("seen", SIGHTED_NOW),
                count("dropped", dropped),
                count("retrieved"),
                Aggregate(function="distinct", column="digest", alias="texts"),
                Aggregate(function="min", column="at_ns", alias="first_ns"),
                Aggregate(function="max", column="at_ns", alias="last_ns"),
            ),
            where=all_of(equal(document=self.document, version=self.version)),
            group=("document", "version"),
            order=(Order(by="last_ns", descending=True), Order(by="document"), Order(by="version")),
            limit=self.limit,
            offset=self.cursor,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per document and version."""
        return page(rows)


class Unseen(Record):
    """Sources that nobody has looked for yet in the requests of their trace, oldest (or newest) first."""

    name: ClassVar[str] = "unseen"
    since: p.Since = 0
    until: p.Until = FAR_NS
    trace_id: p.ByTrace = None
    newest: Annotated[bool, Meta(description="The newest first.")] = False
    limit: p.Limit = 500

    def select(self) -> Select:
        """Plan the query; the record as a whole comes back."""
        return Select(
            table="sources",
            since_ns=self.since,
            until_ns=self.until,
            columns=columns("source_id", "at_ns"),
            where=all_of(equal(trace_id=self.trace_id, seen=Seen.PENDING.value)),
            order=(Order(by="at_ns", descending=self.newest), Order(by="source_id")),
            limit=self.limit,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per source."""
        return page(rows)


class Withdrawals(Record):
    """Documents that were withdrawn, newest first: the audited acts, each with its kind, version and reason."""

    name: ClassVar[str] = "withdrawals"
    documents: Annotated[tuple[str, ...], Meta(description="Only these documents, with commas between them.")] = ()
    since: p.Since = 0
    until: p.Until = FAR_NS
    limit: p.Limit = 1000

    def select(self) -> Select:
        """Plan the query."""
        subjects = tuple(f"{DOCUMENT}{each}" for each in self.documents)
        named: list[Predicate] = [Among(column="subject", values=subjects)] if subjects else []
        return Select(
            table="audits",
            since_ns=self.since,
            until_ns=self.until,
            columns=every_column("audits"),
            where=all_of([Among(column="act", values=tuple(WITHDRAWN.values()))], named),
            order=(Order(by="at_ns", descending=True), Order(by="audit_id")),
            limit=self.limit,
        )

    def answer(self, rows: Rows) -> Answer:
        """One item per act."""
        return page(rows)


class Sourced(Record):
    """How many answers have sources on record in a time range."""

    name: ClassVar[str] = "sourced"
    since: p.Since = 0
    until: p.Until = FAR_NS

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="sources",
            since_ns=self.since,
            until_ns=self.until,
            columns=(Aggregate(function="distinct", column="trace_id", alias="traces", where=ENTERED),),
        )

    def answer(self, rows: Rows) -> int:
        """The number."""
        return int(rows.rows[0][0] or 0) if rows.rows else 0  # type: ignore[call-overload]
