"""Takes sensitive values out of records: their free texts by every rule, their names by tokens, their ids with care."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, TypeVar

import msgspec

from watchkeeper.engines.recorder.literals import ROOT, Node
from watchkeeper.engines.recorder.redaction import NOTHING_TAKEN, Redactor
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, pack
from watchkeeper.records.span import Span

R = TypeVar("R", bound=Record)

REDACTED = "watchkeeper.redacted"
"""The attribute of a span that says by which rules values were taken out of it and its payloads."""

_OURS = frozenset({"origin", "bodies", "content", "verdict", "mode", "stage"})
_OF_IDENTITIES = frozenset({"sources", "tenant", "key"})
_HEX_IDS = frozenset({"trace_id", "span_id", "parent_id", "manifest", "digest", "parameters", "duplicate_of"})
_HEX = re.compile(r"[0-9a-f:]{16,65}\Z")
_NAMES = frozenset(
    {
        "user", "session", "run", "agent", "subject_id", "session_id", "conversation_id", "user_id", "thread_id",
        "run_id", "user.id", "enduser.id", "session.id", "gen_ai.conversation.id", "watchkeeper.user",
        "watchkeeper.session", "watchkeeper.run", "watchkeeper.agent", "enduser.pseudo.id",
    }
)  # fmt: skip
_LONG_NUMBER = 10**11
_MOST_SAID = 4096
_ATTRIBUTES = frozenset({"attributes"})
_METADATA = frozenset({"metadata"})


class PrivateRecords:
    """Applies a redactor to records and identities. Thread-safe."""

    def __init__(self, redactor: Redactor) -> None:
        self._all, self._ids, self._names = redactor, redactor.for_ids(), redactor.for_names()
        self._said: dict[tuple[str, str, str], str] = {}

    def identity(self, identity: Identity) -> Identity:
        """Whom something belongs to, with names that a rule is about as tokens: equal names stay equal."""
        if not self._all.rules:
            return identity
        new = {}
        for field in ("user", "session", "run", "agent"):
            value = getattr(identity, field)
            if value is not None:
                said = self._name(field, value, identity.tenant)
                if said != value:
                    new[field] = said
        return msgspec.structs.replace(identity, **new) if new else identity

    def _name(self, field: str, value: str, tenant: str) -> str:
        """A name of an identity as it is kept; the last few thousand are remembered, for they come again and again."""
        known = self._said.get((field, value, tenant))
        if known is None:
            known, _ = self._names.text(value, _METADATA, tenant, Node(ROOT, field, {}))
            if len(self._said) >= _MOST_SAID:
                self._said.clear()
            self._said[field, value, tenant] = known
        return known

    def record(self, record: R) -> tuple[R, Counter[str]]:
        """A record without what the rules take out, and by which rules; a span says so in its attributes."""
        by = NOTHING_TAKEN
        if self._all.rules and self._all.may_change(pack(_searched(record))):
            by = Counter()
            record = self._struct(record, _tenant_of(record), by)
        if isinstance(record, Span) and (by or any(body.redactions for body in record.bodies)):
            names = {*by, *(name for body in record.bodies for name in body.redacted_by)}
            if names:
                attributes = record.attributes | {REDACTED: ", ".join(sorted(names))}
                record = msgspec.structs.replace(record, attributes=attributes)
        return record, by

    def attribute(
        self, name: str, value: Any, tenant: str, by: Counter[str], places: frozenset[str] | None = _ATTRIBUTES
    ) -> Any:
        """The value of an attribute or field without what the rules take out."""
        node = Node(ROOT, name, {})
        if isinstance(value, bool) or value is None or value == "":
            return value
        if isinstance(value, str):
            redactor = self._names if name in _NAMES else self._all
            said, found = redactor.text(value, places, tenant, node)
            by.update(found)
            return said
        if (rule := self._all.named(node, places)) is not None:
            by[rule.name] += 1
            return rule.instead(str(value), self._all.tenant_key(tenant)) or None
        if isinstance(value, int) and abs(value) >= _LONG_NUMBER:
            said, found = self._all.text(str(value), places, tenant)
            by.update(found)
            return said if found else value
        return value

    def _struct(self, record: Any, tenant: str, by: Counter[str]) -> Any:
        new = {}
        for field in record.__struct_fields__:
            if field in _OURS or (field in _OF_IDENTITIES and isinstance(record, Identity)):
                continue
            value = getattr(record, field)
            said = self._field(field, value, tenant, by)
            if said is not value:
                new[field] = said
        return msgspec.structs.replace(record, **new) if new else record

    def _field(self, field: str, value: Any, tenant: str, by: Counter[str]) -> Any:
        if isinstance(value, str):
            return self._text(field, value, tenant, by)
        if isinstance(value, bytes):
            done = self._all.redact(value, tenant=tenant)
            by.update(done.by)
            return done.data if done.total else value
        if isinstance(value, msgspec.Struct):
            return self._struct(value, tenant, by)
        if isinstance(value, dict):
            said = {
                self._text("", key, tenant, by): self.attribute(key, each, tenant, by) for key, each in value.items()
            }
            return value if said == value else said
        if isinstance(value, tuple | list) and value:
            items = [self._field(field, each, tenant, by) for each in value]
            return type(value)(items) if any(new is not old for new, old in zip(items, value, strict=True)) else value
        return value

    def _text(self, field: str, value: str, tenant: str, by: Counter[str]) -> str:
        if field in _HEX_IDS and _HEX.match(value):
            return value
        places = None if field in ("preview", "message", "explanation", "detail") else _METADATA
        redactor = self._all
        if field in _NAMES:
            redactor = self._names
        elif field.endswith("_id") or field in _HEX_IDS:
            redactor = self._ids
        said, found = redactor.text(value, places, tenant, Node(ROOT, field, {}))
        by.update(found)
        return said if found else value


def _searched(record: Record) -> Record:
    """A record less what is never changed in it: a span's payloads and its ids, whose digits look like credentials."""
    if not isinstance(record, Span):
        return record
    blank: dict[str, Any] = {"bodies": ()}
    for name in ("trace_id", "span_id", "parent_id", "manifest"):
        value = getattr(record, name)
        if value is not None and _HEX.match(value):
            blank[name] = ""
    return msgspec.structs.replace(record, **blank)


def _tenant_of(record: Record) -> str:
    identity = getattr(record, "identity", None)
    if isinstance(identity, Identity):
        return identity.tenant
    attributes = getattr(record, "attributes", None)
    told = attributes.get("watchkeeper.tenant") if isinstance(attributes, dict) else None
    return told if isinstance(told, str) else "default"
