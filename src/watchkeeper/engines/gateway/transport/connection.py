"""One connection to an upstream: a request is written, its reply is read as it comes, and then it can carry another.

What an upstream sends is not trusted: a head may have so many bytes and fields and no more, a reply that gives two
lengths or a length beside chunks is refused (RFC 9112, section 6.3), what follows on a reply that nobody asked for ends
the connection before it could be taken for the answer to the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httptools

from watchkeeper.records.record import Record

Header = tuple[bytes, bytes]


class Broken(OSError):
    """The upstream broke off, or sent what is no reply. `began` is whether any byte of a reply had come."""

    began = False


class Limits(Record):
    """What is taken from an upstream, in bytes and counts: `unread_bytes` of a body before reading pauses."""

    head_bytes: int = 256 << 10
    fields: int = 256
    unread_bytes: int = 128 << 10


class Response:
    """A reply: its head, and its body as it comes. Its connection goes on to the next once the reply is whole."""

    __slots__ = ("_connection", "_error", "_pieces", "_size", "_waiter", "_whole", "raw_headers", "status")

    def __init__(self, connection: Connection, status: int, headers: list[Header]) -> None:
        self.status, self.raw_headers = status, headers
        self._connection: Connection | None = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._whole = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def readany(self) -> bytes:
        """What has come of the body, empty at its end; raises `Broken` or `TimeoutError` where it ends too early."""
        while not self._pieces:
            if self._whole:
                return b""
            if self._error is not None:
                raise self._error
            assert self._connection is not None
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        pieces = self._pieces
        self._pieces, self._size = [], 0
        if self._connection is not None:
            self._connection.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def at_eof(self) -> bool:
        """Whether the body is whole and read."""
        return self._whole and not self._pieces

    def close(self) -> None:
        """Let go: a reply that is not whole takes its connection with it, so that the upstream stops working."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._whole:
            connection.drop()
        self._pieces = []

    release = close

    def feed(self, data: bytes) -> int:
        """Take a part of the body; returns how many bytes lie unread."""
        self._pieces.append(data)
        self._size += len(data)
        self._wake()
        return self._size

    def finish(self) -> None:
        """The body is whole."""
        self._whole = True
        self._connection = None
        self._wake()

    def fail(self, error: Exception) -> None:
        """The body will not become whole."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class Connection(asyncio.Protocol):
    """A connection to an upstream, for one request at a time. `idle` is told when it can carry another."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, idle: Callable[[Connection], None]) -> None:
        self.loop, self._limits, self._idle = loop, limits, idle
        self.transport: Any = None
        self.expires = 0.0
        self.used = 0
        self.closed = False
        self._head: asyncio.Future[Response] | None = None
        self._response: Response | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._barren = 0
        self._began = self._whole = self._excess = self._paused = False
        self._framed = self._keep = False
        self._method = ""
        self._fields: list[Header] = []
        self._room: asyncio.Future[None] | None = None

    # --- what the pool asks of us

    def ask(self, method: str, request: bytes, body: bytes, timeout_s: float) -> asyncio.Future[Response]:
        """Write a request; the future is done when the reply's head is here. `timeout_s` is for the whole reply."""
        self.used += 1
        self._method = method
        self._parser = httptools.HttpResponseParser(self)
        self._barren = 0
        self._began = self._whole = self._excess = self._framed = self._keep = False
        self._fields = []
        self._response = None
        self._head = head = self.loop.create_future()
        self._timer = self.loop.call_later(timeout_s, self._late)
        if len(body) < 16_384:
            self.transport.write(request + body)
        else:
            self.transport.write(request)
            self.transport.write(body)
        return head

    def drop(self) -> None:
        """Close at once, whatever is under way."""
        self._stop_timer()
        self._head = self._response = None
        self.closed = True
        if self.transport is not None:
            self.transport.abort()

    def resume(self) -> None:
        """Read on, after what had come was taken."""
        if self._paused and not self.closed:
            self._paused = False
            self.transport.resume_reading()

    # --- what the loop tells us

    def connection_made(self, transport: Any) -> None:
        """The upstream has taken the connection."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; a reply without a length is whole then, any other is not."""
        self.closed = True
        response = self._response
        if response is not None and not self._framed and exc is None:
            self._finish()
            return
        self._fail(Broken("the upstream closed its connection before its reply was whole"))

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._head is None and self._response is None:
            self.drop()  # nobody asked: it must not be taken for the answer to the next request
            return
        self._began = True
        self._barren += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._excess = True
            self._fail(Broken("the upstream wants to speak another protocol"))
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            self._excess = True
            if not self._whole:
                self._fail(_named(error))
        else:
            if self._barren > self._limits.head_bytes and not self._whole:
                self._fail(Broken("the upstream sent more bytes of headers than are taken"))
        if self._whole:
            self._finish()

    # --- what the parser tells us

    def on_message_begin(self) -> None:
        """A head begins: the first, or one behind an interim answer."""
        if self._whole:
            self._excess = True
            raise Broken("more came than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; what follows a body as a trailer is passed over."""
        if self._response is None and not self._whole:
            if len(self._fields) >= self._limits.fields:
                raise Broken("the upstream sent more headers than are taken")
            self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head is whole."""
        parser = self._parser
        status = parser.get_status_code()
        if status < 200:
            if status == 101:
                raise Broken("the upstream wants to speak another protocol")
            self._fields = []
            return
        fields, self._fields = self._fields, []
        self._framed = _framed(fields) or status in (204, 304)
        self._keep = parser.should_keep_alive() and parser.get_http_version() == "1.1"
        self._response = response = Response(self, status, fields)
        if self._method == "HEAD":
            # The parser would wait for the body that the length speaks of; none comes.
            self._keep, self._whole = False, True
        head, self._head = self._head, None
        if head is not None and not head.done():
            head.set_result(response)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        response = self._response
        if response is None or self._whole:
            return
        self._barren = 0
        if response.feed(body) > self._limits.unread_bytes and not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def on_message_complete(self) -> None:
        """A reply is whole, or an interim one passed by."""
        if self._response is not None:
            self._whole = True

    # ---

    def _finish(self) -> None:
        """The reply is whole: hand it over, and go on or close."""
        self._stop_timer()
        response, self._response, self._head = self._response, None, None
        reusable = self._keep and not self._excess and not self.closed
        if reusable and not self.transport.get_write_buffer_size():
            self.resume()
            self._idle(self)
        else:
            self.drop()
        if response is not None:
            response.finish()

    def _fail(self, error: Exception) -> None:
        self._stop_timer()
        if isinstance(error, Broken):
            error.began = self._began
        head, self._head = self._head, None
        response, self._response = self._response, None
        if head is not None and not head.done():
            head.set_exception(error)
        if response is not None:
            response.fail(error)
        if not self.closed:
            self.drop()

    def _late(self) -> None:
        self._fail(TimeoutError("the reply did not become whole in time"))

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def _framed(fields: list[Header]) -> bool:
    """Whether a reply says where it ends; raises `Broken` when it says so twice or in two ways."""
    length: bytes | None = None
    chunked = False
    for name, value in fields:
        lower = name.lower()
        if lower == b"content-length":
            if length is not None or not value.isdigit():
                raise Broken("the upstream's reply gives no length that can be relied on")
            length = value
        elif lower == b"transfer-encoding":
            if chunked or value.strip().lower() != b"chunked":
                raise Broken("the upstream's reply is in a transfer coding that is not known")
            chunked = True
    if chunked and length is not None:
        raise Broken("the upstream's reply gives a length and comes in chunks")
    return chunked or length is not None


def _named(error: Exception) -> Broken:
    cause = error.__context__
    return cause if isinstance(cause, Broken) else Broken("the upstream's reply is not HTTP/1.1")
