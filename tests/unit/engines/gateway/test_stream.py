"""Following a stream of events, however its bytes are cut."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.engines.gateway.stream import HELD_BYTES, StreamReader
from watchkeeper.records.span import Usage


def event(line_end: str = "\n", **changes: object) -> bytes:
    payload = {"id": "c", "model": "m", **changes}
    return f"data: {json.dumps(payload)}{line_end}{line_end}".encode()


def said(text: str, finish: str | None = None) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


USAGE = {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}


def stream(line_end: str) -> bytes:
    comment = f": ping{line_end}{line_end}".encode()
    named = f"event: message{line_end}".encode() + event(line_end, **said("b\u00e9", "stop"))
    tail = event(line_end, choices=[], **USAGE) + f"data: [DONE]{line_end}{line_end}".encode()
    return comment + event(line_end, **said("a")) + named + tail


@given(st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 400), max_size=12))
def test_the_same_is_read_and_passed_on_wherever_the_bytes_are_cut(line_end: str, cuts: list[int]) -> None:
    whole = stream(line_end)
    reader, out = StreamReader(), b""
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    for begin, end in pairwise(places):
        out += reader.feed(whole[begin:end])
    assert out + reader.finish() == whole
    assert reader.answer.text == "ab\u00e9"
    assert reader.answer.usage == Usage(input_tokens=7, output_tokens=2)
    assert reader.answer.finish_reasons == ("stop",)
    assert (reader.done, reader.output_chunks, reader.malformed) == (True, 2, 0)


def test_a_whole_event_is_passed_on_at_once_and_half_of_one_is_held() -> None:
    reader = StreamReader()
    first, second = event(**said("a")), event(**said("b"))
    assert reader.feed(first + second[:10]) == first
    assert not reader.torn
    assert reader.feed(second[10:]) == second


def test_an_event_too_large_to_hold_is_passed_on_in_pieces() -> None:
    reader = StreamReader()
    large = event(**said("x" * (2 * HELD_BYTES)))
    out = reader.feed(large[: HELD_BYTES + 100])
    assert len(out) == HELD_BYTES + 100 and reader.torn
    assert out + reader.feed(large[HELD_BYTES + 100 :]) == large
    assert not reader.torn


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_the_chunk_that_only_carries_usage_can_be_hidden(size: int) -> None:
    visible = event(**said("a", "stop"))
    whole = visible + event(choices=[], **USAGE) + b"data: [DONE]\n\n"
    reader, out = StreamReader(hide_usage=True), b""
    for at in range(0, len(whole), size):
        out += reader.feed(whole[at : at + size])
    assert out + reader.finish() == visible + b"data: [DONE]\n\n"
    assert reader.answer.usage == Usage(input_tokens=7, output_tokens=2)


def test_events_that_cannot_be_read_are_counted_and_passed_on() -> None:
    reader = StreamReader()
    assert reader.feed(b'data: {"id": \n\ndata: [1]\n\n') == b'data: {"id": \n\ndata: [1]\n\n'
    assert reader.malformed == 2


def test_reasoning_and_tool_calls_are_content_and_a_role_is_not() -> None:
    reader = StreamReader()
    reader.feed(event(choices=[{"index": 0, "delta": {"role": "assistant", "content": ""}}]))
    assert reader.output_chunks == 0
    reader.feed(event(choices=[{"index": 0, "delta": {"reasoning_content": "hm"}}]))
    call = {"index": 0, "function": {"name": "look", "arguments": ""}}
    reader.feed(event(choices=[{"index": 0, "delta": {"tool_calls": [call]}}]))
    assert reader.output_chunks == 2 and reader.answer.text == "look()"


def typed(kind: str, **fields: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def test_the_last_event_of_a_responses_stream_holds_usage_model_and_tier() -> None:
    counts = {"input_tokens": 9, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 4}}
    whole = {"id": "resp_1", "model": "m", "status": "completed", "output": [], "service_tier": "flex"}
    reader = StreamReader()
    reader.feed(typed("response.created", response=whole | {"status": "in_progress", "usage": None}))
    assert not reader.complete
    reader.feed(typed("response.output_text.delta", delta="Hel") + typed("response.output_text.delta", delta="lo"))
    reader.feed(typed("response.completed", response=whole | {"usage": counts}))
    answer = reader.answer
    assert answer.usage == Usage(input_tokens=9, output_tokens=5, reasoning_tokens=4)
    assert (answer.model, answer.response_id, answer.service_tier) == ("m", "resp_1", "flex")
    assert (answer.text, answer.finish_reasons, reader.output_chunks) == ("Hello", ("completed",), 2)
    assert reader.complete and reader.done


def test_a_responses_stream_that_fails_says_why() -> None:
    reader = StreamReader()
    failed = {"status": "failed", "output": [], "error": {"code": "server_error", "message": "went away"}}
    reader.feed(typed("response.failed", response=failed))
    assert (reader.answer.error_type, reader.answer.message) == ("server_error", "went away")


def test_the_two_halves_of_a_messages_streams_usage_are_put_together() -> None:
    first = {"input_tokens": 6, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0, "output_tokens": 1}
    reader = StreamReader()
    reader.feed(typed("message_start", message={"id": "msg_1", "model": "m", "content": [], "usage": first}))
    reader.feed(typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "yes"}))
    reader.feed(typed("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 40}))
    reader.feed(typed("message_stop"))
    answer = reader.answer
    assert answer.usage == Usage(input_tokens=106, output_tokens=40, cache_read_tokens=100, cache_write_tokens=0)
    assert (answer.model, answer.text, answer.finish_reasons, reader.done) == ("m", "yes", ("end_turn",), True)


def test_the_last_counts_of_a_gemini_stream_are_those_that_stand() -> None:
    reader = StreamReader()
    for thoughts, text, ended in ((5, "a", {}), (7, "b", {"finishReason": "STOP"})):
        chunk = {
            "candidates": [{"content": {"parts": [{"text": text}]}, **ended}],
            "usageMetadata": {"promptTokenCount": 3, "thoughtsTokenCount": thoughts, "candidatesTokenCount": 1},
            "modelVersion": "g",
        }
        reader.feed(f"data: {json.dumps(chunk)}\n\n".encode())
    assert reader.answer.usage == Usage(input_tokens=3, output_tokens=8, reasoning_tokens=7)
    assert (reader.answer.model, reader.answer.text, reader.answer.finish_reasons) == ("g", "ab", ("STOP",))
    assert reader.complete


def test_usage_that_a_provider_sends_under_its_own_name_is_read() -> None:
    reader = StreamReader()
    reader.feed(event(**said("a", "stop")) + event(choices=[], x_groq={"usage": {"prompt_tokens": 2}}))
    assert reader.answer.usage == Usage(input_tokens=2)
