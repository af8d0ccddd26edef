"""Streams add up to the reply that would have come in one piece."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from watchkeeper.adapters.formats.streamed import add_up, looks_streamed
from watchkeeper.analysis.replies import told
from watchkeeper.records.span import Usage


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)


def frame(kind: str, value: dict[str, Any]) -> bytes:
    """One frame as Bedrock writes it: lengths, headers with their types, the payload, checksums."""
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
        for name, text in ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    )
    payload = json.dumps(value).encode()
    total = 16 + len(headers) + len(payload)
    return struct.pack(">II", total, len(headers)) + b"\x7b\x00\x00\x01" + headers + payload + b"\x00\x00\x7b\x00"


CONVERSE = (
    ("messageStart", {"role": "assistant", "p": "abc"}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hel"}}),
    ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "lo {there}"}}),
    ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": "look"}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": '{"x":'}}}),
    ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "1}"}}}),
    ("messageStop", {"stopReason": "tool_use"}),
    ("metadata", {"usage": {"inputTokens": 5, "outputTokens": 2, "cacheReadInputTokens": 10}, "metrics": {}}),
)


@pytest.mark.parametrize("as_text", [False, True], ids=["binary", "kept as text"])
def test_a_converse_stream(as_text: bool) -> None:
    data = b"".join(frame(kind, value) for kind, value in CONVERSE)
    if as_text:
        data = data.decode("utf-8", "replace").encode()
    assert looks_streamed(data)
    said = told(add_up(data))
    assert (said.text, said.finish_reasons) == ("Hello {there}", ("tool_use",))
    assert [(tool.name, tool.arguments) for tool in said.tools] == [("look", '{"x":1}')]
    assert said.counts is not None
    assert said.counts.usage() == Usage(input_tokens=15, output_tokens=2, cache_read_tokens=10)


def test_an_invocation_stream_holds_the_models_own_events() -> None:
    events = (
        {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 7, "output_tokens": 1}}},
        {"type": "content_block_start", "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "yes"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    )
    data = b"".join(frame("chunk", {"bytes": base64.b64encode(json.dumps(e).encode()).decode()}) for e in events)
    said = told(add_up(data))
    assert (said.model, said.text, said.finish_reasons) == ("m", "yes", ("end_turn",))
    assert said.counts is not None and said.counts.usage() == Usage(input_tokens=7, output_tokens=9)


@pytest.mark.parametrize("cut", [1, 40, 120, 200])
def test_frames_that_were_cut_add_up_to_what_came(cut: int) -> None:
    data = b"".join(frame(kind, value) for kind, value in CONVERSE)[:-cut]
    assert told(add_up(data)).text == "Hello {there}"


def test_a_cohere_stream() -> None:
    said = told(
        add_up(
            sse(
                {"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant"}}},
                {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hel"}}}},
                {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "lo"}}}},
                {
                    "type": "tool-call-start",
                    "index": 0,
                    "delta": {"message": {"tool_calls": {"id": "t", "function": {"name": "f", "arguments": ""}}}},
                },
                {
                    "type": "tool-call-delta",
                    "index": 0,
                    "delta": {"message": {"tool_calls": {"function": {"arguments": "{}"}}}},
                },
                {
                    "type": "message-end",
                    "delta": {
                        "finish_reason": "COMPLETE",
                        "usage": {"billed_units": {"input_tokens": 3, "output_tokens": 2}},
                    },
                },
            )
        )
    )
    assert (said.response_id, said.text, said.finish_reasons) == ("c-1", "Hello", ("COMPLETE",))
    assert [(tool.name, tool.arguments) for tool in said.tools] == [("f", "{}")]
    assert said.counts is not None and said.counts.usage() == Usage(input_tokens=3, output_tokens=2)


def test_a_last_chunk_may_have_choices_and_usage() -> None:
    usage = {"prompt_tokens": 4, "completion_tokens": 1}
    whole = add_up(
        sse(
            {"model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage},
        )
    )
    assert whole["usage"] == usage and told(whole).finish_reasons == ("stop",)


def test_usage_in_a_chunk_of_gemini_without_candidates_is_taken() -> None:
    whole = add_up(
        sse(
            {"candidates": [{"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"}]},
            {"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}, "modelVersion": "g"},
        )
    )
    assert told(whole).model == "g" and told(whole).counts is not None
