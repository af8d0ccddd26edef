"""Anthropic's Messages as the lab speaks them: requests read as a chat, replies told in blocks and typed events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from watchkeeper.lab.faults import split_model
from watchkeeper.lab.shapes import Json, LabError, Reply, Usage, lab_tokens, pieces, text_of
from watchkeeper.lab.speech import Answer, ChatRequest, field, object_of, run_of, wrong

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessagesSpeech:
    """POST /v1/messages, plain and streamed."""

    def read(self, raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
        """Read a messages request as a chat; `max_tokens` is required, as it is at Anthropic."""
        return self.read_any(raw, headers, limited=True)

    def read_any(self, raw: bytes, headers: Mapping[str, str], *, limited: bool) -> ChatRequest:
        """Read a request that need not say how much may be written."""
        body = object_of(raw)
        model, words = split_model(field(body, "model", str, required=True))
        given = field(body, "messages", list, required=True)
        if not given or not all(isinstance(message, dict) for message in given):
            raise wrong("messages", "an array of message objects with at least one in it")
        messages: list[Any] = [{"role": "system", "content": body["system"]}] if body.get("system") else []
        for message in given:
            messages += as_chat(message)
        limit = field(body, "max_tokens", int, required=limited)
        if limit is not None and limit < 1:
            raise wrong("max_tokens", f"1 or more, got {limit}")
        return ChatRequest(
            model=model,
            fault_words=words,
            messages=messages,
            tools=[_tool(tool) for tool in field(body, "tools", list) or []],
            stream=bool(body.get("stream")),
            include_usage=True,
            max_tokens=limit,
            run=run_of(body, headers),
            body=body,
        )

    def plain(self, request: ChatRequest, answer: Answer) -> Json:
        """A whole message."""
        stop = _REASONS[answer.reply.finish_reason]
        return _head(answer) | {"content": list(_blocks(answer.reply)), "stop_reason": stop, "usage": _usage(answer)}

    def events(self, request: ChatRequest, answer: Answer, chunk_tokens: int) -> Iterator[tuple[bytes, int]]:
        """The events of a streamed message."""
        opening = {**(_usage(answer) or {}), "output_tokens": 1} if answer.usage is not None else None
        yield _event("message_start", message=_head(answer) | {"content": [], "usage": opening}), 0
        yield _event("ping"), 0
        for index, block in enumerate(_blocks(answer.reply)):
            empty: Json = {"text": ""} if block["type"] == "text" else {"input": {}}
            yield _event("content_block_start", index=index, content_block=block | empty), 0
            whole = block["text"] if block["type"] == "text" else msgspec.json.encode(block["input"]).decode()
            for piece in pieces(whole, chunk_tokens):
                delta = {"type": "text_delta", "text": piece}
                if block["type"] != "text":
                    delta = {"type": "input_json_delta", "partial_json": piece}
                yield _event("content_block_delta", index=index, delta=delta), lab_tokens(piece)
            yield _event("content_block_stop", index=index), 0
        ended: Json = {"stop_reason": _REASONS[answer.reply.finish_reason], "stop_sequence": None}
        told = {} if answer.usage is None else {"usage": {"output_tokens": answer.usage.completion_tokens}}
        yield _event("message_delta", delta=ended, **told), 0
        yield _event("message_stop"), 0

    def error(self, error: LabError) -> Json:
        """Anthropic's error."""
        kind = _KINDS.get(error.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": "req_lab"}


def as_chat(message: Mapping[str, Any]) -> list[Json]:
    """A message of blocks as messages of a chat: its texts, its tool calls, and each tool result on its own."""
    content = message.get("content")
    if not isinstance(content, list):
        return [{"role": message.get("role"), "content": content}]
    blocks = [block for block in content if isinstance(block, dict)]
    results = [
        {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text_of(block.get("content"))}
        for block in blocks
        if block.get("type") == "tool_result"
    ]
    texts = [block for block in blocks if block.get("type") not in ("tool_result", "tool_use", "thinking")]
    calls = [
        {
            "id": block.get("id"),
            "type": "function",
            "function": {"name": block.get("name"), "arguments": msgspec.json.encode(block.get("input")).decode()},
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    said: Json = {"role": message.get("role"), "content": text_of(texts) if texts else None}
    if calls:
        said["tool_calls"] = calls
    return [*results, said] if texts or calls else list(results)


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    return {"type": "function", "function": {"name": tool.get("name"), "parameters": tool.get("input_schema")}}


def _head(answer: Answer) -> Json:
    return {
        "id": answer.envelope.id.replace("chatcmpl-lab-", "msg_lab_"),
        "type": "message",
        "role": "assistant",
        "model": answer.envelope.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def _blocks(reply: Reply) -> Iterator[Json]:
    if reply.content is not None:
        yield {"type": "text", "text": reply.content}
    for call in reply.tool_calls:
        given = msgspec.json.decode(call.arguments or "{}")
        yield {"type": "tool_use", "id": call.id.replace("call_", "toolu_"), "name": call.name, "input": given}


def _usage(answer: Answer) -> Json | None:
    """Anthropic counts what was read from a cache beside the input and not within it."""
    usage: Usage | None = answer.usage
    if usage is None:
        return None
    cached = usage.cached_tokens or 0
    return {
        "input_tokens": usage.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens,
    }


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"
