"""Whatever comes in, an export is taken, refused with a sentence or counted: no crash, no hang, no half record."""

from __future__ import annotations

import gzip
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from scripts import dialects
from tests.unit.adapters.formats.exports import START_NS, TRACE, payload, put
from watchkeeper.adapters.formats import detect, otlp, otlp_logs, otlp_metrics, otlp_wire, unpacking
from watchkeeper.adapters.formats.conversation import conversation_of
from watchkeeper.adapters.formats.imported import ImportedExport, ImportedSpan, Rejected
from watchkeeper.adapters.formats.otlp_wire import MalformedExport
from watchkeeper.adapters.formats.told import Told, line_of
from watchkeeper.records.logged import Logged
from watchkeeper.records.record import pack
from watchkeeper.records.span import NOWHERE, Span

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

LOGS = Path(__file__).parents[1] / "data" / "inspect-logs"
MORE = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def log_export() -> bytes:
    request = ExportLogsServiceRequest()
    record = (
        request.resource_logs.add()
        .scope_logs.add()
        .log_records.add(time_unix_nano=START_NS, trace_id=TRACE, span_id=b"12345678", event_name="gen_ai.user.message")
    )
    put(record.body, {"content": "Where?", "role": "user"})
    data: bytes = request.SerializeToString()
    return data


SPANS = payload(
    {"attributes": {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 3, "llm.prompts.0.content": "hi"}},
    {"events": [("gen_ai.choice", {"message": {"content": "x"}})]},
)  # fmt: skip
SPANS_JSON: dict[str, Any] = {"resourceSpans": [{"scopeSpans": [{"spans": [
    {"traceId": TRACE.hex(), "spanId": "11" * 8, "startTimeUnixNano": str(START_NS), "endTimeUnixNano": START_NS + 1,
     "kind": "SPAN_KIND_CLIENT", "name": "x", "status": {"code": 2}, "attributes": [
         {"key": "a", "value": {"intValue": "3"}}, {"key": "b", "value": {"bytesValue": "AQID"}}]}]}]}]}  # fmt: skip
LOGS_JSON: dict[str, Any] = {"resourceLogs": [{"scopeLogs": [{"logRecords": [
    {"timeUnixNano": str(START_NS), "traceId": TRACE.hex(), "spanId": "11" * 8, "severityNumber": 9,
     "body": {"kvlistValue": {"values": [{"key": "content", "value": {"stringValue": "hi"}}]}}}]}]}]}  # fmt: skip
TOLD = line_of(Told(span=Span(trace_id="a" * 32, span_id="b" * 16, start_ns=START_NS, end_ns=START_NS, name="x")))
CHAT = json.dumps({"messages": [{"role": "user", "content": "hi"}], "usage": {"prompt_tokens": 1}}).encode()
FILES = {
    "chat": CHAT,
    "langfuse": dialects.recorded()[-1],
    "inspect": (LOGS / "sums.json").read_bytes(),
    "archive": (LOGS / "sums.eval").read_bytes(),
    "ours": TOLD,
    "otlp": SPANS,
    "otlp json": json.dumps(SPANS_JSON).encode(),
}
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 63, 1 << 70, -(1 << 70), 0.5, 1e308, math.inf, math.nan, "", "\x00", "a" * 3000, "\ud800",
    "🙂", [], {}, [[]], [{}], {"a": None}, [None], "[{", '{"a":', "null", "9" * 400, {"role": 3, "content": {"x": [1]}},
)  # fmt: skip


def mutated(data: bytes, cuts: list[tuple[int, int, bytes]]) -> bytes:
    """Some bytes with pieces replaced: (place, how many go, what comes)."""
    for place, gone, come in cuts:
        at = place % (len(data) + 1)
        data = data[:at] + come + data[at + gone :]
    return data


CUTS = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 40), st.binary(max_size=12)), max_size=5)


def takes(read: Callable[[bytes], object], data: bytes) -> None:
    """The reader takes some bytes or refuses them with a sentence."""
    try:
        read(data)
    except MalformedExport as error:
        assert str(error)


def spans_in(data: bytes) -> None:
    """What the door counts of spans is what the index gets and the page can show."""
    checked = otlp.check(data)
    records = otlp.records_of(data, NOWHERE, START_NS)
    kept = [each for each in records if isinstance(each, Span)]
    assert len(kept) == checked.spans - checked.rejected
    for span in kept:
        pack(span)
        assert otlp.span_of(data, span.origin).span_id == span.span_id
        otlp.span_at(data, span.origin.item)


def logs_in(data: bytes) -> None:
    checked = otlp_logs.check(data)
    kept = [each for each in otlp_logs.records_of(data, NOWHERE, START_NS) if isinstance(each, Logged)]
    assert len(kept) == checked.spans - checked.rejected
    for each in kept:
        pack(each)
    events = otlp_logs.logged_events(data, [each.origin.item for each in kept])
    otlp_logs.logged_conversation(events)
    for event in events:
        pack(otlp_logs.happening_of(event))


@given(CUTS)
@MORE
@example([(0, 1 << 20, b"")])
@example([(0, 0, b"\xff" * 12)])
def test_a_damaged_export_of_spans_is_kept_or_refused_whole(cuts: list[tuple[int, int, bytes]]) -> None:
    takes(spans_in, mutated(SPANS, cuts))
    takes(otlp_metrics.check, mutated(SPANS, cuts))


