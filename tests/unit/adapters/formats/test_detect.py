"""A file is read by what it holds, twice alike, and what cannot be read is listed with its line and reason."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.adapters.formats.exports import START_NS, TRACE, payload
from watchkeeper.adapters.formats.detect import Format, UnknownFormat, read
from watchkeeper.adapters.formats.imported import Imported, ImportedExport, ImportedSpan, Rejected, moment_of
from watchkeeper.adapters.formats.otlp import decode
from watchkeeper.records.record import pack
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span, Usage

TRACES = Path(__file__).parents[3] / "data" / "framework-traces" / "traces.jsonl.gz"
KEYS = (
    "messages", "request", "response", "choices", "usage", "metadata", "error", "body", "role", "content", "model",
    "id", "trace_id", "traceId", "startTime", "timestamp", "observations", "trace", "scores", "type", "name", "value",
    "attributes", "usageDetails", "input", "output", "parentObservationId", "resourceSpans", "scopeSpans", "spans",
    "prompt", "completion", "tool_calls", "latency_ms", "created", "costDetails", "total", "finish_reason", "session",
)  # fmt: skip
FILE_NS = 1_770_000_000_000_000_000
CHAT = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def rows(*values: Any) -> list[Imported]:
    """What importing some JSON lines yields; bytes stand for themselves."""
    lines = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    return list(read(io.BytesIO(b"\n".join(lines) + b"\n"), file_time_ns=FILE_NS))


def one(value: Any) -> ImportedSpan:
    """The span of one row."""
    (found,) = rows(value)
    assert isinstance(found, ImportedSpan), found
    return found


def spans(found: list[Imported]) -> list[Span]:
    return [each.span for each in found if isinstance(each, ImportedSpan)]


def test_a_fine_tuning_row_is_a_call_whose_last_message_is_the_reply() -> None:
    found = one(CHAT)
    assert (found.span.operation, found.span.status, found.span.door, found.span.preview) == (
        "chat",
        "ok",
        "import",
        "hi\nhello",
    )
    assert dict(found.bodies) == {
        "messages.input": b'[{"role":"user","content":"hi"}]',
        "messages.output": b'[{"role":"assistant","content":"hello"}]',
    }
    assert found.span.usage == Usage() and found.span.cost is None


def test_a_row_without_a_time_gets_the_files_time_and_says_so() -> None:
    first, second = spans(rows(CHAT, CHAT))
    assert (first.start_ns, second.start_ns) == (FILE_NS + 1_000_000, FILE_NS + 2_000_000)
    assert "assigned" in str(first.attributes["watchkeeper.time"])
    assert "watchkeeper.time" not in one(CHAT | {"timestamp": "2025-01-02T03:04:05Z"}).span.attributes


def test_a_request_and_response_pair_keeps_everything_it_says() -> None:
    found = one(
        {
            "request": {"model": "gpt-4o", "messages": CHAT["messages"][:1], "temperature": 0.2, "stream": True},
            "response": {
                "id": "chatcmpl-1",
                "model": "gpt-4o-2024-08-06",
                "created": 1_750_000_000,
                "system_fingerprint": "fp",
                "choices": [{"message": CHAT["messages"][1], "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": 9,
                    "completion_tokens": 0,
                    "prompt_tokens_details": {"cached_tokens": 4},
                    "completion_tokens_details": {"reasoning_tokens": 0},
                },
            },
            "latency_ms": 1500,
            "session_id": "s",
            "user": "u",
            "metadata": {"team": "blue", "nested": {}},
            "trace_id": TRACE.hex(),
        }
    )
    span = found.span
    assert (span.request_model, span.response_model, span.response_id) == ("gpt-4o", "gpt-4o-2024-08-06", "chatcmpl-1")
    assert span.usage == Usage(input_tokens=9, output_tokens=0, cache_read_tokens=4, reasoning_tokens=0)
    assert (span.start_ns, span.duration_ns) == (1_750_000_000_000_000_000, 1_500_000_000)
    assert (span.trace_id, span.identity.session, span.identity.user, span.stream) == (TRACE.hex(), "s", "u", True)
    assert (span.attributes["gen_ai.request.temperature"], span.attributes["metadata.team"]) == (0.2, "blue")
    assert span.finish_reasons == ("stop",)
    assert [name for name, _ in found.bodies] == ["request", "reply", "messages.input", "messages.output"]


@pytest.mark.parametrize(
    ("row", "preview"),
    [
        ({"prompt": "2+2?", "completion": "4"}, "2+2?\n4"),
        ({"input": "2+2?", "output": "4"}, "2+2?\n4"),
        ({"body": {"model": "m", "messages": [{"role": "user", "content": "2+2?"}]}, "custom_id": "a", "response":
            {"body": {"choices": [{"message": {"role": "assistant", "content": "4"}}]}}}, "2+2?\n4"),
        ({"id": "chatcmpl-1", "choices": [{"message": {"role": "assistant", "content": "4"}}], "messages": [
            {"role": "user", "content": "2+2?"}]}, "2+2?\n4"),
        ({"request": json.dumps({"messages": [{"role": "user", "content": "2+2?"}]}), "response": json.dumps(
            {"choices": [{"message": {"role": "assistant", "content": "4"}}]})}, "2+2?\n4"),
    ],
)  # fmt: skip
def test_other_shapes_of_a_call_are_read(row: dict[str, Any], preview: str) -> None:
    assert one(row).span.preview == preview


def test_a_failed_call_is_an_error_with_its_reason() -> None:
    asked = {"messages": [{"role": "user", "content": "x"}]}
    span = one({"request": asked, "error": {"code": "rate_limit", "message": "slow down"}}).span
    assert (span.status, span.error_type, span.message) == ("error", "rate_limit", "slow down")


def test_reading_twice_gives_the_same_ids_and_equal_rows_are_told_apart() -> None:
    once, again = (
        spans(rows(CHAT, CHAT, {"prompt": "a", "completion": "b"})),
        spans(rows(CHAT, CHAT, {"prompt": "a", "completion": "b"})),
    )
    assert [pack(span) for span in once] == [pack(span) for span in again]
    assert len({(span.trace_id, span.span_id) for span in once}) == 3


def test_rows_that_cannot_be_read_are_listed_with_line_and_reason_and_the_rest_goes_on() -> None:
    found = rows(CHAT, b"{broken", b"", {"messages": []}, {"messages": [3]}, b"[1]", b"\xff\xfe", {"messages": 3}, CHAT)
    refused = [(each.line, each.reason) for each in found if isinstance(each, Rejected)]
    assert [line for line, _ in refused] == [2, 4, 5, 6, 7, 8]
    assert "no JSON object" in refused[0][1] and "empty" in refused[1][1] and "messages" in refused[2][1]
    assert len(spans(found)) == 2


def test_a_first_line_that_is_broken_does_not_hide_the_others() -> None:
    found = rows(b'{"messages": [', CHAT)
    assert [type(each).__name__ for each in found] == ["Rejected", "ImportedSpan"]


def test_a_json_list_and_a_page_in_data_are_rows_too() -> None:
    for text in (json.dumps([CHAT, CHAT], indent=2), json.dumps({"data": [CHAT, CHAT]})):
        assert len(spans(list(read(io.BytesIO(text.encode()), file_time_ns=FILE_NS)))) == 2


@pytest.mark.parametrize("data", [b"", b"   \n", b"PK\x03\x04zip", b"id,question\n1,what\n", b'{"foo": 1}\n', b"[[1]]"])
def test_a_file_of_something_else_is_refused_with_a_sentence(data: bytes) -> None:
    with pytest.raises(UnknownFormat):
        list(read(io.BytesIO(data)))


def test_a_cut_gzip_gives_what_was_there_and_says_that_it_was_cut() -> None:
    whole = gzip.compress(b"\n".join(json.dumps(CHAT | {"n": n}).encode() for n in range(2000)))
    found = list(read(io.BytesIO(whole[: len(whole) // 2]), file_time_ns=FILE_NS))
    assert isinstance(found[-1], Rejected) and "gzip" in found[-1].reason
    assert spans(found)


def test_an_otlp_file_keeps_its_exports_whole(tmp_path: Path) -> None:
    export = payload({"attributes": {"gen_ai.operation.name": "chat"}}, {"span_id": b""})
    framed = b"".join(struct.pack(">I", len(export)) + export for _ in range(2))
    for name, data, count in (
        ("one.binpb", export, 1),
        ("many.binpb", framed, 2),
        ("one.gz", gzip.compress(export, mtime=0), 1),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        found = list(read(path))
        exports = [each for each in found if isinstance(each, ImportedExport)]
        assert [each.spans for each in exports] == [1] * count
        assert sum(isinstance(each, Rejected) for each in found) == count
        (span,) = decode(exports[0].payload).spans
        assert (span.door, span.operation, span.start_ns) == ("import", "chat", START_NS)


def test_otlp_json_lines_of_a_collector_are_read() -> None:
    span = {"traceId": TRACE.hex(), "spanId": "00000000000000aa", "name": "x", "startTimeUnixNano": str(START_NS)}
    line = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    found = rows(line, {"resourceSpans": 5}, line)
    assert [type(each).__name__ for each in found] == ["ImportedExport", "Rejected", "ImportedExport"]


def test_framework_traces_keep_parents_models_tokens_and_tools() -> None:
    found = list(read(TRACES))
    read_spans = spans(found)
    assert not [each for each in found if isinstance(each, Rejected)]
    known = {(span.trace_id, span.span_id) for span in read_spans}
    assert all(span.parent_id is None or (span.trace_id, span.parent_id) in known for span in read_spans)
    assert len([span for span in read_spans if span.parent_id is None]) == 6
    calls = [span for span in read_spans if span.operation == "chat"]
    assert len(calls) == 12
    assert all(span.model and span.usage.input_tokens and span.usage.output_tokens and span.preview for span in calls)
    tools = {span.tool for span in read_spans if span.operation == "execute_tool"}
    assert {"say_hello", "get_weather", "getWeather"} <= tools
    agents = [span for span in read_spans if span.operation == "invoke_agent"]
    assert agents and all(span.usage == Usage() for span in agents)
    scores = [each for each in found if isinstance(each, Score)]
    assert {score.name for score in scores} >= {"toxicity", "correctness", "hallucination"}
    assert all(score.trace_id in {span.trace_id for span in read_spans} for score in scores)


def test_importing_framework_traces_twice_gives_the_same_records() -> None:
    def packed() -> list[bytes]:
        return [pack(each) for each in read(TRACES)]

    assert packed() == packed()


def test_a_langfuse_trace_without_observations_and_lone_rows_are_read() -> None:
    found = rows(
        {"id": "my trace", "timestamp": "2025-01-01T00:00:00Z", "name": "t", "input": {"q": "hi"}, "output": "yo",
         "observations": [], "latency": 1.5, "sessionId": "s", "userId": "u", "tags": ["a"]},
        {"id": "o1", "traceId": "my trace", "type": "GENERATION", "startTime": "2025-01-01T00:00:00Z",
         "model": "gpt-4o", "usageDetails": {"input": 10, "output": 5, "input_cached_tokens": 90,
         "total": 105}, "level": "ERROR",
         "statusMessage": "no"},
        {"id": "s1", "traceId": "my trace", "name": "good", "value": 1, "timestamp": "2025-01-01T00:00:00Z"},
        {"id": "s2", "traceId": "my trace", "observationId": "o1", "name": "kind", "stringValue": "a",
         "dataType": "CATEGORICAL", "value": 0, "timestamp": "2025-01-01T00:00:00Z"},
        {"id": "o2", "traceId": "my trace", "type": "SPAN", "startTime": "yesterday"},
        {"traceId": "my trace", "startTime": "2025-01-01T00:00:00Z"},
    )  # fmt: skip
    root, call, good, kind, late, nameless = found
    assert isinstance(root, ImportedSpan) and isinstance(call, ImportedSpan)
    assert (root.span.duration_ns, root.span.identity.session, root.span.identity.user) == (1_500_000_000, "s", "u")
    assert call.span.trace_id == root.span.trace_id
    assert (call.span.usage.input_tokens, call.span.usage.cache_read_tokens) == (100, 90)
    assert (call.span.status, call.span.message) == ("error", "no")
    assert isinstance(good, Score) and (good.subject_kind, good.value, good.trace_id) == (
        "trace",
        1.0,
        root.span.trace_id,
    )
    assert isinstance(kind, Score) and (kind.subject_id, kind.value, kind.label) == (call.span.span_id, None, "a")
    assert isinstance(late, Rejected) and "startTime" in late.reason
    assert isinstance(nameless, Rejected)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2025-01-02T03:04:05Z", 1_735_787_045_000_000_000),
        ("2025-01-02T03:04:05", 1_735_787_045_000_000_000),
        ("2025-01-02T04:04:05.25+01:00", 1_735_787_045_250_000_000),
        (1_735_787_045, 1_735_787_045_000_000_000),
        (1_735_787_045_250, 1_735_787_045_250_000_000),
        (1_735_787_045_250_001, 1_735_787_045_250_001_000),
        (1_735_787_045_250_001_002, 1_735_787_045_250_001_002),
        ("1735787045", 1_735_787_045_000_000_000),
        (12, None),
        (-5, None),
        (True, None),
        ("soon", None),
        (None, None),
        ("0001-01-01T00:00:00Z", None),
    ],
)
def test_a_time_is_read_in_any_unit_or_not_at_all(value: Any, expected: int | None) -> None:
    assert moment_of(value) == expected


cells = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.just("2025-01-01T00:00:00Z")
)
row_values = st.recursive(
    cells,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), row_values, max_size=8), st.sampled_from(["chat", "otlp", "langfuse"]))
def test_any_row_is_read_or_refused_and_never_breaks_the_import(row: dict[str, Any], format: Format) -> None:
    data = json.dumps(row).encode() + b"\n" + json.dumps(CHAT).encode()
    found = list(read(io.BytesIO(data), format, file_time_ns=FILE_NS))
    assert found
    for each in found:
        assert pack(each)
