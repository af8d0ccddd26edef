"""Reads OTLP log exports: checks them at the door, indexes their records, and gives a span the events that are its own.

Instrumentations send what was said beside the span rather than on it: an event for each message and choice (GenAI
conventions v1.36), or one with everything ("gen_ai.client.inference.operation.details"). The export's protobuf bytes
are the record, as with traces; a log record is named by its place among all records of the export.

Limits: a record without a span is kept and indexed, and shown nowhere but in the question `logs`. Its index row holds
short texts only; attributes and body are read from the frame.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from watchkeeper.adapters.formats.conversation import Conversation, text_of
from watchkeeper.adapters.formats.messages import messages, short_text
from watchkeeper.adapters.formats.otlp import Checked
from watchkeeper.adapters.formats.otlp_attributes import LONGEST_VALUE, any_value
from watchkeeper.adapters.formats.otlp_wire import MalformedExport, Stamp, json_to_message, parse_as, read_stamp
from watchkeeper.adapters.formats.semconv import fields_of, identity_of
from watchkeeper.records.drop import Drop
from watchkeeper.records.ids import digest
from watchkeeper.records.logged import Logged
from watchkeeper.records.record import Record, Scalar, as_json
from watchkeeper.records.span import Happening, Origin

__all__ = [
    "LogsDecoded",
    "check",
    "from_json",
    "happening_of",
    "logged_conversation",
    "logged_events",
    "records_of",
    "reply",
]

_LATEST_NS = (1 << 63) - 1
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


class LogsDecoded(NamedTuple):
    """The log records of an export, and how many could not be kept for which reason."""

    logs: list[Logged]
    reasons: dict[str, int]


@cache
def _request_type() -> Any:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    return ExportLogsServiceRequest


def from_json(body: bytes) -> bytes:
    """The protobuf bytes of a log export sent as OTLP JSON; raises `MalformedExport` when it is none."""
    return json_to_message(body, _request_type(), ("resourceLogs", "scopeLogs", "logRecords"), "log")


def check(payload: bytes) -> Checked:
    """Count the records of a log export and those that cannot be kept; raises `MalformedExport`."""
    total = 0
    reasons: Counter[str] = Counter()
    for record, _ in _walk(parse_as(_request_type(), payload, "log")):
        total += 1
        if reason := _wrong(record):
            reasons[reason] += 1
    return Checked(total, sum(reasons.values()), dict(reasons))


def decode(payload: bytes, origin: Origin, received_ns: int) -> LogsDecoded:
    """The index records of a log export; raises `MalformedExport` when it is none."""
    stamp = read_stamp(payload) or Stamp(received_ns=received_ns)
    logs: list[Logged] = []
    reasons: Counter[str] = Counter()
    for item, (record, service) in enumerate(_walk(parse_as(_request_type(), payload, "log"))):
        if reason := _wrong(record):
            reasons[reason] += 1
            continue
        here = Origin(writer=origin.writer, segment=origin.segment, offset=origin.offset, item=item)
        logs.append(_logged(record, service, stamp, stamp.received_ns or received_ns, here))
    return LogsDecoded(logs, dict(reasons))


def records_of(payload: bytes, origin: Origin, received_ns: int) -> tuple[Record, ...]:
    """What the ingester indexes of a log export's frame: its records, and one drop for each reason of rejection."""
    logs, reasons = decode(payload, origin, received_ns)
    drops = [
        Drop(what="log", reason=reason, count=count, first_ns=received_ns, last_ns=received_ns, door="otlp")
        for reason, count in sorted(reasons.items())
    ]
    return (*logs, *drops)


def logged_events(payload: bytes, items: Sequence[int]) -> list[dict[str, Any]]:
    """Some records of a log export as flat events with "event.name", "time_ns" and "body", in the order of `items`."""
    found = dict(enumerate(record for record, _ in _walk(parse_as(_request_type(), payload, "log"))))
    missing = [item for item in items if item not in found]
    if missing:
        raise MalformedExport(f"The frame holds no log record number {missing[0]}; its index entry is not its own.")
    return [_event(found[item]) for item in items]


def logged_conversation(events: Sequence[Mapping[str, Any]]) -> Conversation:
    """What was said according to some events, oldest first."""
    return messages({}, sorted(events, key=lambda each: int(each.get("time_ns") or 0)))


def happening_of(event: Mapping[str, Any]) -> Happening:
    """An event as it stands on its span's page."""
    attributes: dict[str, Scalar] = {}
    for key, value in event.items():
        if key not in ("event.name", "time_ns"):
            attributes[key] = as_json(value).decode() if isinstance(value, list | dict) else value
    return Happening(name=str(event.get("event.name") or "log"), at_ns=int(event["time_ns"]), attributes=attributes)


def _walk(request: Any) -> Iterator[tuple[Any, str | None]]:
    for resource_logs in request.resource_logs:
        named = next((kv.value for kv in resource_logs.resource.attributes if kv.key == "service.name"), None)
        service = None if named is None else str(any_value(named) or "")[:LONGEST_VALUE] or None
        for scope_logs in resource_logs.scope_logs:
            for record in scope_logs.log_records:
                yield record, service


def _wrong(record: Any) -> str | None:
    """Why a log record cannot be kept, or None."""
    if max(record.time_unix_nano, record.observed_time_unix_nano) > _LATEST_NS:
        return "time_out_of_range"
    return None


def _event(record: Any) -> dict[str, Any]:
    event: dict[str, Any] = {kv.key: any_value(kv.value) for kv in record.attributes}
    event["event.name"] = record.event_name or str(event.get("event.name") or "")
    event["time_ns"] = record.time_unix_nano or record.observed_time_unix_nano
    body = any_value(record.body)
    if body is not None:
        event["body"] = body
    return event


def _logged(record: Any, service: str | None, stamp: Stamp, received_ns: int, origin: Origin) -> Logged:
    event = _event(record)
    name = event["event.name"]
    trace_id = record.trace_id.hex() if len(record.trace_id) == 16 and record.trace_id != _NO_TRACE else None
    span_id = record.span_id.hex() if len(record.span_id) == 8 and record.span_id != _NO_SPAN else None
    at_ns = event["time_ns"] or received_ns
    asked, answered, preview = _texts(name, event)
    return Logged(
        log_id=digest(record.SerializeToString(deterministic=True)),
        at_ns=at_ns,
        name=name[:LONGEST_VALUE],
        trace_id=trace_id,
        span_id=span_id if trace_id else None,
        severity=record.severity_text[:LONGEST_VALUE] or None,
        service=service,
        identity=identity_of(fields_of(event), "", stamp.identity),
        asked=asked,
        answered=answered,
        preview=preview,
        origin=origin,
    )


def _texts(name: str, event: Mapping[str, Any]) -> tuple[str, str, str]:
    """The last thing that the event says the user asked, what was answered, and the text of any other record."""
    if not name.startswith("gen_ai."):
        return "", "", short_text(text_of(event.get("body")))
    said = messages({}, [event])
    asked = next((m.text for m in reversed(said.input) if m.role == "user" and m.text), "")
    answer = "\n".join(m.text or ", ".join(f"{c.name}({c.arguments})" for c in m.tool_calls) for m in said.output)
    return short_text(asked), short_text(answer), ""


def reply(rejected: int, message: str) -> bytes:
    """The `ExportLogsServiceResponse` bytes: empty when everything was kept, else partial success with the reason."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    response = ExportLogsServiceResponse()
    if rejected or message:
        response.partial_success.rejected_log_records = rejected
        response.partial_success.error_message = message
    data: bytes = response.SerializeToString()
    return data
