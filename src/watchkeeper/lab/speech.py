"""The interfaces that the lab speaks: how a request of each becomes a chat, and how the reply is told in its words."""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from watchkeeper.lab.exchange import DONE, event
from watchkeeper.lab.faults import split_model
from watchkeeper.lab.shapes import Envelope, Json, LabError, Reply, Usage, chunks, completion, lab_tokens

RUN_HEADER = "x-watchkeeper-run"
_JSON_NAMES = {str: "string", list: "array", dict: "object", int: "whole number", bool: "boolean"}


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the lab reads of a request, as a chat; `model` is without its `fault_words`, `body` is all of it."""

    model: str
    fault_words: str
    messages: list[Any]
    tools: list[Any]
    stream: bool
    include_usage: bool
    max_tokens: int | None
    run: str | None
    body: Mapping[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """All that is needed to send a reply."""

    envelope: Envelope
    reply: Reply
    usage: Usage | None
    include_usage: bool


class Speech(Protocol):
    """One interface. Events come with the lab tokens that each carries."""

    def read(self, raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
        """Read a request; raises `LabError` 400 that names the field at fault."""
        ...

    def plain(self, request: ChatRequest, answer: Answer) -> Json:
        """The body of a whole reply."""
        ...

    def events(self, request: ChatRequest, answer: Answer, chunk_tokens: int) -> Iterator[tuple[bytes, int]]:
        """The events of a streamed reply."""
        ...

    def error(self, error: LabError) -> Json:
        """The body of a refusal."""
        ...


class ChatSpeech:
    """OpenAI's chat completions."""

    def read(self, raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
        """Read a chat request."""
        return read_request(raw, headers)

    def plain(self, request: ChatRequest, answer: Answer) -> Json:
        """A chat completion."""
        return completion(answer.envelope, answer.reply, answer.usage)

    def events(self, request: ChatRequest, answer: Answer, chunk_tokens: int) -> Iterator[tuple[bytes, int]]:
        """Chunks, and [DONE] at the end."""
        bodies = chunks(
            answer.envelope,
            answer.reply,
            answer.usage,
            include_usage=answer.include_usage,
            chunk_tokens=chunk_tokens,
        )
        for body, tokens in bodies:
            yield event(body), tokens
        yield DONE, 0

    def error(self, error: LabError) -> Json:
        """OpenAI's error."""
        return error.body()


def read_request(raw: bytes, headers: Mapping[str, str]) -> ChatRequest:
    """Read a chat request; raises `LabError` 400 in OpenAI's shape that names the field at fault."""
    body = object_of(raw)
    model, words = split_model(field(body, "model", str, required=True))
    messages = field(body, "messages", list, required=True)
    if not messages or not all(isinstance(message, dict) for message in messages):
        raise wrong("messages", "an array of message objects with at least one in it")
    if body.get("n") not in (None, 1):
        raise wrong("n", "1: the lab gives one choice a reply")
    options = field(body, "stream_options", dict) or {}
    limit = field(body, "max_completion_tokens", int) or field(body, "max_tokens", int)
    if limit is not None and limit < 1:
        raise wrong("max_completion_tokens", f"1 or more, got {limit}")
    return ChatRequest(
        model=model,
        fault_words=words,
        messages=messages,
        tools=field(body, "tools", list) or [],
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        max_tokens=limit,
        run=run_of(body, headers),
        body=body,
    )


def object_of(raw: bytes) -> dict[str, Any]:
    """A request's body; raises a 400 for what is no JSON object."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LabError(400, "invalid_json", f"The body is not JSON: {error}. Send one JSON object.") from error
    if not isinstance(body, dict):
        raise LabError(400, "invalid_json", f"The body is a JSON {type(body).__name__}. Send one JSON object.")
    return body


def run_of(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """The run that a request belongs to, from its header or its metadata."""
    given = headers.get(RUN_HEADER) or field(field(body, "metadata", dict) or {}, "run", str)
    return str(given) if given else None


def field(body: Mapping[str, Any], name: str, kind: type, *, required: bool = False) -> Any:
    """A field of a request; raises a 400 where it is missing or of another kind."""
    value = body.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, kind):
        raise wrong(name, f"a {_JSON_NAMES[kind]}, got {'nothing' if value is None else type(value).__name__}")
    return value


def wrong(name: str, expected: str) -> LabError:
    """The refusal of a field."""
    return LabError(400, "invalid_value", f"The field {name!r} must be {expected}.", param=name)


def embeddings(raw: bytes, width: int = 8) -> Json:
    """Invented vectors for texts: the same for the same text, and of length one, but near to nothing alike.

    `encoding_format` "base64" gives little-endian floats of 32 bits, as OpenAI does.
    """
    body = object_of(raw)
    model, _ = split_model(field(body, "model", str, required=True))
    given = body.get("input")
    texts: list[Any] = given if isinstance(given, list) else [given]
    if not texts or not all(isinstance(text, str | int | list) and text != "" for text in texts):
        raise wrong("input", "a text, or an array of texts with at least one in it")
    if all(isinstance(text, int) for text in texts):
        texts = [texts]
    listed = []
    for index, text in enumerate(texts):
        vector = _vector(msgspec.json.encode(text), field(body, "dimensions", int) or width)
        packed: Any = vector
        if body.get("encoding_format") == "base64":
            packed = base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
        listed.append({"object": "embedding", "index": index, "embedding": packed})
    tokens = sum(lab_tokens(text) if isinstance(text, str) else len(text) for text in texts)
    return {
        "object": "list",
        "data": listed,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _vector(seed: bytes, width: int) -> list[float]:
    raw = hashlib.shake_128(seed).digest(width)
    values = [byte - 127.5 for byte in raw]
    length = sum(value * value for value in values) ** 0.5
    return [value / length for value in values]
