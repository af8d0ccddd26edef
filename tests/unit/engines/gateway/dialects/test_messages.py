"""What is read of an Anthropic messages request, and how its clients are told an error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watchkeeper.engines.gateway.dialects.chat import CHAT
from watchkeeper.engines.gateway.dialects.dialect import IMAGE_TOKENS
from watchkeeper.engines.gateway.dialects.messages import ANTHROPIC, MESSAGES, TOOL_TOKENS
from watchkeeper.engines.gateway.errors import Refusal

BASE: dict[str, Any] = {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]}


def bound(**changes: Any) -> tuple[int | None, int]:
    body = json.dumps({**BASE, **changes}).encode()
    return MESSAGES.input_bound(body, MESSAGES.read(body)), len(body)


def test_the_bound_is_the_bytes_of_the_body() -> None:
    inward, size = bound()
    assert inward == size


def test_tools_cost_what_the_provider_adds_for_them() -> None:
    own = [{"name": "look", "input_schema": {}}, {"type": "custom", "name": "see", "input_schema": {}}]
    inward, size = bound(tools=own)
    assert inward == size + TOOL_TOKENS
    inward, size = bound(tools=[*own, {"type": "bash_20250124", "name": "bash"}])
    assert inward == size + 2 * TOOL_TOKENS
    inward, size = bound(tools=[])
    assert inward == size


def test_an_image_costs_more_than_its_bytes() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    inward, size = bound(messages=[{"role": "user", "content": [image]}])
    assert inward == size + IMAGE_TOKENS


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "code_execution_20250522", "name": "code_execution"}]},
        {"tools": [{"type": "something_new", "name": "x"}]},
        {"tools": [{"type": 7, "name": "x"}]},
        {"tools": "all"},
        {"tools": [1]},
        {"mcp_servers": [{"url": "https://example.com"}]},
        {"container": "c_1"},
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "x"}}]}]},
    ],
)
def test_what_is_not_in_the_body_has_no_bound(changes: dict[str, Any]) -> None:
    assert bound(**changes)[0] is None


def test_a_document_in_disguise_has_no_bound_either() -> None:
    body = json.dumps(BASE).encode().replace(b'"Hi."', b'[{"type": "\\u0064ocument", "source": {}}]')
    assert MESSAGES.input_bound(body, MESSAGES.read(body)) is None


def test_its_tool_calls_are_the_same_steps_as_those_of_a_chat() -> None:
    blocks = [
        {"role": "user", "content": "Look."},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "Yes."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"b": 1, "a": 2}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "grey"}]}],
        },
    ]
    chat = [
        {"role": "assistant", "tool_calls": [{"id": "t1", "function": {"name": "look", "arguments": '{"a":2,"b":1}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "grey"},
    ]
    ours = MESSAGES.read(json.dumps({**BASE, "messages": blocks}).encode())
    theirs = CHAT.read(json.dumps({"model": "m", "messages": chat}).encode())
    steps = MESSAGES.steps(ours, "a")
    assert len(steps) == 1 and steps[0].result is not None
    assert steps == CHAT.steps(theirs, "a")


@pytest.mark.parametrize(
    "content", ["null", "7", '"tool_use"', "[7]", '[{"type":"tool_use"}]', '[{"type":"tool_result"}]']
)
def test_odd_blocks_do_not_break_it(content: str) -> None:
    body = b'{"model":"m","messages":[{"role":"assistant","content":' + content.encode() + b',"x":"tool_"}]}'
    assert len(MESSAGES.steps(MESSAGES.read(body), None)) <= 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model":"m","messages":[', "invalid_json"),
        (b'{"model":"m"}', "messages_missing"),
        (b'{"messages":[]}', "model_missing"),
        (b'{"model":"m","messages":{}}', "invalid_value"),
        (b'{"model":"m","messages":[],"max_tokens":"9"}', "invalid_value"),
        (b'{"model":"m","messages":[],"stream":1}', "invalid_value"),
        (b'{"model":"m","messages":[],"max_tokens":1,"max_tokens":9}', "duplicate_field"),
        (b'{"model":"m","messages":[],"messages":[1]}', "duplicate_field"),
        (b'{"model":"m","messages":[],"Tools":[]}', "invalid_field"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        MESSAGES.read(body)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (502, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_error_has_the_shape_and_type_that_its_clients_know(status: int, kind: str) -> None:
    told = json.loads(ANTHROPIC.body(Refusal(status, "why", "A sentence.")))
    assert told == {"type": "error", "error": {"type": kind, "message": "A sentence.", "code": "why"}}


def test_a_broken_stream_ends_with_an_error_event() -> None:
    event = ANTHROPIC.event("upstream_timeout", "A sentence.", None)
    name, data, blank = event.split(b"\n", 2)
    assert name == b"event: error" and blank == b"\n"
    assert json.loads(data[6:])["error"]["type"] == "api_error"
