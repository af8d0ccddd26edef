"""Who a call belongs to: the key's binding, then headers, baggage and the body, each field with its source."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

import msgspec

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.records.identity import Identity, Source
from watchkeeper.records.ids import is_span_id, is_trace_id, new_trace_id

Headers = Mapping[bytes, bytes]
"""Header values by lower-case name, as ASGI gives them."""

LONGEST = 200
_MOST_BAGGAGE_BYTES = 8192
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?\Z")
_text = msgspec.json.Decoder(str)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])

_HEADERS = {
    "session": b"x-watchkeeper-session",
    "run": b"x-watchkeeper-run",
    "user": b"x-watchkeeper-user",
    "agent": b"x-watchkeeper-agent",
}
_BAGGAGE = {
    "session": ("watchkeeper.session", "session.id", "gen_ai.conversation.id"),
    "run": ("watchkeeper.run", "run.id"),
    "user": ("watchkeeper.user", "user.id", "enduser.id"),
    "agent": ("watchkeeper.agent", "gen_ai.agent.name", "gen_ai.agent.id"),
}
_METADATA = {
    "session": ("session_id", "session", "conversation_id"),
    "run": ("run_id", "run"),
    "user": ("user_id", "user"),
    "agent": ("agent", "agent_name", "agent_id"),
}
_BODY_USER = ("user", "safety_identifier")


class Trace(NamedTuple):
    """The trace a call joins: its id, the caller's span if there is one, and the caller's flags."""

    trace_id: str
    parent_id: str | None
    flags: str


def resolve(headers: Headers, key: Key | None, fields: Mapping[str, msgspec.Raw]) -> Identity:
    """The identity of a call. `fields` are the body's top-level fields (empty for bodies that are not read).

    A tenant comes from the key alone. A header that is too long or not printable raises a 400; a value of baggage
    or body that cannot be an identity is passed over, for those were not addressed to Watchkeeper.
    """
    found: dict[str, str] = {}
    sources: dict[str, str] = {}
    if key is not None:
        sources["key"] = Source.KEY
        sources["tenant"] = Source.KEY
        if key.user is not None:
            found["user"], sources["user"] = key.user, Source.KEY
        if key.team is not None:
            sources["team"] = Source.KEY
    for name, header in _HEADERS.items():
        if name not in found and header in headers:
            value = _from_header(header, headers[header])
            if value is not None:
                found[name], sources[name] = value, Source.HEADER
    if b"baggage" in headers:
        _add(found, sources, _from_baggage(headers[b"baggage"]), Source.BAGGAGE)
    if "metadata" in fields or "user" in fields or "safety_identifier" in fields or "conversation" in fields:
        _add(found, sources, _from_body(fields), Source.BODY)
    return Identity(
        tenant=key.tenant if key is not None else "default",
        key=None if key is None else key.key_id,
        user=found.get("user"),
        session=found.get("session"),
        run=found.get("run"),
        agent=found.get("agent"),
        sources=sources,
        team=None if key is None else key.team,
    )


def _add(found: dict[str, str], sources: dict[str, str], values: Mapping[str, str], source: Source) -> None:
    for name, value in values.items():
        if name not in found:
            found[name], sources[name] = value, source


def _from_header(header: bytes, raw: bytes) -> str | None:
    value = _readable(raw)
    if value is None:
        raise Refusal(
            400,
            "invalid_identity",
            f"The header {header.decode()} should hold at most {LONGEST} printable characters; "
            f"it has {len(raw)} bytes. Send a shorter name.",
            param=header.decode(),
        )
    return value or None


def _readable(raw: bytes) -> str | None:
    try:
        value = raw.decode().strip()
    except UnicodeDecodeError:
        return None
    return value if len(value) <= LONGEST and value.isprintable() else None


def _from_baggage(raw: bytes) -> dict[str, str]:
    """The identity fields of a W3C baggage header; members that cannot be read are passed over."""
    if len(raw) > _MOST_BAGGAGE_BYTES:
        return {}
    members: dict[str, str] = {}
    for member in raw.decode("latin-1").split(","):
        name, _, rest = member.partition("=")
        value = _readable(unquote(rest.partition(";")[0]).encode("utf-8", "replace"))
        if value:
            members.setdefault(name.strip(), value)
    return {field: members[name] for field, names in _BAGGAGE.items() for name in reversed(names) if name in members}


def _from_body(fields: Mapping[str, msgspec.Raw]) -> dict[str, str]:
    values: dict[str, str] = {}
    conversation = fields.get("conversation")
    if conversation is not None and bytes(conversation)[:1] == b"{":
        conversation = _object_of(conversation).get("id")
    _take(values, "session", conversation)
    for name in reversed(_BODY_USER):
        _take(values, "user", fields.get(name))
    metadata = _object_of(fields["metadata"]) if "metadata" in fields else {}
    for field, names in _METADATA.items():
        for name in reversed(names):
            _take(values, field, metadata.get(name))
    return values


def _object_of(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    try:
        return _object.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def _take(values: dict[str, str], field: str, raw: msgspec.Raw | None) -> None:
    if raw is None:
        return
    try:
        value = _text.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return
    if value and len(value) <= LONGEST and value.isprintable():
        values[field] = value


def join_trace(headers: Headers) -> Trace:
    """The caller's trace from `traceparent`, or a new one where there is none that is valid."""
    raw = headers.get(b"traceparent")
    if raw is not None and len(raw) <= LONGEST:
        match = _TRACEPARENT.match(raw.decode("latin-1").strip())
        if match is not None:
            version, trace_id, span_id, flags, rest = match.groups()
            valid = is_trace_id(trace_id) and is_span_id(span_id) and version != "ff"
            if valid and (rest is None or version != "00"):
                return Trace(trace_id, span_id, flags)
    return Trace(new_trace_id(), None, "01")
