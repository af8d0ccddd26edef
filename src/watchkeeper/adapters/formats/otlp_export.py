"""Writes spans as OTLP in the words of the GenAI conventions: v1.41.1, or by switch the names that came after it."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, Literal

from watchkeeper.adapters.formats.conversation import Message
from watchkeeper.adapters.formats.semconv import MODEL_OPERATIONS
from watchkeeper.adapters.formats.told import Told
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Operation, Status

Names = Literal["v1.41", "next"]
SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"
_CLIENT, _INTERNAL = 3, 1
_CODES = {Status.OK.value: 1, Status.ERROR.value: 2, Status.DENIED.value: 2}
_CACHE_WRITE = {
    "v1.41": "gen_ai.usage.cache_creation.input_tokens",
    "next": "gen_ai.usage.cache_write.input_tokens",
}
_LENGTH = struct.Struct(">I")


@cache
def _request_type() -> Any:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return ExportTraceServiceRequest


def framed(told: Sequence[Told], names: Names) -> bytes:
    """Spans as one export request behind its length in four big-endian bytes, as the collector's files have it."""
    data: bytes = request_of(told, names).SerializeToString()
    return _LENGTH.pack(len(data)) + data


def json_line(told: Sequence[Told], names: Names) -> bytes:
    """Spans as one export request in OTLP JSON (hex ids, 64-bit numbers as text), on one line."""
    from google.protobuf.json_format import MessageToDict

    value = MessageToDict(request_of(told, names))
    for group in value.get("resourceSpans", ()):
        for scope in group.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                for key in ("traceId", "spanId", "parentSpanId"):
                    if key in span:
                        span[key] = base64.b64decode(span[key]).hex()
    return as_json(value) + b"\n"


def request_of(told: Iterable[Told], names: Names = "v1.41") -> Any:
    """An `ExportTraceServiceRequest` of some spans, by service and scope."""
    request = _request_type()()
    groups: dict[tuple[str | None, str], Any] = {}
    for each in told:
        span = each.span
        place = (span.service, str(span.attributes.get("otel.scope.name") or "watchkeeper"))
        scope = groups.get(place)
        if scope is None:
            resource = request.resource_spans.add()
            if names == "v1.41":
                resource.schema_url = SCHEMA_URL
            if span.service is not None:
                _put(resource.resource.attributes.add(key="service.name").value, span.service)
            scope = groups[place] = resource.scope_spans.add()
            scope.scope.name = place[1]
        _write(scope.spans.add(), each, names)
    return request


def _write(target: Any, told: Told, names: Names) -> None:
    span = told.span
    target.trace_id, target.span_id = bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id)
    if span.parent_id is not None:
        target.parent_span_id = bytes.fromhex(span.parent_id)
    target.name = span.name
    target.kind = _CLIENT if span.operation in MODEL_OPERATIONS else _INTERNAL
    target.start_time_unix_nano = span.start_ns
    if span.end_ns is not None:
        target.end_time_unix_nano = span.end_ns
    target.status.code = _CODES.get(str(span.status), 0)
    if span.message:
        target.status.message = span.message
    for key, value in attributes_of(told, names).items():
        if value is not None and value != ():
            _put(target.attributes.add(key=key).value, value)
    for event in span.events:
        added = target.events.add(name=event.name, time_unix_nano=event.at_ns)
        for key, value in event.attributes.items():
            _put(added.attributes.add(key=key).value, value)


def attributes_of(told: Told, names: Names) -> dict[str, Any]:
    """All attributes of a span: those it came with, and what we know of it in the conventions' own words."""
    span, usage, who = told.span, told.span.usage, told.span.identity
    kept = {key: value for key, value in span.attributes.items() if not key.startswith(("resource.", "otel.scope."))}
    first_s = None if span.first_token_ns is None else span.first_token_ns / 1e9
    known: dict[str, Any] = {
        "gen_ai.operation.name": span.operation,
        "gen_ai.provider.name": span.provider,
        "gen_ai.request.model": span.request_model,
        "gen_ai.response.model": span.response_model,
        "gen_ai.response.id": span.response_id,
        "gen_ai.response.finish_reasons": span.finish_reasons,
        "gen_ai.request.stream": True if span.stream else None,
        "gen_ai.response.time_to_first_chunk": first_s,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        _CACHE_WRITE[names]: usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "gen_ai.tool.name": span.tool,
        "gen_ai.tool.call.id": span.tool_call_id,
        "gen_ai.agent.name": who.agent,
        "gen_ai.conversation.id": who.session,
        "session.id": who.session,
        "user.id": who.user,
        "watchkeeper.run": who.run,
        "openai.response.system_fingerprint": span.fingerprint,
        "error.type": span.error_type,
        "http.response.status_code": span.http_status,
        "watchkeeper.cost.usd": span.cost_usd,
        "watchkeeper.cost.source": span.cost_source,
        "watchkeeper.status": span.status if span.status in (Status.DENIED, Status.OPEN) else None,
        "watchkeeper.door": span.door,
        "watchkeeper.upstream": span.upstream,
        "watchkeeper.manifest": span.manifest,
        "watchkeeper.duplicate_of": span.duplicate_of,
        "watchkeeper.erased": told.erased,
        "watchkeeper.redactions": sum(each.redactions for each in told.bodies) or None,
    }
    return kept | {key: value for key, value in known.items() if value is not None} | _content(told)


def _content(told: Told) -> dict[str, Any]:
    """What was said, as the conventions write messages; a tool's call as its arguments and its result."""
    span, talk = told.span, told.conversation
    if span.operation == Operation.TOOL and talk.input and talk.input[0].tool_calls:
        result = talk.output[0].text if talk.output else None
        return {"gen_ai.tool.call.arguments": talk.input[0].tool_calls[0].arguments, "gen_ai.tool.call.result": result}
    found: dict[str, Any] = {}
    if talk.input:
        found["gen_ai.input.messages"] = as_json([_message(each) for each in talk.input]).decode()
    if talk.output:
        reasons = span.finish_reasons
        said = [_message(each) for each in talk.output]
        for message, reason in zip(said, reasons, strict=False):
            message["finish_reason"] = reason
        found["gen_ai.output.messages"] = as_json(said).decode()
    return found


def _message(message: Message) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    if message.reasoning:
        parts.append({"type": "reasoning", "content": message.reasoning})
    if message.role == "tool":
        answer = {"type": "tool_call_response", "id": message.tool_call_id, "response": message.text}
        parts.append(answer if message.name is None else answer | {"name": message.name})
    elif message.text or not message.tool_calls:
        parts.append({"type": "text", "content": message.text})
    parts += [
        {"type": "tool_call", "id": call.call_id, "name": call.name, "arguments": call.arguments}
        for call in message.tool_calls
    ]
    said: dict[str, Any] = {"role": message.role, "parts": parts}
    return said if message.name is None else said | {"name": message.name}


def _put(target: Any, value: Any) -> None:
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        target.int_value = value
    elif isinstance(value, int | float):
        target.double_value = value
    elif isinstance(value, tuple | list):
        target.array_value.SetInParent()
        for each in value:
            _put(target.array_value.values.add(), each)
    else:
        target.string_value = str(value).encode("utf-8", "replace").decode()
