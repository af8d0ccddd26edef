"""OpenAI's Responses: cases written as chat messages go out as items, and its replies come back as completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.adapters.models.answering import answering
from watchkeeper.adapters.models.responses_http import ResponsesHttp, request
from watchkeeper.engines.gateway.transport.client import Client

pytestmark = pytest.mark.anyio


def reply(**fields: Any) -> dict[str, Any]:
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}
    return {
        "status": "completed",
        "model": "m-1",
        "output": [message],
        "usage": {"input_tokens": 3, "output_tokens": 2},
    } | fields


async def asked(**given: Any) -> Any:
    async with answering(**given) as at, ResponsesHttp(Client, at.url, "secret-key") as provider:
        answer = await provider.complete('[{"role":"user","content":"x"}]', {"model": "m", "max_tokens": 9})
        return answer, at.asked[0]


async def test_a_reply_is_read_and_nothing_is_stored_there_unasked() -> None:
    answer, (path, headers, body) = await asked(reply=reply())
    assert (answer.output, answer.finish_reason, answer.input_tokens) == ("Hi", "stop", 3)
    assert path == "/v1/responses" and headers["authorization"] == "Bearer secret-key"
    assert body == {"store": False, "model": "m", "max_output_tokens": 9, "input": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize(
    ("fields", "output", "finish"),
    [
        ({"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]}, "No.", "refusal"),
        ({"output": [{"type": "function_call", "name": "look", "arguments": "{}"}]}, None, "tool_calls"),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "Hi", "max_output_tokens"),
    ],
)
async def test_how_it_ended_is_told(fields: dict[str, Any], output: str | None, finish: str) -> None:
    answer, _ = await asked(reply=reply(**fields))
    assert (answer.output, answer.finish_reason, answer.error) == (output, finish, None)


async def test_a_failed_response_is_a_failure_although_its_status_is_200() -> None:
    answer, _ = await asked(reply=reply(status="failed", error={"message": "the engine stopped"}))
    assert answer.error == "the response is failed: the engine stopped"


def test_a_chat_becomes_items() -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [{"id": "c", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "a ship"},
        {"role": "user", "content": [{"type": "text", "text": "And?"}]},
    ]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    body = request(chat, {"model": "m", "tools": [tool], "store": True})
    assert [item.get("type", item.get("role")) for item in body["input"]] == [
        "system", "assistant", "function_call", "function_call_output", "user",
    ]  # fmt: skip
    assert body["input"][4]["content"] == [{"type": "input_text", "text": "And?"}]
    assert body["tools"] == [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    assert body["store"] is True and json.dumps(body)
