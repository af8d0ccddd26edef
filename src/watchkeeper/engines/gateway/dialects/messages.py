"""Anthropic's Messages: blocks of content, tools as `tool_use` and `tool_result`, and errors in their own shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from watchkeeper.engines.gateway.composition import last_user_text
from watchkeeper.engines.gateway.dialects.dialect import (
    IMAGE_TOKENS,
    Dialect,
    Head,
    decoded,
    fields_of,
    list_of,
    members,
    tool_steps,
    unescaped,
)
from watchkeeper.engines.gateway.errors import Refusal, Wording
from watchkeeper.engines.gateway.wire import MOST_TOKENS, count, typed
from watchkeeper.records.event import ToolStep
from watchkeeper.records.record import as_json

TOOL_TOKENS = 2_000
"""More than a provider adds for tools as such (346 to 530) and for each that it describes itself (up to 735).

Source: the table of tool use system prompt token counts in Anthropic's documentation of tool use, and its pages on the
computer use, bash and text editor tools.
"""

_TOOLS = (b'"tool_',)
_CLIENT_TOOLS = re.compile(r"(?:custom|bash_\d+|text_editor_\d+|computer_\d+|memory_\d+)\Z")
_SIZELESS = re.compile(rb'"type"\s*:\s*"(?:document|file|url|container_upload|compaction)"')
_IMAGE = re.compile(rb'"type"\s*:\s*"image"')
_UNBOUNDED = ("mcp_servers", "container", "context_management")
_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _body(refusal: Refusal) -> bytes:
    kind = _BY_STATUS.get(refusal.status, "invalid_request_error" if refusal.status < 500 else "api_error")
    return _error(kind, refusal.code, refusal.sentence)


def _error(kind: str, code: str, sentence: str) -> bytes:
    return as_json({"type": "error", "error": {"type": kind, "message": sentence, "code": code}})


def _event(code: str, sentence: str, number: int | None) -> bytes:
    return b"event: error\ndata: " + _error("api_error", code, sentence) + b"\n\n"


ANTHROPIC = Wording(_body, _event)
"""Errors as Anthropic's clients read them; the gateway's own code stands beside their type."""


class Messages(Dialect):
    """POST /v1/messages."""

    name = "messages"
    path = "/messages"
    limiting = frozenset({"model", "messages", "max_tokens", "tools", *_UNBOUNDED})
    wording = ANTHROPIC

    def read(self, body: bytes, deployment: str | None = None) -> Head:
        """Decode the head of a messages request."""
        fields, model, named = fields_of(body, self, deployment)
        return Head(
            fields,
            model,
            named,
            list_of(fields, "messages", "messages"),
            typed(fields, "stream", bool, "true or false") is True,
            count(fields, "max_tokens", 0, MOST_TOKENS),
        )

    def input_bound(self, body: bytes, head: Head, most: int | None = None, earlier: int | None = None) -> int | None:
        """As many tokens as the body has bytes, more for images and tools.

        Documents, files and addresses have no size. There is no bound for tools that the provider runs itself (search,
        code, MCP), and where it is asked to compact the context, which is another pass over it.
        """
        if any(bytes(head.fields.get(name, b"null")) not in (b"null", b"[]", b"{}") for name in _UNBOUNDED):
            return None
        tools = members(head.fields.get("tools"))
        if tools is None:
            return None
        own = 0
        for tool in tools:
            kind = tool.get("type") or "custom"
            if not isinstance(kind, str) or not _CLIENT_TOOLS.match(kind):
                return None
            own += kind != "custom"
        plain = unescaped(body)
        if _SIZELESS.search(plain):
            return most
        images = len(_IMAGE.findall(plain)) if b'"image"' in plain else 0
        return len(body) + IMAGE_TOKENS * images + TOOL_TOKENS * (bool(tools) + own)

    def steps(self, head: Head, agent: str | None) -> tuple[ToolStep, ...]:
        """The tool calls among the blocks, each with its result."""
        found: list[Mapping[str, Any]] = []
        for message in decoded(head.messages, _TOOLS):
            found += _as_chat(message)
        return tool_steps(found, agent)

    def system(self, head: Head) -> list[bytes]:
        """The system prompt as it was sent."""
        return [bytes(head.fields["system"])] if "system" in head.fields else []

    def asked_text(self, head: Head, most_chars: int) -> str:
        """The text of the user's last message."""
        return last_user_text(head.messages, most_chars)


def _as_chat(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """A message's tool calls and results in the shape of chat completions."""
    content = message.get("content")
    found: list[Mapping[str, Any]] = []
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, dict):
            continue
        if block.get("type") == "tool_use":
            function = {"name": block.get("name"), "arguments": block.get("input", {})}
            found.append({"role": "assistant", "tool_calls": [{"id": block.get("id"), "function": function}]})
        elif block.get("type") == "tool_result":
            found.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": block.get("content")})
    return found


MESSAGES = Messages()
