"""What replies of all providers say, plain and streamed, read from recorded exchanges."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.replies import ToolUse, told

DATA = Path(__file__).parents[2] / "data" / "provider-cassettes" / "exchanges.jsonl.gz"
EXCHANGES = [json.loads(line) for line in gzip.decompress(DATA.read_bytes()).splitlines()]

ROWS: list[tuple[str, dict[str, Any], tuple[str | None, tuple[str, ...], tuple[ToolUse, ...], str]]] = [
    (
        "chat",
        {
            "model": "m",
            "choices": [
                {
                    "finish_reason": "tool_calls",
                    "message": {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}]},
                }
            ],
        },
        ("m", ("tool_calls",), (ToolUse(name="f", arguments='{"a":1}', call_id="c"),), ""),
    ),
    (
        "messages",
        {
            "model": "m",
            "stop_reason": "tool_use",
            "content": [{"type": "text", "text": "so"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}}],
        },
        ("m", ("tool_use",), (ToolUse(name="f", arguments="{}", call_id="t"),), "so"),
    ),
    (
        "responses",
        {
            "model": "m",
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": [
                {"type": "message", "content": [{"type": "output_text", "text": "half"}]},
                {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"},
            ],
        },
        ("m", ("max_output_tokens",), (ToolUse(name="f", arguments="{}", call_id="c"),), "half"),
    ),
    (
        "gemini",
        {
            "modelVersion": "m",
            "candidates": [
                {
                    "finishReason": "STOP",
                    "content": {
                        "parts": [
                            {"text": "hm", "thought": True},
                            {"text": "yes"},
                            {"functionCall": {"name": "f", "args": {"a": 1}}},
                        ]
                    },
                }
            ],
        },
        ("m", ("STOP",), (ToolUse(name="f", arguments='{"a":1}'),), "yes"),
    ),
    (
        "converse",
        {
            "stopReason": "tool_use",
            "output": {"message": {"content": [{"toolUse": {"toolUseId": "u", "name": "f", "input": {}}}]}},
        },
        (None, ("tool_use",), (ToolUse(name="f", arguments="{}", call_id="u"),), ""),
    ),
    (
        "cohere",
        {"finish_reason": "COMPLETE", "message": {"content": [{"type": "text", "text": "done"}]}},
        (None, ("COMPLETE",), (), "done"),
    ),
    ("nothing", {}, (None, (), (), "")),
]


@pytest.mark.parametrize(("body", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_reply_is_read_in_every_shape(body: dict[str, Any], expected: tuple[Any, ...]) -> None:
    said = told(body)
    assert (said.model, said.finish_reasons, said.tools, said.text) == expected


@pytest.mark.parametrize("exchange", EXCHANGES, ids=range(len(EXCHANGES)))
def test_recorded_exchanges_give_usage_and_the_reason_they_ended(exchange: dict[str, Any]) -> None:
    from watchkeeper.adapters.formats.streamed import add_up

    response = exchange["response"]
    body = add_up(response.encode()) if isinstance(response, str) else response
    said = told(body)
    assert said.counts is not None and said.finish_reasons
    usage = said.counts.usage()
    assert usage.input_tokens is not None and usage.output_tokens is not None


_NAMES = st.sampled_from(
    [
        "choices", "message", "content", "tool_calls", "function", "name", "arguments", "output", "status",
        "candidates",
        "parts", "functionCall", "args", "response", "usage", "incomplete_details", "type", "text", "toolUse", "input",
    ]
)  # fmt: skip
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "tool_use", "function_call", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(_NAMES, _JSON, max_size=5))
def test_whatever_a_reply_holds_it_is_read(body: dict[str, Any]) -> None:
    said = told(body)
    assert all(tool.name for tool in said.tools) and isinstance(said.text, str)
