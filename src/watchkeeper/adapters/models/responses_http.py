"""Asks an endpoint of OpenAI's Responses for one reply, from cases written as chat messages."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from watchkeeper.adapters.models.posting import Posted, Posting, failed, refused, text_or_none, tokens, unreadable
from watchkeeper.kinds.ports import Completion


class ResponsesHttp(Posting):
    """A ModelProvider over `base_url` (it usually ends in /v1). `api_key` goes into the Authorization header only.

    Chat messages become items, `max_tokens` becomes `max_output_tokens`, functions become tools. Other fields go as
    they are; nothing is stored at the provider unless a suite sets `store`.
    """

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """One reply to a JSON message list."""
        posted = await self.post(self._url, "/responses", request(json.loads(messages), parameters))
        return posted if isinstance(posted, Completion) else _read(posted)


def request(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, object]) -> dict[str, Any]:
    """A responses request for chat messages and parameters."""
    body: dict[str, Any] = {"store": False, **parameters}
    for name in ("max_completion_tokens", "max_tokens"):
        if name in body:
            body["max_output_tokens"] = body.pop(name)
    if isinstance(body.get("tools"), list):
        body["tools"] = [_tool(tool) for tool in body["tools"]]
    body["input"] = [item for message in messages for item in _items(message)]
    return body


def _items(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    role, content = message.get("role"), message.get("content")
    if role in ("tool", "function"):
        output = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
        return [{"type": "function_call_output", "call_id": message.get("tool_call_id") or "", "output": output}]
    items = [] if content in (None, "") else [{"role": role, "content": _parts(content, role)}]
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        items.append(
            {
                "type": "function_call",
                "call_id": call.get("id") or "",
                "name": function.get("name") or "",
                "arguments": function.get("arguments") or "",
            }
        )
    return items


def _parts(content: Any, role: Any) -> Any:
    if not isinstance(content, list):
        return content
    text = "output_text" if role == "assistant" else "input_text"
    parts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            parts.append({"type": text, "text": part.get("text", "")})
        elif kind == "image_url":
            parts.append({"type": "input_image", "image_url": (part.get("image_url") or {}).get("url", "")})
        else:
            parts.append(part)
    return parts


def _tool(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    return {"type": "function", **function} if isinstance(function, dict) else tool


def _read(posted: Posted) -> Completion:
    if posted.status >= 300:
        return refused(posted)
    reply = posted.reply
    if not isinstance(reply, dict) or not isinstance(reply.get("output"), list):
        return unreadable(posted, "response")
    if reply.get("status") in ("failed", "cancelled"):
        error = reply.get("error") or {}
        return failed(f"the response is {reply['status']}: {error.get('message') or 'no reason given'}", posted.started)
    items = [item for item in reply["output"] if isinstance(item, dict)]
    parts = [part for item in items if item.get("type") == "message" for part in item.get("content") or []]
    said = [part["text"] for part in parts if isinstance(part.get("text"), str)]
    declined = [part["refusal"] for part in parts if isinstance(part.get("refusal"), str)]
    made = [
        {"name": item.get("name"), "arguments": item.get("arguments", "")}
        for item in items
        if item.get("type") == "function_call"
    ]
    usage = reply.get("usage") or {}
    why = (reply.get("incomplete_details") or {}).get("reason")
    finish = "refusal" if declined and not said else why or ("tool_calls" if made else "stop")
    return Completion(
        output="".join(said or declined) if said or declined else None,
        calls=msgspec.json.encode(made).decode() if made else None,
        finish_reason=text_or_none(finish),
        model=text_or_none(reply.get("model")),
        input_tokens=tokens(usage, "input_tokens"),
        output_tokens=tokens(usage, "output_tokens"),
        duration_ns=time.perf_counter_ns() - posted.started,
        status=posted.status,
        composition=posted.composition,
    )
