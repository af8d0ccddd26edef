"""OpenAI's Responses: a conversation of items, of which the provider may hold the earlier part itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from watchkeeper.engines.gateway.composition import last_user_text, system_prompt
from watchkeeper.engines.gateway.dialects.dialect import (
    IMAGE_TOKENS,
    Dialect,
    Head,
    decoded,
    fields_of,
    members,
    tool_steps,
    unescaped,
)
from watchkeeper.engines.gateway.errors import OPENAI, Wording, error_fields
from watchkeeper.engines.gateway.wire import MOST_TOKENS, count, typed, wrong
from watchkeeper.records.event import ToolStep
from watchkeeper.records.record import as_json

CLIENT_TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch"})
"""Tools that the client runs: between two requests the model gets nothing but what a request brings."""

CLIENT_TOOL_TOKENS = 2_000
"""Allowed for the instructions that a provider adds for a tool of its own; they are not documented."""

COUNT = "/responses/input_tokens"
_ONE = re.compile(r"/responses/([^/]+)(?:/cancel|/input_items)?\Z")
_CONVERSATION = re.compile(r"/conversations(?:/([^/]+)(?:/items(?:/[^/]+)?)?)?\Z")
_CALLS = (b'_call"', b'_call_output"')
_ELSEWHERE = ("conversation", "prompt")
_SIZELESS = re.compile(rb'"type"\s*:\s*"(?:input_file|item_reference|compaction)"|"file_id"\s*:\s*"')
_IMAGE = re.compile(rb'"type"\s*:\s*"input_image"')
_items = msgspec.json.Decoder(str | list[msgspec.Raw] | None)


def _event(code: str, sentence: str, number: int | None) -> bytes:
    """The typed error event; `error` is there besides, because clients raise for that and only pass the other on."""
    error = error_fields("upstream", code, sentence)
    told: dict[str, Any] = {"type": "error", "code": code, "message": sentence, "param": None, "error": error}
    if number is not None:
        told["sequence_number"] = number + 1
    return b"event: error\ndata: " + as_json(told) + b"\n\n"


class Responses(Dialect):
    """POST /v1/responses."""

    name = "responses"
    path = "/responses"
    limiting = frozenset(
        {"model", "input", "max_output_tokens", "tools", "background", "store", "previous_response_id", *_ELSEWHERE}
    )
    conversation = "input"
    wording = Wording(OPENAI.body, _event)

    def read(self, body: bytes, deployment: str | None = None) -> Head:
        """Decode the head of a responses request; an input that is one text has no items."""
        fields, model, named = fields_of(body, self, deployment)
        try:
            items = _items.decode(fields.get("input", b"null"))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise wrong("input", "a text or a list of items") from error
        return Head(
            fields,
            model,
            named,
            items if isinstance(items, list) else [],
            typed(fields, "stream", bool, "true or false") is True,
            count(fields, "max_output_tokens", 0, MOST_TOKENS),
        )

    def input_bound(self, body: bytes, head: Head, most: int | None = None, earlier: int | None = None) -> int | None:
        """As many tokens as the body has bytes, more for images and tools.

        What the provider reads elsewhere has no size: a conversation or prompt that it keeps, files, and an earlier
        response that is not known here. There is no bound for tools that it runs itself.
        """
        tools = members(head.fields.get("tools"))
        if tools is None or any(tool.get("type") not in CLIENT_TOOLS for tool in tools):
            return None
        allowed = len(body)
        plain = unescaped(body)
        if any(given(head, name) for name in _ELSEWHERE) or _SIZELESS.search(plain):
            return most
        if given(head, "previous_response_id"):
            if earlier is None:
                return most
            allowed += earlier
        own = sum(tool.get("type") not in ("function", "custom") for tool in tools)
        images = len(_IMAGE.findall(plain)) if b'"input_image"' in plain else 0
        return allowed + IMAGE_TOKENS * images + CLIENT_TOOL_TOKENS * own

    def steps(self, head: Head, agent: str | None, before: tuple[ToolStep, ...] = ()) -> tuple[ToolStep, ...]:
        """The tool calls among the items, each with its output.

        `before` are the calls of the response that this request continues, whose outputs it brings.
        """
        found: list[Mapping[str, Any]] = [chat_call(call.call_id, call.tool, "") for call in before]
        for item in decoded(head.messages, _CALLS):
            found += as_chat(item)
        steps = tool_steps(found, agent)
        known = [
            msgspec.structs.replace(call, agent=agent, result=step.result, gist=step.gist)
            for call, step in zip(before, steps, strict=False)
        ]
        return (*known, *steps[len(before) :])

    def system(self, head: Head) -> list[bytes]:
        """The instructions, and the system and developer messages that open the input."""
        given = [bytes(head.fields["instructions"])] if "instructions" in head.fields else []
        return given + system_prompt(head.messages)

    def asked_text(self, head: Head, most_chars: int) -> str:
        """The input where it is one text, else the text of the user's last message."""
        if head.messages:
            return last_user_text(head.messages, most_chars)
        try:
            text = _items.decode(head.fields.get("input", b"null"))
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return ""
        return text[:most_chars] if isinstance(text, str) else ""


class Compact(Responses):
    """POST /v1/responses/compact: a conversation in, a shorter one out; it has no limit on what is written."""

    name = "responses.compact"
    path = "/responses/compact"


def as_chat(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """An item's tool call or output in the shape of chat completions; a call that holds its output gives both."""
    kind, call_id = item.get("type"), item.get("call_id") or item.get("id")
    if not isinstance(kind, str):
        return []
    if kind.endswith("_call_output"):
        return [{"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}]
    if not kind.endswith("_call"):
        return []
    arguments = next((item[name] for name in ("arguments", "input", "action", "operation") if name in item), "")
    found: list[Mapping[str, Any]] = [chat_call(call_id, item.get("name") or kind, arguments)]
    if isinstance(item.get("output"), str | list):
        found.append({"role": "tool", "tool_call_id": call_id, "content": item["output"]})
    return found


def chat_call(call_id: Any, tool: Any, arguments: Any) -> Mapping[str, Any]:
    """A tool call in the shape of chat completions."""
    function = {"name": tool, "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"id": call_id, "function": function}]}


def given(head: Head, name: str) -> bool:
    """Whether a field is there and not null."""
    return name in head.fields and bytes(head.fields[name]) != b"null"


def response_id(suffix: str) -> str | None:
    """The id in a path about one response (`/responses/ID`, `/responses/ID/cancel`), None in any other."""
    named = _ONE.match(suffix)
    return None if named is None or suffix in (COMPACT.path, COUNT) else unquote(named.group(1))


def conversation_id(suffix: str) -> str | None:
    """The id in a path about one conversation (`/conversations/ID`, `/conversations/ID/items`), None in any other."""
    named = _CONVERSATION.match(suffix)
    return None if named is None or named.group(1) is None else unquote(named.group(1))


def is_free(method: str, suffix: str) -> bool:
    """Whether a request only reads, cancels or deletes what the provider keeps, or changes a conversation."""
    if response_id(suffix) is None:
        talk = _CONVERSATION.match(suffix)
        return talk is not None and (method == "POST" or talk.group(1) is not None)
    return suffix.endswith("/cancel") if method == "POST" else method in ("GET", "HEAD", "DELETE")


RESPONSES, COMPACT = Responses(), Compact()
