"""Tells a model something on behalf of a policy: a last message in its conversation; all other bytes stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from watchkeeper.engines.gateway.wire import rewrite
from watchkeeper.records.record import as_json

ROOM_BYTES = 640
"""As much as all advice in one call takes up; what is reserved for a call under a chain that advises has this room."""

_MOST_BYTES = 560

CONVERSATIONS = ("messages", "input")
"""The fields that hold a conversation: of chat completions and of Anthropic's messages, and of responses."""


def advised(body: bytes, fields: Mapping[str, msgspec.Raw], advice: Sequence[str]) -> bytes | None:
    """The body with the advice as its last message, from the user; None for a body that holds no conversation.

    A user's message is understood by every model at every place of a conversation, also after a tool's result; a system
    message is not. Advice is cut so that it fits into `ROOM_BYTES`.
    """
    text = _cut("\n\n".join(advice), _MOST_BYTES)
    told = as_json({"role": "user", "content": text})
    for name in CONVERSATIONS:
        raw = bytes(fields[name]).strip() if name in fields else b""
        if raw.startswith(b"["):
            inner = raw[1:-1].strip()
            return rewrite(body, fields, {name: b"[" + (inner + b"," if inner else b"") + told + b"]"})
        if name == "input" and raw.startswith(b'"'):
            asked = b'{"role":"user","content":' + raw + b"}"
            return rewrite(body, fields, {name: b"[" + asked + b"," + told + b"]"})
    return None


def _cut(text: str, most: int) -> str:
    """A text that takes at most so many bytes as JSON, in which a character takes one to six."""
    if len(as_json(text)) <= most:
        return text
    fits, over = 0, min(len(text), most)
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if len(as_json(text[:middle])) <= most else (fits, middle)
    return text[:fits] + " …"
