"""Says which records belong to whom, and what is left of a record when its content and its person are taken out."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Any

import msgspec

from watchkeeper.records.case import Case
from watchkeeper.records.decision import Decision
from watchkeeper.records.effect import Effect
from watchkeeper.records.identity import Identity
from watchkeeper.records.job import Job
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session
from watchkeeper.records.source import Source
from watchkeeper.records.span import Span

GONE = "(erased)"
_CODE = re.compile(r"[a-z][a-z_-]{0,23}")
"""A label of this form is a category; anything else may be somebody's words."""


Aliases = Callable[[str, str], frozenset[str]]
"""What may stand for a user's name in the record, given the tenant and the name."""


class Whose(Record):
    """What is to be erased: all of a user (of one tenant, or of all), a session, a trace, or a key. Exactly one."""

    user: str | None = None
    tenant: str | None = None
    session: str | None = None
    trace: str | None = None
    key: str | None = None

    def problem(self) -> str | None:
        """Why this names nothing, or too much; None when it is right."""
        named = [name for name in ("user", "session", "trace", "key") if getattr(self, name)]
        if len(named) != 1:
            return f"name exactly one of user, session, trace and key; {' and '.join(named) or 'none'} was named."
        if self.tenant is not None and self.user is None:
            return "a tenant narrows down a user; name the user too."
        return None

    @property
    def scope(self) -> str:
        """What kind of thing is erased, without naming it."""
        return next(name for name in ("user", "session", "trace", "key") if getattr(self, name))


class Circle:
    """What belongs to somebody: their own records, and the work around them that names nobody else."""

    def __init__(self, whose: Whose, aliases: Aliases | None = None) -> None:
        """`aliases` says what stands for a tenant's user where a token or pseudonym was put in place of the name."""
        self.whose, self._aliases = whose, aliases
        self._known: dict[str, frozenset[str]] = {}
        self.names: set[str] = {whose.user} if whose.user else set()
        self.traces: set[str] = {whose.trace} if whose.trace else set()
        self.sessions: set[str] = {whose.session} if whose.session else set()
        self.spans: set[str] = set()
        self.owners: set[str] = set()
        if whose.user and whose.tenant:
            self.owners.add(Identity(tenant=whose.tenant, user=whose.user).owner)

    @cached_property
    def mark(self) -> bytes:
        """Bytes that stand in every frame with somebody's own spans; empty where no bytes are sure to."""
        if self._aliases is not None and self.whose.user is not None:
            return b""
        named = self.whose.user or self.whose.session or self.whose.key or ""
        return named.encode() if named.isascii() and not set(named) & set('"\\/') else b""

    def own(self, identity: Identity, trace_id: str | None = None) -> bool:
        """Whether an identity is the one meant."""
        whose = self.whose
        if whose.user is not None:
            return self._meant(identity.user, identity.tenant) and whose.tenant in (None, identity.tenant)
        if whose.session is not None:
            return identity.session == whose.session
        if whose.key is not None:
            return identity.key == whose.key
        return trace_id == whose.trace

    def _meant(self, user: str | None, tenant: str) -> bool:
        """Whether a name is the user's own, or one that stands for it."""
        if user is None or user == self.whose.user:
            return user is not None
        if self._aliases is None or self.whose.user is None:
            return False
        if tenant not in self._known:
            self._known[tenant] = self._aliases(tenant, self.whose.user)
        if user not in self._known[tenant]:
            return False
        self.names.add(user)
        return True

    def widen(self, span: Span) -> None:
        """Learn from a span that is somebody's own which traces and sessions are."""
        if not self.own(span.identity, span.trace_id):
            return
        self.traces.add(span.trace_id)
        self.spans.add(span.span_id)
        if self.whose.user is not None:
            self.owners.add(span.identity.owner)
            self.owners.add(Identity(tenant=span.identity.tenant, user=self.whose.user).owner)
        if self.whose.user is not None and span.identity.session:
            self.sessions.add(span.identity.session)

    def holds(self, record: Any) -> bool:
        """Whether a record belongs here: it says so itself, or it is about a trace or session that does."""
        identity = getattr(record, "identity", None)
        trace_id = getattr(record, "trace_id", None)
        if isinstance(identity, Identity):
            if self.own(identity, trace_id):
                return True
            if self._anothers(identity):
                return False
            return trace_id in self.traces or (identity.session is not None and identity.session in self.sessions)
        if isinstance(record, Score):
            return (
                trace_id in self.traces
                or record.session in self.sessions
                or record.subject_id in self.traces
                or record.subject_id in self.sessions
                or record.subject_id in self.spans
                or (record.subject_kind == "user" and record.subject_id in self.names)
            )
        if isinstance(record, Session):
            return record.session_id in self.sessions or record.user in self.names
        if isinstance(record, Case):
            return record.attributes.get("trace_id") in self.traces or record.case_id.rpartition("/")[2] in self.traces
        return False

    def _anothers(self, identity: Identity) -> bool:
        whose = self.whose
        if whose.user is not None:
            return identity.user is not None or (whose.tenant is not None and identity.tenant != whose.tenant)
        return whose.session is not None and identity.session is not None


