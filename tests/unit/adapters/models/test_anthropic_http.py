"""Anthropic's interface: chat messages go out in its shape, and its replies come back as completions."""

from __future__ import annotations

import json

import pytest

from tests.unit.adapters.models.answering import answering
from watchkeeper.adapters.models.anthropic_http import MAX_TOKENS, AnthropicHttp, request
from watchkeeper.engines.gateway.transport.client import Client

pytestmark = pytest.mark.anyio
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}


async def test_a_reply_with_text_and_a_tool_call_is_read() -> None:
    reply = {
        "type": "message",
        "model": "claude-x",
        "content": [
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 5,
            "cache_read_input_tokens": 7,
            "cache_creation_input_tokens": 1,
            "output_tokens": 9,
        },
    }
    async with answering(reply=reply) as at, AnthropicHttp(Client, at.url, "secret-key") as provider:
        answer = await provider.complete('[{"role":"user","content":"x"}]', {"model": "claude-x"})
        path, headers, body = at.asked[0]
    assert (answer.output, answer.finish_reason, answer.model) == ("I look.", "tool_use", "claude-x")
    assert (answer.input_tokens, answer.output_tokens) == (13, 9)
    assert json.loads(answer.calls or "") == [{"name": "look", "arguments": '{"a": 1}'}]
    assert path == "/v1/messages" and headers["x-api-key"] == "secret-key" and "authorization" not in headers
    assert headers["anthropic-version"] and body["max_tokens"] == MAX_TOKENS


def test_a_chat_becomes_turns_of_blocks() -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Look."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "a ship"},
        {"role": "developer", "content": "Still brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
            ],
        },
    ]
    body = request(chat, {"model": "m", "max_completion_tokens": 9, "stop": "END", "tools": [TOOL], "top_k": 3})
    assert body["system"] == "Be brief.\n\nStill brief."
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][1]["content"] == [{"type": "tool_use", "id": "c", "name": "look", "input": {"a": 1}}]
    assert [block["type"] for block in body["messages"][2]["content"]] == ["tool_result", "text", "image"]
    assert body["messages"][2]["content"][2]["source"] == {"type": "base64", "media_type": "image/png", "data": "QQ=="}
    assert (body["max_tokens"], body["stop_sequences"], body["top_k"]) == (9, ["END"], 3)
    assert body["tools"] == [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}]
    assert not {"stop", "max_completion_tokens"} & body.keys()


async def test_an_error_is_told_in_the_endpoint_s_own_words() -> None:
    reply = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    async with answering(status=529, reply=reply) as at, AnthropicHttp(Client, at.url) as provider:
        answer = await provider.complete("[]", {"model": "m"})
    assert (answer.error, answer.retriable) == ("HTTP 529: Overloaded", True)


async def test_a_reply_of_another_interface_is_an_error_in_words() -> None:
    async with answering(reply={"choices": []}) as at, AnthropicHttp(Client, at.url) as provider:
        answer = await provider.complete("[]", {"model": "m"})
    assert answer.error is not None and "no message" in answer.error
