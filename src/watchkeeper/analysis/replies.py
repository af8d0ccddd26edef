"""Reads what a whole reply of any provider says of itself: model, id, why it ended, tool calls, text, usage.

Reads chat completions, Responses, Messages, generateContent, Converse, the invoke bodies of Bedrock, Cohere and Ollama,
told apart by their fields. A stream is first added up to the reply it would have been.

Source: the providers' references, and the recorded exchanges that `tests/unit/analysis/test_replies.py` reads.

Limits: finish reasons are given in the provider's own words. Tools that a provider runs by itself (web search, code)
are named where the reply shows them as calls, and otherwise not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from watchkeeper.analysis.usage import Counts, find, read
from watchkeeper.records.record import Record

_LONGEST = 200
_MOST = 128
Object = Mapping[str, Any]


class ToolUse(Record):
    """One call of a tool that a reply asks for; `arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str
    call_id: str | None = None


class Told(Record):
    """What a reply says; None and empty are unknown."""

    model: str | None = None
    response_id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    tools: tuple[ToolUse, ...] = ()
    text: str = ""
    counts: Counts | None = None
    tier: str | None = None


def told(body: Object) -> Told:
    """Read a reply, or an event that carries one in `response` or `message`."""
    inner = next((body[name] for name in ("response", "result") if _is_reply(body.get(name))), body)
    usage = find(inner) or find(body)
    counts = None if usage is None else read(usage)
    text = "".join(part for part in _texts(inner) if isinstance(part, str))
    tier = _word(inner, "service_tier") or _word(inner, "serviceTier")
    return Told(
        model=_word(inner, "model") or _word(inner, "modelVersion"),
        response_id=_word(inner, "id") or _word(inner, "responseId") or _word(inner, "generation_id"),
        finish_reasons=tuple(_reasons(inner))[:_MOST],
        tools=tuple(_tools(inner))[:_MOST],
        text=text,
        counts=counts,
        tier=tier or (None if counts is None else counts.tier),
    )


def _is_reply(value: Any) -> bool:
    return isinstance(value, Mapping) and any(name in value for name in ("output", "usage", "choices", "model"))


def _reasons(body: Object) -> Iterator[str]:
    for choice in _objects(body.get("choices")):
        if isinstance(choice.get("finish_reason"), str):
            yield choice["finish_reason"]
    for candidate in _objects(body.get("candidates")):
        if isinstance(candidate.get("finishReason"), str):
            yield candidate["finishReason"]
    for result in _objects(body.get("results")):
        if isinstance(result.get("completionReason"), str):
            yield result["completionReason"]
    for name in ("stop_reason", "stopReason", "finish_reason", "done_reason"):
        if isinstance(body.get(name), str):
            yield body[name]
    if "output" in body and isinstance(body.get("status"), str) and body["status"] not in ("queued", "in_progress"):
        why = body.get("incomplete_details")
        reason = why.get("reason") if isinstance(why, Mapping) else None
        yield reason if isinstance(reason, str) else body["status"]


def _tools(body: Object) -> Iterator[ToolUse]:
    for message in _messages(body):
        for call in _objects(message.get("tool_calls")):
            function = call.get("function")
            if isinstance(function, Mapping):
                yield from _tool(function, "arguments", call.get("id"))
        if isinstance(message.get("function_call"), Mapping):
            yield from _tool(message["function_call"], "arguments", None)
    for part in _parts(body):
        kind = part.get("type")
        if isinstance(kind, str) and kind.endswith("tool_use"):
            yield from _tool(part, "input", part.get("id"))
        elif kind in ("function_call", "custom_tool_call", "mcp_call"):
            yield from _tool(part, "input" if kind == "custom_tool_call" else "arguments", part.get("call_id"))
        elif isinstance(part.get("functionCall"), Mapping):
            yield from _tool(part["functionCall"], "args", part["functionCall"].get("id"))
        elif isinstance(part.get("toolUse"), Mapping):
            yield from _tool(part["toolUse"], "input", part["toolUse"].get("toolUseId"))


def _tool(call: Object, place: str, call_id: Any) -> Iterator[ToolUse]:
    name, given = call.get("name"), call.get(place)
    if isinstance(name, str) and name:
        arguments = given if isinstance(given, str) else msgspec.json.encode({} if given is None else given).decode()
        yield ToolUse(name=name[:_LONGEST], arguments=arguments, call_id=call_id if isinstance(call_id, str) else None)


def _texts(body: Object) -> Iterator[Any]:
    for message in _messages(body):
        if isinstance(message.get("content"), str):
            yield message["content"]
    for part in _parts(body):
        if part.get("type") in (None, "text", "output_text") and not part.get("thought"):
            yield part.get("text")
    yield from (choice.get("text") for choice in _objects(body.get("choices")))
    yield body.get("completion")


def _messages(body: Object) -> Iterator[Object]:
    for choice in _objects(body.get("choices")):
        if isinstance(choice.get("message"), Mapping):
            yield choice["message"]
    if isinstance(body.get("message"), Mapping):
        yield body["message"]


def _parts(body: Object) -> Iterator[Object]:
    """The parts of what was said, wherever a provider puts them."""
    yield from _objects(body.get("content"))
    for message in _messages(body):
        yield from _objects(message.get("content"))
    output = body.get("output")
    for item in _objects(output):
        yield item
        yield from _objects(item.get("content"))
    if isinstance(output, Mapping) and isinstance(output.get("message"), Mapping):
        yield from _objects(output["message"].get("content"))
    for candidate in _objects(body.get("candidates")):
        content = candidate.get("content")
        yield from _objects(content.get("parts") if isinstance(content, Mapping) else None)


def _objects(value: Any) -> Iterator[Object]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, Mapping):
            yield item


def _word(body: Object, name: str) -> str | None:
    value = body.get(name)
    return value[:_LONGEST] if isinstance(value, str) and value else None
