"""Goes on elsewhere with a stream that broke: what was said so far, and the request that asks for the rest.

Only plain text of one choice can be continued: half a tool call, or a reply of several choices, cannot be asked for
again in the middle. Models without a way to complete an assistant's message are told to go on where it stopped, which
they follow more or less well; the seam is therefore marked in the stream, as a comment that clients skip.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from watchkeeper.engines.gateway.wire import read_fields, rewrite
from watchkeeper.records.record import as_json

INSTRUCTION = (
    "Your last message was cut off by a technical fault. Continue exactly where it stopped, in the middle of a word if "
    "need be. Do not repeat anything and do not comment on this."
)
INSTRUCTION_TOKENS = 60
"""More than the tokens of the instruction and of the two messages around it."""

CHAT_PATH = "/chat/completions"
_MOST_CHARS = 400_000
_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_UNSAFE = re.compile(r"[^A-Za-z0-9._/:@-]")
_object = msgspec.json.Decoder(dict[str, Any])


def said_so_far(stream: bytes) -> str | None:
    """The text of a chat stream that broke off; None when it cannot be continued (tools, several choices, no text)."""
    said: list[str] = []
    size = 0
    for event in _BLANK.split(stream):
        if not event.startswith(b"data:"):
            continue
        payload = event[5:].strip()
        if payload == b"[DONE]":
            return None
        try:
            choices = _object.decode(payload).get("choices")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        for choice in choices if isinstance(choices, list) else ():
            text = _text_of(choice)
            if text is None:
                return None
            said.append(text)
            size += len(text)
    text = "".join(said)
    return text if text and size <= _MOST_CHARS else None


def _text_of(choice: Any) -> str | None:
    if not isinstance(choice, dict) or choice.get("index", 0) != 0 or choice.get("finish_reason") is not None:
        return None
    delta = choice.get("delta") or {}
    if not isinstance(delta, dict) or delta.get("tool_calls") or delta.get("function_call") or delta.get("refusal"):
        return None
    content = delta.get("content")
    return content if isinstance(content, str) else "" if content is None else None


def continuation(body: bytes, said: str) -> bytes:
    """The request with what was said so far and the instruction to go on at its end."""
    fields = read_fields(body)
    messages = msgspec.json.decode(fields["messages"], type=list[msgspec.Raw])
    more = [{"role": "assistant", "content": said}, {"role": "user", "content": INSTRUCTION}]
    return rewrite(body, fields, {"messages": as_json([*messages, *more])})


def seam(upstream: str, model: str, reason: str) -> bytes:
    """The mark in the stream: from here on another target answers."""
    words = [_UNSAFE.sub("_", word)[:64] for word in (upstream, model, reason)]
    return f": watchkeeper continued; to={words[0]}; model={words[1]}; reason={words[2]}\n\n".encode("ascii")
