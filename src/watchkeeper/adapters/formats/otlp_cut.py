"""Takes spans or log records out of an OTLP export and leaves all the others as they were, each at its place.

What is taken out leaves a stub at its place, with ids and times, so that the others keep their numbers: the index names
a span of an export by its place in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from watchkeeper.adapters.formats import otlp, otlp_logs
from watchkeeper.adapters.formats.otlp_wire import parse, parse_as, read_stamp, stamped
from watchkeeper.records.record import Record
from watchkeeper.records.span import Origin

_KEPT_RESOURCE = frozenset({"service.name", "service.version", "service.namespace", "telemetry.sdk.name"})


class Cut(NamedTuple):
    """What an export comes to: the records that were taken out, and the export without them (None: nothing is left)."""

    taken: tuple[Record, ...]
    rest: bytes | None


def cut_traces(payload: bytes, received_ns: int, belongs: Callable[[Any], bool]) -> Cut:
    """Take the spans that belong out of a trace export; raises `MalformedExport` when it is none."""
    decoded = otlp.decode(payload, received_ns, _HERE)
    taken = tuple(span for span in decoded.spans if belongs(span))
    if not taken or len(taken) == len(decoded.spans):
        return Cut(taken, None)
    request = parse(payload)
    _stub_all(request.resource_spans, "scope_spans", "spans", {span.origin.item for span in taken}, _stub_span)
    return Cut(taken, _joined(payload, request))


def cut_logs(payload: bytes, received_ns: int, belongs: Callable[[Any], bool]) -> Cut:
    """Take the log records that belong out of a log export; raises `MalformedExport` when it is none."""
    logs = otlp_logs.decode(payload, _HERE, received_ns).logs
    taken = tuple(each for each in logs if belongs(each))
    if not taken or len(taken) == len(logs):
        return Cut(taken, None)
    request = parse_as(otlp_logs._request_type(), payload, "log")
    _stub_all(request.resource_logs, "scope_logs", "log_records", {each.origin.item for each in taken}, _stub_log)
    return Cut(taken, _joined(payload, request))


_HERE = Origin(writer="", segment=0, offset=0)


def _stub_all(resources: Iterable[Any], scopes: str, leaves: str, items: set[int], stub: Callable[[Any], None]) -> None:
    item = 0
    for resource in resources:
        stubbed = total = 0
        for scope in getattr(resource, scopes):
            for leaf in getattr(scope, leaves):
                total += 1
                if item in items:
                    stub(leaf)
                    stubbed += 1
                item += 1
        if total and stubbed == total:
            kept = [kv for kv in resource.resource.attributes if kv.key in _KEPT_RESOURCE]
            del resource.resource.attributes[:]
            resource.resource.attributes.extend(kept)


def _stub_span(span: Any) -> None:
    trace_id, span_id, parent_id = span.trace_id, span.span_id, span.parent_span_id
    start_ns, end_ns, kind, code = span.start_time_unix_nano, span.end_time_unix_nano, span.kind, span.status.code
    span.Clear()
    span.trace_id, span.span_id, span.parent_span_id = trace_id, span_id, parent_id
    span.start_time_unix_nano, span.end_time_unix_nano, span.kind = start_ns, end_ns, kind
    span.status.code = code


def _stub_log(record: Any) -> None:
    at_ns, trace_id, span_id = record.time_unix_nano or record.observed_time_unix_nano, record.trace_id, record.span_id
    record.Clear()
    record.time_unix_nano, record.trace_id, record.span_id = at_ns, trace_id, span_id


def _joined(payload: bytes, request: Any) -> bytes:
    stamp = read_stamp(payload)
    request.DiscardUnknownFields()
    body: bytes = request.SerializeToString()
    return body if stamp is None else stamped(body, stamp)
