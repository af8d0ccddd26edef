"""Reads OTLP trace exports: checks them at the door, and builds spans from the same bytes in the index and on the page.

The export request's protobuf bytes are the record; spans are a view of them that is computed twice, always
alike. A span of an export is named by its item: its place among all spans of the request, counted from 0,
rejected ones included.

Limits: links are counted and not followed; the attribute map holds scalars (lists as JSON text) up to 256 characters
and 128 entries, and no message content: the rest is in the frame and on the span's page.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from watchkeeper.adapters.formats.conversation import Conversation
from watchkeeper.adapters.formats.messages import messages, preview_of
from watchkeeper.adapters.formats.otlp_attributes import (
    LONGEST_VALUE,
    Sorted,
    any_value,
    read_attributes,
    read_messages,
)
from watchkeeper.adapters.formats.otlp_wire import MalformedExport, Stamp, parse, parse_coarsely, read_stamp
from watchkeeper.adapters.formats.semconv import (
    PREVIEW,
    finish_reasons_of,
    identity_of,
    operation_of,
    provider_of,
    response_id_in,
    tool_of,
    usage_for,
)
from watchkeeper.records.drop import Drop
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, Scalar, as_json
from watchkeeper.records.span import NOWHERE, Cost, Happening, Origin, Span, Status

__all__ = ["Checked", "Decoded", "MalformedExport", "Rejection", "check", "decode", "records_of", "span_at", "span_of"]

MOST_EVENTS = 1_000
LONGEST_MESSAGE = 1_000
LONGEST_PREVIEW = 1_000
AHEAD_NS = 10 * 60 * 1_000_000_000
# 2010-01-01: no such span was made before it; a clock that was never set says 1970.
EARLIEST_NS = 1_262_304_000_000_000_000
_LATEST_NS = (1 << 63) - 1
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)
_CLIENT = 3
_RESOURCE_KEPT = ("service.version", "service.namespace", "deployment.environment.name", "deployment.environment")
_STATUS = {0: Status.UNSET.value, 1: Status.OK.value, 2: Status.ERROR.value}
_OPEN, _UNSET, _DENIED = Status.OPEN.value, Status.UNSET.value, Status.DENIED.value


class Checked(NamedTuple):
    """What the door learns of an export: how many spans it has, how many of them are refused, and why."""

    spans: int
    rejected: int
    reasons: dict[str, int]


class Rejection(Record):
    """One span that cannot be kept as a span: its item and a reason code; its bytes stay in the frame."""

    index: int
    reason: str


class Decoded(NamedTuple):
    """The spans of an export and the items that are none."""

    spans: list[Span]
    rejections: list[Rejection]


def check(payload: bytes) -> Checked:
    """Count the spans of an export and those that would be rejected; raises `MalformedExport` when it is no export."""
    total = 0
    reasons: Counter[str] = Counter()
    seen: set[bytes] = set()
    for resource_spans in parse(payload).resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                total += 1
                if reason := _wrong(span, seen):
                    reasons[reason] += 1
    return Checked(total, sum(reasons.values()), dict(reasons))


def decode(payload: bytes, received_ns: int = 0, origin: Origin = NOWHERE) -> Decoded:
    """Build the spans of an export; raises `MalformedExport` when it is no export.

    `received_ns` is when it came in (0: unknown); a stamp within the payload says it better. Spans carry their
    fields, attributes and preview; their events and content are read from the frame by `span_of` and `span_at`.
    """
    stamp = read_stamp(payload) or Stamp(received_ns=received_ns)
    try:
        return _decoded(parse_coarsely(payload), stamp, origin, read_attributes)
    except (MalformedExport, UnicodeDecodeError):  # what protobuf says of the whole counts
        return _decoded(parse(payload), stamp, origin, read_messages)


def _decoded(request: Any, stamp: Stamp, origin: Origin, read: Callable[[Any, dict[str, Scalar]], Sorted]) -> Decoded:
    spans: list[Span] = []
    rejections: list[Rejection] = []
    seen: set[bytes] = set()
    writer, segment, offset = origin.writer, origin.segment, origin.offset
    for item, (span, shared) in enumerate(_walk(request)):
        if reason := _wrong(span, seen):
            rejections.append(Rejection(index=item, reason=reason))
        else:
            here = Origin(writer=writer, segment=segment, offset=offset, item=item)
            kept = dict(shared.kept)
            spans.append(_span(span, shared, stamp, here, (kept, *read(span.attributes, kept))))
    return Decoded(spans, rejections)


def records_of(payload: bytes, origin: Origin, received_ns: int) -> tuple[Record, ...]:
    """What the ingester indexes of an export's frame: its spans, and one drop for each reason of rejection.

    What an exporter says that it left out itself (`dropped_attributes_count` and its like) is a drop too.
    """
    spans, rejections = decode(payload, received_ns, origin)
    drops = [
        Drop(what="span", reason=reason, count=count, first_ns=received_ns, last_ns=received_ns, door="otlp")
        for reason, count in sorted(Counter(each.reason for each in rejections).items())
    ]
    for what in ("attributes", "events", "links"):
        left_out = sum(int(span.attributes.get(f"otel.dropped_{what}_count") or 0) for span in spans)
        if left_out:
            reason, at_ns = "left_out_by_exporter", received_ns
            drops.append(Drop(what=what, reason=reason, count=left_out, first_ns=at_ns, last_ns=at_ns, door="otlp"))
    return (*spans, *drops)


def span_of(payload: bytes, origin: Origin) -> Span:
    """The span that is item `origin.item` of an export, with its events; raises `MalformedExport` where none is."""
    span, shared = _item(payload, origin.item)
    if reason := _wrong(span, set()):
        raise MalformedExport(
            f"Item {origin.item} of this export was rejected ({reason}), so there is no span to show."
        )
    stamp = read_stamp(payload) or Stamp()
    kept = dict(shared.kept)
    told = (kept, *read_messages(span.attributes, kept))
    return _span(span, shared, stamp, origin, told, tuple(_happenings(span)))


def span_at(payload: bytes, item: int) -> tuple[dict[str, Any], tuple[Happening, ...], Conversation]:
    """Everything an export says of one span: all attributes whole, the events, and the conversation.

    The attributes include the resource's (as "resource.<name>"), the scope's and the links ("otel.links").
    """
    span, shared = _item(payload, item)
    attributes: dict[str, Any] = {kv.key: any_value(kv.value) for kv in span.attributes}
    attributes |= {f"resource.{kv.key}": any_value(kv.value) for kv in shared.resource.attributes}
    if shared.scope:
        attributes["otel.scope.name"] = shared.scope
    if span.links:
        attributes["otel.links"] = [f"{link.trace_id.hex()}:{link.span_id.hex()}" for link in span.links]
    events = [
        {"event.name": event.name} | {kv.key: any_value(kv.value) for kv in event.attributes} for event in span.events
    ]
    return attributes, tuple(_happenings(span)), messages(attributes, events)


class _Shared(NamedTuple):
    """What the spans of one scope have in common."""

    service: str | None
    kept: dict[str, Scalar]
    scope: str
    resource: Any
    known: dict[Any, Identity]


def _walk(request: Any) -> Iterator[tuple[Any, _Shared]]:
    known: dict[Any, Identity] = {}
    for resource_spans in request.resource_spans:
        named = {kv.key: any_value(kv.value) for kv in resource_spans.resource.attributes}
        service = named.get("service.name")
        kept: dict[str, Scalar] = {
            key: named[key][:LONGEST_VALUE] for key in _RESOURCE_KEPT if isinstance(named.get(key), str)
        }
        for scope_spans in resource_spans.scope_spans:
            scope = str(scope_spans.scope.name)[:LONGEST_VALUE]
            common = kept | {"otel.scope.name": scope} if scope else kept
            named_service = str(service)[:LONGEST_VALUE] if service else None
            shared = _Shared(named_service, common, scope, resource_spans.resource, known)
            for span in scope_spans.spans:
                yield span, shared


def _item(payload: bytes, item: int) -> tuple[Any, _Shared]:
    for index, found in enumerate(_walk(parse(payload))):
        if index == item:
            return found
    raise MalformedExport(f"The frame holds no span number {item}; its index entry does not belong to it.")


def _wrong(span: Any, seen: set[bytes]) -> str | None:
    """Why a span cannot be kept, or None; remembers the spans it passed."""
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != 16 or trace_id == _NO_TRACE:
        return "invalid_trace_id"
    if len(span_id) != 8 or span_id == _NO_SPAN:
        return "invalid_span_id"
    start_ns = span.start_time_unix_nano
    if not 0 < start_ns <= _LATEST_NS:
        return "start_time_missing" if start_ns == 0 else "start_time_out_of_range"
    known = len(seen)
    seen.add(trace_id + span_id)
    return "duplicate_span_id" if len(seen) == known else None


_Told = tuple[dict[str, Scalar], dict[str, Any], dict[str, Any]]
"""What the attributes of a span say: the map, the fields, the content."""


def _span(
    span: Any, shared: _Shared, stamp: Stamp, origin: Origin, told: _Told, events: tuple[Happening, ...] = ()
) -> Span:
    kept, fields, content = told
    status = span.status
    code = status.code
    if events_sent := span.events:
        _read_events(events_sent, code == 2, fields, content)
    start_ns, end_ns, marks = _times(span, stamp.received_ns)
    parent = span.parent_span_id
    if parent and (len(parent) != 8 or parent == span.span_id):
        marks.append("parent_invalid")
        parent = b""
    _mark(span, kept, marks)
    operation, imported = operation_of(fields), stamp.door == "import"
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=parent.hex() if parent and parent != _NO_SPAN else None,
        start_ns=start_ns,
        end_ns=end_ns,
        name=span.name[:LONGEST_VALUE],
        operation=operation,
        status=_OPEN if end_ns is None else _STATUS.get(code, _UNSET) if not imported else _own_status(fields, code),
        error_type=_text(fields.get("error_type")),
        message=status.message[:LONGEST_MESSAGE] or None,
        door=stamp.door,
        service=shared.service,
        revision=0 if end_ns is None else 1,
        identity=_identity(fields, operation, stamp.identity, shared.known),
        provider=provider_of(fields.get("provider")),
        request_model=_text(fields.get("request_model")),
        response_model=_text(fields.get("response_model")),
        response_id=_text(fields.get("response_id") or response_id_in(content.get("output.value"))),
        fingerprint=_text(fields.get("fingerprint")),
        stream=fields.get("stream") is True,
        finish_reasons=finish_reasons_of(fields.get("finish_reasons")),
        usage=usage_for(operation, span.kind == _CLIENT, fields),
        first_token_ns=_first_token(fields),
        http_status=_http_status(fields.get("http_status")),
        tool=_text(tool_of(operation, fields)),
        tool_call_id=_text(fields.get("tool_call_id")),
        cost=_own_cost(fields) if imported else None,
        attributes=kept,
        events=events,
        preview=str(content.pop(PREVIEW, ""))[:LONGEST_PREVIEW] or preview_of(content),
        origin=origin,
    )


def _read_events(events: Any, failed: bool, fields: dict[str, Any], content: dict[str, Any]) -> None:
    """What the index needs of the events: the type of an exception, and messages that were sent as v1.36 events."""
    said = []
    for event in events[:MOST_EVENTS]:
        name = event.name
        if name == "exception" and failed and "error_type" not in fields:
            named = {kv.key: any_value(kv.value) for kv in event.attributes}
            fields["error_type"] = named.get("exception.type")
        elif name.startswith("gen_ai.") and not content:
            said.append({"event.name": name} | {kv.key: any_value(kv.value) for kv in event.attributes})
    if said:
        content["events"] = said


def _times(span: Any, received_ns: int) -> tuple[int, int | None, list[str]]:
    """Start and end as sent, with a mark where a clock cannot be right; an end before its start is the start."""
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    marks = []
    if start_ns < EARLIEST_NS:
        marks.append("start_implausible")
    elif received_ns and start_ns > received_ns + AHEAD_NS:
        marks.append("start_in_future")
    if end_ns == 0:
        return start_ns, None, marks
    if end_ns > _LATEST_NS or (received_ns and end_ns > max(received_ns, start_ns) + AHEAD_NS):
        marks.append("end_in_future")
        end_ns = min(end_ns, _LATEST_NS)
    if end_ns < start_ns:
        marks.append("end_before_start")
        end_ns = start_ns
    return start_ns, end_ns, marks


def _mark(span: Any, kept: dict[str, Scalar], marks: list[str]) -> None:
    """Say in the attributes what is odd about a span and what its emitter or we left out."""
    if marks:
        kept["watchkeeper.marks"] = ",".join(marks)
    if dropped := span.dropped_attributes_count:
        kept["otel.dropped_attributes_count"] = dropped
    if dropped := span.dropped_events_count + max(0, len(span.events) - MOST_EVENTS):
        kept["otel.dropped_events_count"] = dropped
    if links := len(span.links):
        kept["watchkeeper.links"] = links
    if dropped := span.dropped_links_count:
        kept["otel.dropped_links_count"] = dropped


def _identity(fields: Mapping[str, Any], operation: str, bound: Identity, known: dict[Any, Identity]) -> Identity:
    """Who a span belongs to; the spans of an export that say the same share one value."""
    get = fields.get
    said = (operation, get("user"), get("session"), get("run"), get("agent"), get("entity"))
    try:
        place = (said, *map(type, said))  # 1 and True are equal and not the same name
        found = known.get(place)
    except TypeError:  # a list where a name should be
        return identity_of(fields, operation, bound)
    if found is None:
        found = known[place] = identity_of(fields, operation, bound)
    return found


def _happenings(span: Any) -> Iterator[Happening]:
    for event in span.events[:MOST_EVENTS]:
        attributes: dict[str, Scalar] = {}
        for kv in event.attributes:
            value = any_value(kv.value)
            attributes[kv.key] = as_json(value).decode() if isinstance(value, list | dict) else value
        yield Happening(name=event.name, at_ns=min(event.time_unix_nano, _LATEST_NS), attributes=attributes)


def _own_status(fields: Mapping[str, Any], code: int) -> str:
    """The status of a span of our own export, which knows one more than OTLP."""
    return _DENIED if fields.get("own_status") == _DENIED else _STATUS.get(code, _UNSET)


def _own_cost(fields: Mapping[str, Any]) -> Cost | None:
    """The cost that an export of ours states. A file that somebody imports may say it, a sender may not."""
    usd = fields.get("cost_usd")
    if isinstance(usd, int | float) and not isinstance(usd, bool) and 0 <= usd < 1e9:
        return Cost(usd=float(usd), source=str(fields.get("cost_source") or "the imported file"))
    return None


def _first_token(fields: Mapping[str, Any]) -> int | None:
    """Nanoseconds from the start to the first token."""
    if "first_chunk_s" not in fields and "first_chunk_ms" not in fields:
        return None
    for name, unit_ns in (("first_chunk_s", 1e9), ("first_chunk_ms", 1e6)):
        value = fields.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value < 1e7:
            return int(value * unit_ns)
    return None


def _http_status(value: Any) -> int | None:
    return value if isinstance(value, int) and 100 <= value < 600 else None


def _text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    return value[:LONGEST_VALUE] if isinstance(value, str) else str(value)[:LONGEST_VALUE]
