"""OpenAI's chat completions, which most providers and servers speak; Azure's deployments too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from watchkeeper.engines.gateway.composition import last_user_text
from watchkeeper.engines.gateway.dialects.dialect import (
    IMAGE_TOKENS,
    Dialect,
    Head,
    Spoken,
    decoded,
    list_of,
    tool_steps,
    unescaped,
)
from watchkeeper.engines.gateway.settings import UpstreamSpec
from watchkeeper.engines.gateway.wire import MOST_CHOICES, MOST_TOKENS, Tokens, count, no_model, read_fields, typed
from watchkeeper.records.event import ToolStep
from watchkeeper.records.record import as_json

_TOOLS = (b'"tool', b'"function')
_FILE_PART = re.compile(rb'"type"\s*:\s*"file"')
_IMAGE_PART = re.compile(rb'"image_url"\s*:')


class _Quick(msgspec.Struct):
    """The fields that are needed decoded, all in one pass; a request that does not fit is read field by field."""

    messages: list[msgspec.Raw]
    model: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=MOST_CHOICES)] | None = None


_quick = msgspec.json.Decoder(_Quick)


class Chat(Dialect):
    """POST /v1/chat/completions."""

    name = "chat"
    path = "/chat/completions"
    limiting = frozenset({"model", "messages", "max_tokens", "max_completion_tokens", "n"})
    documented_defaults = True

    def read(self, body: bytes, deployment: str | None = None) -> Head:
        """Decode the head of a chat request; the larger of the two token limits counts."""
        fields = read_fields(body, self.limiting)
        try:
            quick = _quick.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            quick = _slowly(fields)
        model = deployment or quick.model
        if not model:
            raise no_model()
        limit = quick.max_completion_tokens
        if limit is None or (quick.max_tokens is not None and quick.max_tokens > limit):
            limit = quick.max_tokens
        options = quick.stream_options
        asked = options is not None and options.get("include_usage") is True
        return Head(fields, model, quick.model, quick.messages, quick.stream is True, limit, quick.n or 1, asked)

    def input_bound(self, body: bytes, head: Head, most: int | None = None, earlier: int | None = None) -> int | None:
        """As many tokens as the body has bytes, more for images; files have no size and web searches no bound."""
        if "web_search_options" in head.fields:
            return None
        plain = unescaped(body)
        if b'"file"' in plain and _FILE_PART.search(plain):
            return most
        images = len(_IMAGE_PART.findall(plain)) if b'"image_url"' in plain else 0
        return len(body) + IMAGE_TOKENS * images

    def steps(self, head: Head, agent: str | None) -> tuple[ToolStep, ...]:
        """The tool calls of the messages."""
        return tool_steps(decoded(head.messages, _TOOLS), agent)

    def asked_text(self, head: Head, most_chars: int) -> str:
        """The text of the user's last message."""
        return last_user_text(head.messages, most_chars)

    def spoken(self, head: Head, model: str, spec: UpstreamSpec) -> Spoken:
        """Besides the model's name: usage is asked for in streams where the owner wants that, and hidden again."""
        changes = dict(super().spoken(head, model, spec).changes)
        hide = spec.ask_usage and head.stream and not head.usage_asked
        if hide:
            options = typed(head.fields, "stream_options", dict[str, msgspec.Raw], "an object") or {}
            changes["stream_options"] = as_json({**options, "include_usage": True})
        return Spoken(changes, hide)


def _slowly(fields: Mapping[str, msgspec.Raw]) -> _Quick:
    """Read field by field, to name the one that is wrong, and to take whole numbers that are written as 5.0."""
    return _Quick(
        model=typed(fields, "model", str, "a model's name"),
        messages=list_of(fields, "messages", "messages"),
        stream=typed(fields, "stream", bool, "true or false"),
        stream_options=typed(fields, "stream_options", dict[str, Any], "an object"),
        max_tokens=count(fields, "max_tokens", 0, MOST_TOKENS),
        max_completion_tokens=count(fields, "max_completion_tokens", 0, MOST_TOKENS),
        n=count(fields, "n", 1, MOST_CHOICES),
    )


CHAT = Chat()