def redacted(record: Record, pseudonym: str) -> Record | None:
    """What may stay of a record: ids, times, counts, cost. None where nothing has to."""
    take_out = _REDACTIONS.get(type(record))
    left: Record | None = None if take_out is None else take_out(record, pseudonym)
    return left


def renamed(record: Record, name: re.Pattern[str], pseudonym: str) -> Record | None:
    """A record of the house (an incident, a finding) with a name that it mentions replaced; None when it has none."""
    plain = msgspec.to_builtins(record)
    changed = _replace(plain, name, pseudonym)
    return None if changed == plain else msgspec.convert(changed, type(record))


def word(name: str) -> re.Pattern[str]:
    """The pattern of a name that stands by itself."""
    return re.compile(rf"(?<![\w@.-]){re.escape(name)}(?![\w@-])")


def _replace(value: Any, name: re.Pattern[str], pseudonym: str) -> Any:
    if isinstance(value, str):
        return name.sub(pseudonym, value)
    if isinstance(value, dict):
        return {_replace(k, name, pseudonym): _replace(v, name, pseudonym) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_replace(each, name, pseudonym) for each in value)
    return value


def nobody(identity: Identity, pseudonym: str) -> Identity:
    """An identity with the pseudonym in place of the user."""
    return msgspec.structs.replace(identity, user=None if identity.user is None else pseudonym)


def _span(record: Any, pseudonym: str) -> Any:
    named = record.name if record.door == "gateway" else f"{record.operation} {record.model or ''}".strip()
    return msgspec.structs.replace(
        record,
        name=named,
        message=None,
        identity=nobody(record.identity, pseudonym),
        tool_call_id=None,
        attributes={"watchkeeper.erased": True},
        events=(),
        preview="",
        bodies=(),
        revision=record.revision + 1,
    )


def _decision(record: Any, pseudonym: str) -> Any:
    identity = nobody(record.identity, pseudonym)
    return msgspec.structs.replace(record, sentence=GONE, amendment=None, facts={}, identity=identity)


def _effect(record: Any, pseudonym: str) -> Any:
    identity = nobody(record.identity, pseudonym)
    return msgspec.structs.replace(record, key=GONE, target=None, detail=None, receipt=None, identity=identity)


def _job(record: Any, pseudonym: str) -> Any:
    identity = nobody(record.identity, pseudonym)
    checks = tuple(msgspec.structs.replace(each, explanation="", label=None) for each in record.checks)
    return msgspec.structs.replace(
        record, kind="job", message=None, checks=checks, bodies=(), identity=identity, revision=record.revision + 1
    )


def _source(record: Any, pseudonym: str) -> Any:
    identity = nobody(record.identity, pseudonym)
    return msgspec.structs.replace(record, query=None, content=None, reason=None, identity=identity)


def _score(record: Any, pseudonym: str) -> Any:
    label = record.label if record.label and _CODE.fullmatch(record.label) else None
    subject = pseudonym if record.subject_kind == "user" else record.subject_id
    return msgspec.structs.replace(record, explanation=None, label=label, attributes={}, subject_id=subject)


def _session(record: Any, pseudonym: str) -> Any:
    return msgspec.structs.replace(record, user=pseudonym, name=None)


def _case(record: Any, pseudonym: str) -> Any:
    attributes = {"trace_id": record.attributes.get("trace_id"), "erased": pseudonym}
    return msgspec.structs.replace(record, messages="[]", expected=None, attributes=attributes)


_REDACTIONS: dict[type[Record], Callable[[Any, str], Any]] = {
    Span: _span,
    Decision: _decision,
    Effect: _effect,
    Job: _job,
    Source: _source,
    Score: _score,
    Session: _session,
    Case: _case,
}
