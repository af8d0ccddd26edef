"""Follows a streamed reply while it passes: whole events go on at once, and what they say is read beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from watchkeeper.analysis.usage import find, read
from watchkeeper.engines.gateway.usage import (
    PREVIEW_CHARS,
    Answer,
    Choice,
    content_bytes,
    is_content,
    note_counts,
    note_head,
    note_told,
    read_envelope,
    read_error,
    said_text,
)

HELD_BYTES = 1 << 20
_BLANK = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE = re.compile(rb"\r\n|\n|\r")
_ENDED = frozenset(("response.completed", "response.incomplete", "response.failed", "response.cancelled"))
_object = msgspec.json.Decoder(dict[str, Any])


class StreamReader:
    """Reads server-sent events of a stream as their bytes come: chat completions, Responses, Messages, Gemini.

    `feed` returns the bytes to pass on: everything up to the end of the last whole event. The part of an event that
    has come is held until the rest comes (up to `HELD_BYTES`), because a client can do nothing with it, and half
    an event would spoil the error that follows when the upstream dies. With `hide_usage` the chunk that carries only
    usage, which the client did not ask for, is left out.

    `answer` holds what was read; `output_chunks` counts chunks that carried content, `output_bytes` the
    UTF-8 bytes of what the model wrote in them; `malformed` counts events that
    could not be read; `done` is whether the end of the stream was announced; `number` is the last event's, where
    the dialect counts them.
    """

    def __init__(self, hide_usage: bool = False) -> None:
        self.answer = Answer()
        self.done = False
        self.output_chunks = 0
        self.output_bytes = 0
        self.malformed = 0
        self.number: int | None = None
        self._hide_usage = hide_usage
        self._rest = bytearray()
        self._passed = 0
        self._reasons: dict[int, str] = {}
        self._text: list[str] = []
        self._text_chars = 0
        self._usage: dict[str, Any] = {}

    def feed(self, data: bytes) -> bytes:
        """Read the next bytes of the stream; returns what to pass on."""
        if not self._rest and data.endswith(b"\n\n"):
            return self._events(data)
        searched = max(0, len(self._rest) - 3)
        self._rest += data
        end = _last_blank(self._rest, searched)
        if end:
            whole = bytes(self._rest[:end])
            del self._rest[:end]
            passed, self._passed = self._passed, 0
            return self._events(whole)[passed:]
        if len(self._rest) - self._passed > HELD_BYTES and not self._hide_usage:
            out = bytes(self._rest[self._passed :])
            self._passed = len(self._rest)
            return out
        return b""

    def finish(self) -> bytes:
        """The stream has ended: read and return what was still held, an event without its blank line."""
        rest, passed = bytes(self._rest), self._passed
        self._rest.clear()
        self._passed = 0
        return self._events(rest)[passed:] if rest else b""

    @property
    def torn(self) -> bool:
        """Whether a part of an unfinished event was passed on already."""
        return self._passed > 0

    @property
    def complete(self) -> bool:
        """Whether the stream came to its end: it said so, or a finish reason was given."""
        return self.done or bool(self._reasons)

    def _events(self, data: bytes) -> bytes:
        """Read whole events; returns them, less those that are hidden from the client."""
        kept: list[bytes] | None = [] if self._hide_usage else None
        at = 0
        plain = b"\r" not in data
        while at < len(data):
            stop = data.find(b"\n\n", at) if plain else -1
            following = stop + 2
            if stop < 0:
                blank = None if plain else _BLANK.search(data, at)
                stop, following = (blank.start(), blank.end()) if blank else (len(data), len(data))
            hidden = self._event(data[at:stop])
            if kept is not None and not hidden:
                kept.append(data[at:following])
            at = following
        self._conclude()
        return data if kept is None else b"".join(kept)

    def _event(self, event: bytes) -> bool:
        """Read one event; returns whether it is to be hidden."""
        if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
            payload = event[6:]
        else:
            lines = [line[5:] for line in _LINE.split(event) if line.startswith(b"data:")]
            payload = b"\n".join(line[1:] if line.startswith(b" ") else line for line in lines)
        if not payload:
            return False
        if payload == b"[DONE]":
            self.done = True
            return False
        if payload.startswith(b'{"type":"') and b'"choices"' not in payload:
            return self._other(payload)  # typed events: there is no need to see first that it is no chunk of a chat
        envelope = read_envelope(payload)
        if envelope is None:
            self.malformed += 1
            return False
        if envelope.choices is None and (envelope.type is not None or envelope.candidates is not None):
            return self._other(payload)
        note_head(self.answer, envelope)
        for choice in envelope.choices or ():
            self._choice(choice)
        return self._hide_usage and envelope.has_usage and not envelope.choices and envelope.error is None

    def _choice(self, choice: Choice) -> None:
        if is_content(choice):
            self.output_chunks += 1
            self.output_bytes += content_bytes(choice)
            if self._text_chars < PREVIEW_CHARS and choice.index == 0:
                text = said_text(choice)
                self._text.append(text)
                self._text_chars += len(text)
        if isinstance(choice.finish_reason, str) and len(self._reasons) < 128:
            self._reasons[choice.index if isinstance(choice.index, int) else 0] = choice.finish_reason

    def _other(self, payload: bytes) -> bool:
        """Read an event of another kind than chat chunks; it is never hidden."""
        try:
            event = _object.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.malformed += 1
            return False
        kind = event.get("type")
        if isinstance(kind, str) and kind.startswith("response."):
            self._response_event(kind, event)
        elif isinstance(kind, str):
            self._message_event(kind, event)
        else:
            self._say(_gemini_text(event))
            note_told(self.answer, event)
            if self.answer.finish_reasons:
                self._reasons = dict(enumerate(self.answer.finish_reasons))
        if isinstance(event.get("error"), Mapping):
            self.answer.error_type, self.answer.message = read_error(event["error"])
        elif kind == "error":
            self.answer.error_type, self.answer.message = read_error(event)
        return False

    def _response_event(self, kind: str, event: Mapping[str, Any]) -> None:
        """An event of the Responses interface: the last one holds the whole reply."""
        number = event.get("sequence_number")
        self.number = number if isinstance(number, int) else self.number
        delta = event.get("delta")
        if isinstance(delta, str) and delta:
            self._say(delta if kind == "response.output_text.delta" else "", delta)
        whole = event.get("response")
        if isinstance(whole, Mapping):
            note_told(self.answer, whole)
            if isinstance(whole.get("error"), Mapping):
                self.answer.error_type, self.answer.message = read_error(whole["error"])
        if kind in _ENDED:
            self.done = True
            self._reasons = dict(enumerate(self.answer.finish_reasons))

    def _message_event(self, kind: str, event: Mapping[str, Any]) -> None:
        """An event of the Messages interface: usage comes in two parts, and the later counts replace the earlier."""
        delta = event.get("delta")
        if kind == "message_start" and isinstance(event.get("message"), Mapping):
            note_told(self.answer, event["message"])
        if kind == "content_block_delta" and isinstance(delta, Mapping):
            words = delta.get("text") or ""
            other = delta.get("partial_json") or delta.get("thinking") or words
            self._say(words if isinstance(words, str) else "", other)
        if kind == "message_delta" and isinstance(delta, Mapping) and isinstance(delta.get("stop_reason"), str):
            self._reasons = {0: delta["stop_reason"]}
        usage = find(event) if kind in ("message_start", "message_delta") else None
        if usage is not None:
            self._usage |= {name: value for name, value in usage.items() if value is not None}
            note_counts(self.answer, read(self._usage))
        self.done = self.done or kind == "message_stop"

    def _say(self, words: str, wrote: object = None) -> None:
        """Note words for the preview, and what was written where that is more than words."""
        self.output_chunks += 1
        wrote = words if wrote is None else wrote
        self.output_bytes += len(wrote.encode("utf-8", "replace")) if isinstance(wrote, str) else 0
        if self._text_chars < PREVIEW_CHARS:
            self._text.append(words)
            self._text_chars += len(words)

    def _conclude(self) -> None:
        if self._reasons:
            self.answer.finish_reasons = tuple(self._reasons[index] for index in sorted(self._reasons))
        if self._text_chars or not self.answer.text:
            self.answer.text = "".join(self._text)[:PREVIEW_CHARS]


def _gemini_text(event: Mapping[str, Any]) -> str:
    from watchkeeper.analysis.replies import told

    return told(event).text


def _last_blank(data: bytearray, start: int) -> int:
    """Where the last blank line at or after `start` ends, 0 when there is none."""
    ends = [data.rfind(b"\n\n", start) + 2]
    if b"\r" in data:
        ends += [data.rfind(b"\r\n\r\n", start) + 4, data.rfind(b"\r\r", start) + 2]
    found = [end for end, width in zip(ends, (2, 4, 2), strict=False) if end >= width]
    return max(found, default=0)
