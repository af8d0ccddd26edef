"""Asks an Anthropic-compatible endpoint (POST /v1/messages) for one reply, from cases written as chat messages."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from watchkeeper.adapters.models.posting import Posted, Posting, refused, text_or_none, tokens, unreadable
from watchkeeper.kinds.ports import Completion

API_VERSION = "2023-06-01"
MAX_TOKENS = 4096
"""What is sent where a suite sets no max_tokens, which this interface does not do without."""

_SYSTEM = ("system", "developer")


class AnthropicHttp(Posting):
    """A ModelProvider over `base_url` (with or without /v1). `api_key` goes into the x-api-key header, nowhere else.

    Chat messages and parameters are brought into this interface's shape: system and developer messages into `system`,
    tool calls and results into blocks, `stop` into `stop_sequences`, functions into tools. Other fields go as they are.
    """

    usual: ClassVar[Mapping[str, str]] = {"anthropic-version": API_VERSION}

    @staticmethod
    def shown(api_key: str) -> Mapping[str, str]:
        """The header that carries a key."""
        return {"x-api-key": api_key}

    @staticmethod
    def root(base_url: str) -> str:
        """The address without /v1, which stands in the path."""
        return base_url.removesuffix("/v1")

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """One reply to a JSON message list."""
        posted = await self.post(self._url, "/v1/messages", request(json.loads(messages), parameters))
        return posted if isinstance(posted, Completion) else _read(posted)


def request(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, object]) -> dict[str, Any]:
    """A messages request for chat messages and parameters."""
    body: dict[str, Any] = dict(parameters)
    system = [_text(each.get("content")) for each in messages if each.get("role") in _SYSTEM]
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.get("role") in _SYSTEM:
            continue
        role, content = _turn(message)
        if turns and turns[-1]["role"] == role and isinstance(content, list):
            before = turns[-1]["content"]
            turns[-1]["content"] = _blocks(before) + content
        else:
            turns.append({"role": role, "content": content})
    most = body.pop("max_completion_tokens", None) or body.pop("max_tokens", None)
    body |= {"messages": turns, "max_tokens": most or MAX_TOKENS}
    if system:
        body["system"] = "\n\n".join(system)
    if "stop" in body:
        stop = body.pop("stop")
        body["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if isinstance(body.get("tools"), list):
        body["tools"] = [_tool(tool) for tool in body["tools"]]
    return body


def _turn(message: Mapping[str, Any]) -> tuple[str, Any]:
    if message.get("role") in ("tool", "function"):
        told = {"tool_use_id": message.get("tool_call_id") or "", "content": _text(message.get("content"))}
        return "user", [{"type": "tool_result", **told}]
    calls = message.get("tool_calls") or []
    if not calls:
        return str(message.get("role")), _content(message.get("content"))
    blocks = _blocks(_content(message.get("content")))
    for call in calls:
        function = call.get("function") or {}
        blocks.append(
            {
                "type": "tool_use",
                "id": call.get("id") or "",
                "name": function.get("name") or "",
                "input": _arguments(function.get("arguments")),
            }
        )
    return "assistant", blocks


def _content(content: Any) -> Any:
    """Text stays, and so do parts that are blocks already; parts of an image's address are turned into blocks."""
    if not isinstance(content, list):
        return content or ""
    blocks = []
    for part in content:
        if isinstance(part, dict) and part.get("type") == "image_url":
            blocks.append({"type": "image", "source": _image(str((part.get("image_url") or {}).get("url", "")))})
        else:
            blocks.append(part)
    return blocks


def _image(url: str) -> dict[str, str]:
    if not url.startswith("data:"):
        return {"type": "url", "url": url}
    media, _, data = url.removeprefix("data:").partition(";base64,")
    return {"type": "base64", "media_type": media, "data": data}


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, list):
        return list(content)
    return [{"type": "text", "text": content}] if content else []


def _arguments(text: Any) -> Any:
    try:
        read = json.loads(text) if isinstance(text, str) and text.strip() else text or {}
    except ValueError:
        return {"arguments": text}
    return read if isinstance(read, dict) else {"arguments": read}


def _tool(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict):
        return tool
    made = {"name": function.get("name"), "input_schema": function.get("parameters") or {"type": "object"}}
    return made | ({"description": function["description"]} if function.get("description") else {})


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return "" if content is None else json.dumps(content, ensure_ascii=False)


def _read(posted: Posted) -> Completion:
    if posted.status >= 300:
        return refused(posted)
    reply = posted.reply
    if not isinstance(reply, dict) or not isinstance(reply.get("content"), list):
        return unreadable(posted, "message")
    blocks = [block for block in reply["content"] if isinstance(block, dict)]
    said = [block["text"] for block in blocks if block.get("type") == "text" and isinstance(block.get("text"), str)]
    made = [
        {"name": block.get("name"), "arguments": json.dumps(block.get("input", {}), ensure_ascii=False)}
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    usage = reply.get("usage") or {}
    inward = tokens(usage, "input_tokens")
    if inward is not None:
        inward += (tokens(usage, "cache_read_input_tokens") or 0) + (tokens(usage, "cache_creation_input_tokens") or 0)
    return Completion(
        output="".join(said) if said else None,
        calls=msgspec.json.encode(made).decode() if made else None,
        finish_reason=text_or_none(reply.get("stop_reason")),
        model=text_or_none(reply.get("model")),
        input_tokens=inward,
        output_tokens=tokens(usage, "output_tokens"),
        duration_ns=time.perf_counter_ns() - posted.started,
        status=posted.status,
        composition=posted.composition,
    )
