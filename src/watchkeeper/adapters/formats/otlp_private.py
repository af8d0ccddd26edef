"""Takes sensitive values out of OTLP exports: every text of the parsed message, wherever it stands, in place.

The export that is kept is then the message as it was written again; ids, times and numbers are as they came. Spans
and log records from which something was taken say so in an attribute. What a newer OTLP knows and this program does
not cannot be searched by field: where such a part still holds a sensitive value, it is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from watchkeeper.adapters.formats.otlp_wire import read_stamp, stamped
from watchkeeper.records.identity import Identity

REDACTED = "watchkeeper.redacted"
_PLAIN_FIELDS = frozenset({"trace_id", "span_id", "parent_span_id", "schema_url"})
_ATTRIBUTES = frozenset({"attributes"})
_METADATA = frozenset({"metadata"})
_RESULTS = frozenset({"attributes", "tool_results"})
_ARGUMENTS = frozenset({"attributes", "tool_arguments"})


class Redactor(Protocol):
    """What takes sensitive values out of one text or of bytes."""

    def text(
        self, text: str, places: frozenset[str] | None = None, tenant: str = "default"
    ) -> tuple[str, Counter[str]]:
        """A text without them, and by which rules."""
        ...

    def may_change(self, data: bytes) -> bool:
        """Whether there may be any in some bytes."""
        ...


class Records(Protocol):
    """What takes sensitive values out of attributes, by name, and out of identities."""

    def attribute(
        self, name: str, value: Any, tenant: str, by: Counter[str], places: frozenset[str] | None = ...
    ) -> Any:
        """The value of an attribute without them."""
        ...

    def identity(self, identity: Identity) -> Identity:
        """An identity whose names are tokens where a rule is about them."""
        ...


class _Pass:
    """One export on its way through."""

    def __init__(self, redactor: Redactor, records: Records, tenant: str) -> None:
        self.redactor, self.records, self.tenant = redactor, records, tenant
        self.by: Counter[str] = Counter()

    def message(self, message: Any, marked: frozenset[str]) -> None:
        """Walk a message; items of the types in `marked` get an attribute that says what was taken from them."""
        if message.DESCRIPTOR.name == "KeyValue":
            self._pair(message)
            return
        before = self.by.copy()
        for field, value in list(message.ListFields()):
            self._field(message, field, value, marked)
        taken = self.by - before
        if taken and message.DESCRIPTOR.name in marked:
            message.attributes.add(key=REDACTED).value.string_value = ", ".join(sorted(taken))

    def _field(self, message: Any, field: Any, value: Any, marked: frozenset[str]) -> None:
        if field.type == field.TYPE_MESSAGE:
            for each in value if _repeated(field) else (value,):
                self.message(each, marked)
        elif field.name in _PLAIN_FIELDS:
            return
        elif field.type == field.TYPE_STRING:
            if _repeated(field):
                for place, each in enumerate(value):
                    value[place] = self._said(each)
            else:
                said = self._said(value)
                if said != value:
                    setattr(message, field.name, said)
        elif field.type == field.TYPE_BYTES and not _repeated(field):
            said_bytes = self._bytes(value)
            if said_bytes is not value:
                setattr(message, field.name, said_bytes)

    def _said(self, text: str) -> str:
        said, found = self.redactor.text(text, _METADATA, self.tenant)
        self.by.update(found)
        return said

    def _bytes(self, value: bytes) -> bytes:
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return value
        said = self._said(text)
        return value if said == text else said.encode()

    def _pair(self, pair: Any) -> None:
        """A named value: the name counts for rules about fields, and says whether it is a tool's."""
        pair.key = self._said(pair.key) if self.redactor.may_change(pair.key.encode()) else pair.key
        self._value(pair.key, pair.value, _places_of(pair.key))

    def _value(self, name: str, value: Any, places: frozenset[str]) -> None:
        which = value.WhichOneof("value")
        if which == "string_value":
            said = self.records.attribute(name, value.string_value, self.tenant, self.by, places)
            value.string_value = str(said or "")
        elif which in ("int_value", "double_value", "bool_value"):
            plain = getattr(value, which)
            said = self.records.attribute(name, plain, self.tenant, self.by, places)
            if said is not plain:
                value.string_value = str(said or "")
        elif which == "array_value":
            for each in value.array_value.values:
                self._value(name, each, places)
        elif which == "kvlist_value":
            for each in value.kvlist_value.values:
                self._value(f"{name}.{each.key}", each.value, places)
        elif which == "bytes_value":
            value.bytes_value = self._bytes(value.bytes_value)


def _repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)
    return bool(repeated) if isinstance(repeated, bool) else field.label == field.LABEL_REPEATED


def _places_of(name: str) -> frozenset[str]:
    if "tool" in name and name.endswith((".result", "result", "output.value")):
        return _RESULTS
    if "tool" in name and "arguments" in name:
        return _ARGUMENTS
    return _ATTRIBUTES


def redact_export(
    message_type: Callable[[], Any],
    marked: frozenset[str],
    payload: bytes,
    redactor: Redactor,
    records: Records,
) -> tuple[bytes, Counter[str]]:
    """An export without sensitive values, its stamp in front, and by which rules; raises `ValueError` for no export."""
    stamp = read_stamp(payload)
    plain = payload if stamp is None else _behind_stamp(payload)
    message = message_type().FromString(plain)
    tenant = "default" if stamp is None else stamp.identity.tenant
    work = _Pass(redactor, records, tenant)
    work.message(message, marked)
    data: bytes = message.SerializeToString() if work.by else plain
    if redactor.may_change(data) and redactor.text(data.decode("latin-1"), None, tenant)[1]:
        message.DiscardUnknownFields()
        known: bytes = message.SerializeToString()
        if len(known) < len(data):
            work.by["unknown_fields"] += 1
            data = known
    if stamp is not None:
        identity = records.identity(stamp.identity)
        data = stamped(data, type(stamp)(received_ns=stamp.received_ns, door=stamp.door, identity=identity))
    return data, work.by


def _behind_stamp(payload: bytes) -> bytes:
    """An export without the stamp in front of it."""
    at, size = 0, 0
    while payload[at] & 0x80:
        at += 1
    at += 1
    shift = 0
    while True:
        byte = payload[at]
        size |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return payload[at + size :]


def _traces_type() -> Any:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return ExportTraceServiceRequest


def _logs_type() -> Any:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    return ExportLogsServiceRequest


EXPORTS: Mapping[str, Callable[[bytes, Any, Any], tuple[bytes, Counter[str]]]] = {
    "traces": partial(redact_export, _traces_type, frozenset({"Span"})),
    "logs": partial(redact_export, _logs_type, frozenset({"LogRecord"})),
}
"""How each signal's exports are searched: (payload, redactor, records) gives the payload and counts by rule."""