@given(CUTS)
@MORE
def test_a_damaged_export_of_logs_is_kept_or_refused_whole(cuts: list[tuple[int, int, bytes]]) -> None:
    takes(logs_in, mutated(log_export(), cuts))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values within a JSON value."""
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path] + [found for key, each in inner for found in places(each, (*path, key))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


def written(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
def test_json_with_a_wrong_value_anywhere_is_kept_or_refused(odd: Any) -> None:
    for path in places(SPANS_JSON):
        takes(lambda data: spans_in(otlp_wire.from_json(data)), written(replaced(SPANS_JSON, path, odd)))
    for path in places(LOGS_JSON):
        takes(lambda data: logs_in(otlp_logs.from_json(data)), written(replaced(LOGS_JSON, path, odd)))


@pytest.mark.parametrize("depth", [50, 101, 900, 5_000, 200_000])
def test_what_is_nested_without_end_is_refused(depth: int) -> None:
    bombs = [b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth]
    nested = b'{"arrayValue":{"values":[' * depth + b"{}" + b"]}}" * depth
    bombs.append(b'{"resourceSpans":[{"resource":{"attributes":[{"key":"a","value":' + nested + b"}]}}]}")
    for bomb in bombs:
        takes(lambda data: spans_in(otlp_wire.from_json(data)), bomb)
        takes(lambda data: logs_in(otlp_logs.from_json(data)), bomb)
        conversation_of(bomb, bomb)
        imported(b'{"messages":' + bomb + b"}\n" + CHAT)
        imported(bomb)


def imported(data: bytes, form: detect.Format = "auto") -> list[Any]:
    """What an importer makes of a file, each record whole; a file that is nothing is refused with a sentence."""
    try:
        found = list(detect.read(io.BytesIO(data), form, START_NS))
    except detect.UnknownFormat as error:
        assert str(error)
        return []
    for each in found:
        if isinstance(each, ImportedSpan):
            assert all(isinstance(body, bytes) for _, body in each.bodies)
            try:
                pack(each.span)
            except OverflowError:
                continue  # refused and counted where it is written
        elif isinstance(each, ImportedExport):
            assert len(otlp.decode(each.payload).spans) == each.spans
        elif isinstance(each, Rejected):
            assert each.reason
    return found


@pytest.mark.parametrize("name", sorted(FILES))
@given(cuts=CUTS, packing=st.sampled_from([bytes, gzip.compress, zstd.compress]))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_damaged_file_never_stops_the_import(
    name: str, cuts: list[tuple[int, int, bytes]], packing: Callable[[bytes], bytes]
) -> None:
    imported(packing(mutated(FILES[name], cuts)))
    imported(mutated(packing(FILES[name]), cuts))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chat", "ours", "langfuse"])
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: repr(odd)[:20])
def test_a_row_with_a_wrong_value_anywhere_leaves_the_others_whole(name: str, odd: Any) -> None:
    value = json.loads(FILES[name])
    paths = places(value)
    for path in paths[:: max(1, len(paths) // 60)]:
        imported(written(replaced(value, path, odd)) + b"\n" + FILES[name].strip() + b"\n")


def test_a_good_row_after_a_bad_one_is_read_and_the_bad_one_has_its_number() -> None:
    found = imported(CHAT + b'\n{"messages": \n\xff\xfe{}\n' + CHAT + b"\n")
    assert [type(each) for each in found] == [ImportedSpan, Rejected, Rejected, ImportedSpan]
    assert [each.line for each in found if isinstance(each, Rejected)] == [2, 3]


@pytest.mark.parametrize("packing", [gzip.compress, zstd.compress])
def test_a_bomb_is_refused_and_what_came_before_it_is_kept(
    packing: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (detect, unpacking):
        monkeypatch.setattr(module, "LONGEST_LINE", 1 << 20)
    monkeypatch.setattr(detect, "MOST_BYTES", 1 << 20)
    found = imported(packing(CHAT + b"\n" + b" " * (16 << 20) + b"\n" + CHAT + b"\n"))
    assert [type(each) for each in found] == [ImportedSpan, ImportedSpan, Rejected]
    assert found[-1].line == 2
    for bomb in (b"{" + b" " * (16 << 20), b"[" + b"1," * (8 << 20), bytes(16 << 20)):
        assert imported(packing(bomb)) == []


@pytest.mark.parametrize("depth", [120, 2_000])
def test_protobuf_that_is_nested_without_end_is_refused(depth: int) -> None:
    value = b""
    for _ in range(depth):
        inner = b"\x0a" + _size(value)
        value = b"\x2a" + _size(inner + value) + inner + value
    attribute = b"\x0a\x01a\x12" + _size(value) + value
    span = b"\x4a" + _size(attribute) + attribute
    for tag in (b"\x12", b"\x12", b"\x0a"):
        span = tag + _size(span) + span
    takes(spans_in, span)
    takes(logs_in, span)


def _size(data: bytes) -> bytes:
    size, out = len(data), bytearray()
    while size > 0x7F:
        out.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*out, size])
