"""What is read of a responses request."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watchkeeper.engines.gateway.dialects.chat import CHAT
from watchkeeper.engines.gateway.dialects.dialect import IMAGE_TOKENS
from watchkeeper.engines.gateway.dialects.responses import CLIENT_TOOL_TOKENS, RESPONSES
from watchkeeper.engines.gateway.errors import Refusal

BASE: dict[str, Any] = {"model": "m", "input": "Hi."}


def bound(**changes: Any) -> tuple[int | None, int]:
    body = json.dumps({**BASE, **changes}).encode()
    return RESPONSES.input_bound(body, RESPONSES.read(body)), len(body)


def test_the_bound_is_the_bytes_of_the_body_and_more_for_images_and_tools() -> None:
    inward, size = bound()
    assert inward == size
    image = {"role": "user", "content": [{"type": "input_image", "image_url": "data:,"}]}
    inward, size = bound(input=[image, image])
    assert inward == size + 2 * IMAGE_TOKENS
    inward, size = bound(tools=[{"type": "function", "name": "f"}, {"type": "custom", "name": "c"}])
    assert inward == size
    inward, size = bound(tools=[{"type": "local_shell"}])
    assert inward == size + CLIENT_TOOL_TOKENS


@pytest.mark.parametrize(
    "changes",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1"}},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_url": "https://example.com"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]},
        {"tools": [{"name": "typeless"}]},
        {"tools": {"type": "function"}},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://example.com"}]}]},
        {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]},
    ],
)
def test_what_the_provider_holds_has_no_bound(changes: dict[str, Any]) -> None:
    assert bound(**changes)[0] is None


def test_a_file_in_disguise_has_no_bound_either() -> None:
    body = b'{"model":"m","input":[{"role":"user","content":[{"\\u0074ype":"input_file","file_url":"x"}]}]}'
    assert RESPONSES.input_bound(body, RESPONSES.read(body)) is None


def test_its_items_are_the_same_steps_as_those_of_a_chat() -> None:
    items = [
        {"role": "user", "content": "Look."},
        {"type": "function_call", "id": "fc_1", "call_id": "t1", "name": "look", "arguments": '{"a": 2}'},
        {"type": "function_call_output", "call_id": "t1", "output": "grey"},
        {"type": "custom_tool_call", "call_id": "t2", "name": "grep", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "t2", "output": [{"type": "input_text", "text": "none"}]},
    ]
    chat = [
        {"role": "assistant", "tool_calls": [{"id": "t1", "function": {"name": "look", "arguments": '{"a":2}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "grey"},
        {"role": "assistant", "tool_calls": [{"id": "t2", "custom": {"name": "grep", "input": "x"}}]},
        {"role": "tool", "tool_call_id": "t2", "content": "none"},
    ]
    steps = RESPONSES.steps(RESPONSES.read(json.dumps({**BASE, "input": items}).encode()), "a")
    assert steps == CHAT.steps(CHAT.read(json.dumps({"model": "m", "messages": chat}).encode()), "a")
    assert [step.tool for step in steps] == ["look", "grep"] and all(step.result for step in steps)


def test_an_output_answers_the_call_of_the_response_before() -> None:
    call = {"type": "function_call", "call_id": "t1", "name": "look", "arguments": '{"a": 2}'}
    output = {"type": "function_call_output", "call_id": "t1", "output": "grey"}
    whole = RESPONSES.steps(RESPONSES.read(json.dumps({**BASE, "input": [call, output]}).encode()), "a")
    before = RESPONSES.steps(RESPONSES.read(json.dumps({**BASE, "input": [call]}).encode()), None)
    assert before[0].result is None
    apart = RESPONSES.steps(RESPONSES.read(json.dumps({**BASE, "input": [output]}).encode()), "a", before)
    assert apart == whole


def test_a_call_that_holds_its_own_output_is_one_step_with_a_result() -> None:
    item = {"type": "mcp_call", "id": "mcp_1", "name": "search", "arguments": "{}", "output": "found"}
    (step,) = RESPONSES.steps(RESPONSES.read(json.dumps({**BASE, "input": [item]}).encode()), None)
    assert (step.tool, step.result is None) == ("search", False)


@pytest.mark.parametrize("item", ["7", '"x_call"', '{"type":7}', '{"type":"_call"}', '{"type":"x_call_output"}'])
def test_odd_items_do_not_break_it(item: str) -> None:
    body = b'{"model":"m","input":[' + item.encode() + b"]}"
    assert len(RESPONSES.steps(RESPONSES.read(body), None)) <= 1


def test_the_last_words_of_the_user_are_found_in_both_kinds_of_input() -> None:
    assert RESPONSES.asked_text(RESPONSES.read(json.dumps(BASE).encode()), 300) == "Hi."
    items = [{"role": "user", "content": [{"type": "input_text", "text": "Then?"}]}, {"type": "function_call_output"}]
    assert RESPONSES.asked_text(RESPONSES.read(json.dumps({**BASE, "input": items}).encode()), 300) == "Then?"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model":"m","input":', "invalid_json"),
        (b'{"input":"x"}', "model_missing"),
        (b'{"model":"m","input":5}', "invalid_value"),
        (b'{"model":"m","input":"x","max_output_tokens":-1}', "invalid_value"),
        (b'{"model":"m","input":"x","max_output_tokens":1,"max_output_tokens":9}', "duplicate_field"),
        (b'{"model":"m","input":"x","background":false,"background":true}', "duplicate_field"),
        (b'{"model":"m","input":"x","Previous_Response_Id":"r"}', "invalid_field"),
        (b'{"model":"m","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "invalid_json"),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(Refusal) as caught:
        RESPONSES.read(body)
    assert caught.value.code == code


def test_a_broken_stream_ends_with_an_event_that_is_numbered_and_makes_clients_raise() -> None:
    event = json.loads(RESPONSES.wording.event("upstream_timeout", "A sentence.", 4).split(b"data: ")[1])
    assert (event["type"], event["code"], event["sequence_number"]) == ("error", "upstream_timeout", 5)
    assert event["error"]["message"] == event["message"] == "A sentence."
