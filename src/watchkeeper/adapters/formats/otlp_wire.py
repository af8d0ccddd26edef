"""The bytes of an OTLP trace export: protobuf, JSON turned into it, and the stamp that says who sent it and when.

The stamp is one extra field at the very beginning of the request. Protobuf readers pass over fields they do
not know, so a stamped export is still a valid `ExportTraceServiceRequest`. Only the first field counts and the
door always writes it, so a client that sends such a field itself changes nothing.
"""

from __future__ import annotations

import base64
import re
from functools import cache
from typing import Any

import msgspec

from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, pack, unpack

STAMP_FIELD = 77_041
"""The stamp's field number, in the range that protobuf leaves to in-house use."""


class MalformedExport(ValueError):
    """Bytes that are no OTLP trace export; the message says what is wrong with them."""


class Stamp(Record):
    """What is added to an export: when it was received (unix ns, 0 unknown), by which door, and whose key sent it."""

    received_ns: int = 0
    door: str = "otlp"
    identity: Identity = Identity()


@cache
def _request_type() -> Any:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return ExportTraceServiceRequest


@cache
def _decode_error() -> type[Exception]:
    from google.protobuf.message import DecodeError

    error: type[Exception] = DecodeError
    return error


def parse(payload: bytes) -> Any:
    """The `ExportTraceServiceRequest` in some bytes; raises `MalformedExport` when they are cut or something else."""
    try:
        return _request_type().FromString(payload)
    except _decode_error() as error:
        raise MalformedExport(
            f"These {len(payload)} bytes are no OTLP trace export: {error}. "
            "Send an ExportTraceServiceRequest as protobuf; a body that was cut off on the way looks like this too."
        ) from error


@cache
def _coarse_type() -> Any:
    """The request's type with the attributes of spans left as bytes, in a descriptor pool of its own."""
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass
    from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
    from opentelemetry.proto.common.v1 import common_pb2
    from opentelemetry.proto.resource.v1 import resource_pb2
    from opentelemetry.proto.trace.v1 import trace_pb2

    pool = DescriptorPool()
    for each in (common_pb2, resource_pb2, trace_pb2, trace_service_pb2):
        file = FileDescriptorProto()
        each.DESCRIPTOR.CopyToProto(file)
        if each is trace_pb2:
            span = next(message for message in file.message_type if message.name == "Span")
            attributes = next(field for field in span.field if field.name == "attributes")
            attributes.type = FieldDescriptorProto.TYPE_BYTES
            attributes.ClearField("type_name")
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName(_request_type().DESCRIPTOR.full_name))


def parse_coarsely(payload: bytes) -> Any:
    """The request in some bytes, with each attribute of a span as the bytes of its `KeyValue`, unread and unchecked.

    Most attributes of a program's spans are the same bytes again and again, so reading them once is enough. Raises
    `MalformedExport` as `parse` does, but not for what is wrong within an attribute.
    """
    try:
        return _coarse_type().FromString(payload)
    except _decode_error() as error:
        raise MalformedExport(f"These {len(payload)} bytes are no OTLP trace export: {error}.") from error


@cache
def _key_value_type() -> Any:
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

    return KeyValue


def parse_attribute(raw: bytes) -> Any:
    """The `KeyValue` in some bytes; raises `MalformedExport`."""
    try:
        return _key_value_type().FromString(raw)
    except _decode_error() as error:
        raise MalformedExport(f"These {len(raw)} bytes are no attribute: {error}.") from error


def from_json(body: bytes) -> bytes:
    """The protobuf bytes of an export sent as OTLP JSON (ids in hex); raises `MalformedExport` when it is none."""
    return json_to_message(body, _request_type(), ("resourceSpans", "scopeSpans", "spans"), "trace")


def parse_as(kind: Any, payload: bytes, word: str) -> Any:
    """The request of another signal in some bytes; raises `MalformedExport` when they are cut or something else."""
    try:
        return kind.FromString(payload)
    except _decode_error() as error:
        raise MalformedExport(
            f"These {len(payload)} bytes are no OTLP {word} export, or are cut off: {error}."
        ) from error


def json_to_message(body: bytes, kind: Any, levels: tuple[str, str, str], word: str) -> bytes:
    """The protobuf bytes of a request of type `kind` sent as OTLP JSON, whose items with ids lie `levels` deep."""
    from google.protobuf.json_format import ParseDict, ParseError

    try:
        value = msgspec.json.decode(body, type=dict[str, Any])
        _ids_to_base64(value, levels)
        message: Any = ParseDict(value, kind(), ignore_unknown_fields=True)
        data: bytes = message.SerializeToString()
    except RecursionError as error:
        raise MalformedExport(f"This JSON is nested deeper than any OTLP {word} export.") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedExport(f"This body is not the JSON object of an OTLP {word} export: {error}.") from error
    except (ParseError, TypeError, ValueError, AttributeError, _decode_error()) as error:
        raise MalformedExport(f"This JSON is no OTLP {word} export: {str(error)[:300]}.") from error
    return data


def _ids_to_base64(value: Any, levels: tuple[str, str, str]) -> None:
    """Turn the hex ids of OTLP JSON into the base64 that protobuf's JSON reader expects, in place."""
    names = [(name, re.sub("([A-Z])", r"_\1", name).lower()) for name in levels]
    for resource_spans in _lists(value, *names[0]):
        for scope_spans in _lists(resource_spans, *names[1]):
            for span in _lists(scope_spans, *names[2]):
                _convert(span, "traceId", "trace_id", "spanId", "span_id", "parentSpanId", "parent_span_id")
                for link in _lists(span, "links"):
                    _convert(link, "traceId", "trace_id", "spanId", "span_id")


def _lists(value: Any, *names: str) -> list[Any]:
    if isinstance(value, dict):
        for name in names:
            if isinstance(value.get(name), list):
                return list(value[name])
    return []


def _convert(value: Any, *names: str) -> None:
    if not isinstance(value, dict):
        return
    for name in names:
        if isinstance(text := value.get(name), str):
            try:
                raw = bytes.fromhex(text)
            except ValueError:
                raw = b"?"  # one byte is no id: the span is rejected by name and the rest of the export is kept
            value[name] = base64.b64encode(raw).decode()


def stamp(payload: bytes, received_ns: int, identity: Identity) -> bytes:
    """An export with the OTLP door's stamp in front."""
    return stamped(payload, Stamp(received_ns=received_ns, identity=identity))


def stamped(payload: bytes, mark: Stamp) -> bytes:
    """An export with a stamp in front."""
    body = pack(mark)
    return b"".join((_TAG, _varint(len(body)), body, payload))


def read_stamp(payload: bytes) -> Stamp | None:
    """The stamp in front of an export, or None where there is none."""
    if not payload.startswith(_TAG):
        return None
    size = shift = 0
    at = len(_TAG)
    while at < len(payload):
        byte = payload[at]
        at += 1
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    try:
        return unpack(Stamp, payload[at : at + size])
    except msgspec.MsgspecError:
        return None


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_TAG = _varint(STAMP_FIELD << 3 | 2)


def reply(rejected: int, message: str) -> bytes:
    """The `ExportTraceServiceResponse` bytes: empty when every span was kept, else partial success with the reason."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

    response = ExportTraceServiceResponse()
    if rejected or message:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
    data: bytes = response.SerializeToString()
    return data


def failure(sentence: str) -> bytes:
    """The bytes of a `google.rpc.Status` with a message, which is how OTLP says what went wrong."""
    text = sentence.encode()
    return b"".join((b"\x12", _varint(len(text)), text))
