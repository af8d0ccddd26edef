"""Looks into the beginning of a reply before it is passed back: a 200 with an error inside is a failure too."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from watchkeeper.engines.gateway.errors import UpstreamFailure
from watchkeeper.engines.gateway.retrying import Kind
from watchkeeper.engines.gateway.settings import UpstreamSpec
from watchkeeper.engines.gateway.stream import StreamReader
from watchkeeper.engines.gateway.upstream import Reply
from watchkeeper.engines.gateway.usage import read_answer
from watchkeeper.records.span import Usage

LOOK_BYTES = 256 << 10
"""The most of a stream that is held back while its first token is awaited."""

_UNKNOWN = Usage()
_object = msgspec.json.Decoder(dict[str, Any])


class Held(Reply):
    """A reply whose first bytes were read already; they come first again. Silence within a stream has a limit.

    `idle_s` is the longest silence between two pieces of the body, None for as long as the transport allows.
    """

    def __init__(self, reply: Reply, pieces: deque[bytes], idle_s: float | None, spec: UpstreamSpec) -> None:
        self._reply, self._pieces, self._idle_s, self._named = reply, pieces, idle_s, spec.name
        self._before_ns = 0
        self.status, self.headers, self.media = reply.status, reply.headers, reply.media
        self.failure: UpstreamFailure | None = None

    @property
    def waited_ns(self) -> int:
        """Time spent waiting for upstreams so far."""
        return self._before_ns + self._reply.waited_ns

    @waited_ns.setter
    def waited_ns(self, value: int) -> None:
        self._before_ns = value - self._reply.waited_ns

    def put_back(self, pieces: Iterable[bytes]) -> None:
        """Bytes that were read, to come again before all others."""
        self._pieces.extendleft(reversed(list(pieces)))

    async def next(self) -> bytes:
        """The next bytes of the body, empty at its end; raises `UpstreamFailure` when it breaks off or stalls."""
        if self._pieces:
            return self._pieces.popleft()
        if self.failure is not None:
            raise self.failure
        if self._idle_s is None:
            return await self._reply.next()
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._reply.next()
        except TimeoutError:
            raise stalled(self._named, self._idle_s) from None

    def close(self) -> None:
        """Let go of the connection."""
        self._reply.close()


def stalled(name: str, idle_s: float) -> UpstreamFailure:
    """The failure of a stream that fell silent."""
    return UpstreamFailure(
        504,
        "upstream_timeout",
        f"The upstream {name!r} fell silent in the middle of its reply for {idle_s:g} s. What came is recorded; try "
        "again, or raise its idle_timeout_s.",
        sent=True,
    )


class Opened(NamedTuple):
    """A reply and what its beginning says.

    `error` is the code of an error inside a 200, with the status that it amounts to; `failure` is set when the reply
    broke before its first token; `kind` says how far it had come; `usage` is what it had told of its use by then.
    """

    reply: Reply
    error: str | None = None
    error_status: int = 0
    failure: UpstreamFailure | None = None
    kind: Kind = "failed"
    usage: Usage | None = None
    model: str | None = None


def wants_look(reply: Reply) -> bool:
    """Whether a reply is one that can be looked into: a 200 of JSON or of events."""
    return reply.status == 200 and (reply.streamed or "json" in reply.media)


async def open_reply(reply: Reply, spec: UpstreamSpec, *, look: bool) -> Opened:
    """The reply, looked into where `look` says so: a JSON body whole, a stream up to its first token.

    A whole JSON body that breaks off or is none is of the kind "broken": it may have been charged. A stream that breaks
    before its first token gave the caller nothing.
    """
    idle_s = spec.idle_timeout_s if reply.streamed else None
    if not look:
        return Opened(reply if idle_s is None else Held(reply, deque(), idle_s, spec))
    held = Held(reply, deque(), idle_s, spec)
    try:
        return await (_look_at_stream(held) if reply.streamed else _look_at_body(held))
    except BaseException:
        reply.close()
        raise


async def _look_at_body(held: Held) -> Opened:
    pieces: list[bytes] = []
    try:
        while data := await held.next():
            pieces.append(data)
    except UpstreamFailure as failure:
        held.close()
        return Opened(held, failure=failure, kind="broken")
    body = b"".join(pieces)
    held.put_back([body] if body else [])
    if b'"error"' not in body:
        return _unread(held, body)
    answer = read_answer(body)
    if answer.error_type is None:
        return _unread(held, body)
    usage = None if answer.usage == _UNKNOWN else answer.usage
    return Opened(
        held, answer.error_type, status_of(_error_in(body), answer.error_type), usage=usage, model=answer.model
    )


def _unread(held: Held, body: bytes) -> Opened:
    """A reply without an error; one that is no JSON is garbage, and passed back only when nothing else is left."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Opened(held, "malformed_reply", 502, kind="broken")
    return Opened(held)


async def _look_at_stream(held: Held) -> Opened:
    reader, size = StreamReader(), 0
    pieces: list[bytes] = []
    failure = None
    try:
        while not reader.output_chunks and reader.answer.error_type is None and not reader.done and size < LOOK_BYTES:
            data = await held.next()
            if not data:
                reader.finish()
                break
            pieces.append(data)
            size += len(data)
            reader.feed(data)
    except UpstreamFailure as broken:
        failure = held.failure = broken
    held.put_back(pieces)
    answer = reader.answer
    usage = None if answer.usage == _UNKNOWN else answer.usage
    if answer.error_type is not None and not reader.output_chunks:
        status = status_of(_error_in(b"".join(pieces).rpartition(b"data:")[2]), answer.error_type)
        return Opened(held, answer.error_type, status, usage=usage, model=answer.model)
    if failure is not None:
        return Opened(held, failure=failure, usage=usage, model=answer.model)
    if not reader.output_chunks and not reader.complete and size < LOOK_BYTES:
        sentence = "The upstream ended its stream before it said anything."
        ended = UpstreamFailure(502, "stream_incomplete", sentence, sent=True)
        return Opened(held, failure=ended, usage=usage, model=answer.model)
    return Opened(held)


def _error_in(data: bytes) -> Mapping[str, Any]:
    try:
        body = _object.decode(data.strip())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    inner = body.get("response")
    error = body.get("error") or (inner.get("error") if isinstance(inner, Mapping) else None)
    return error if isinstance(error, Mapping) else body


_WORDS = (
    (("rate_limit", "rate limit", "too_many", "quota"), 429),
    (("overloaded",), 529),
    (("unavailable",), 503),
    (("timeout",), 504),
    (("invalid", "context_length", "content_filter", "content_policy", "unsupported"), 400),
    (("authentication", "api_key"), 401),
    (("permission",), 403),
    (("not_found",), 404),
)


def status_of(error: Mapping[str, Any], code: str) -> int:
    """The status that an error inside a 200 amounts to: its own number where it has one, else by its words; or 500."""
    for name in ("code", "status", "http_status", "status_code"):
        value = error.get(name)
        if isinstance(value, str) and value.isdigit():
            value = int(value)
        if isinstance(value, int) and 400 <= value <= 599:
            return value
    words = f"{code} {error.get('type')} {error.get('code')}".lower()
    return next((status for signs, status in _WORDS if any(sign in words for sign in signs)), 500)
