"""One client's connection: requests are read, handed to an ASGI app one after the other, and answered in their order.

Everything that a client can make large is bounded: the bytes of a head, its fields, what of a body lies unread, what of
an answer lies unsent, how many pipelined requests wait. Everything that it can make long has a time (see `Limits`).

A client that closes its sending side counts as gone, as for nginx: a model call costs money, and nobody may be there.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from typing import Any

import httptools

from watchkeeper.engines.gateway.exchange import Abandoned
from watchkeeper.records.record import Record
from watchkeeper.server.asgi import App, Scope, error_body
from watchkeeper.server.transport.answers import Answer, plain_answer
from watchkeeper.server.transport.requests import Bad, Framing, Header, check_field, framing_of, target_of

_log = logging.getLogger("watchkeeper.http")
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Limits(Record):
    """What a connection may hold and how long it may take; sizes in bytes, times in seconds.

    `head_s` is for a whole head, `body_s` for the next byte of a body, `idle_s` for the next request, `send_s` for a
    client to take any byte of an answer, `linger_s` for the rest of a request that was answered before its end.
    """

    head_bytes: int = 64 << 10
    fields: int = 128
    unread_bytes: int = 256 << 10
    unsent_bytes: int = 64 << 10
    linger_bytes: int = 64 << 20
    head_s: float = 30.0
    body_s: float = 60.0
    idle_s: float = 75.0
    send_s: float = 300.0
    linger_s: float = 10.0


class House:
    """What all connections of a server share. `draining` is whether each answer is to be its connection's last."""

    def __init__(self, app: App, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        self.limits, self.loop = limits, loop
        self.asgi = _ASGI
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.draining = False
        self._app = app
        self._behind_proxy: App | None = None

    def app_for(self, scope: Scope, framing: Framing) -> App:
        """The app that answers; a proxy on this machine that passes addresses on is believed, as uvicorn does it."""
        if not framing.forwarded:
            return self._app
        if self._behind_proxy is None:
            from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

            trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
            self._behind_proxy = ProxyHeadersMiddleware(self._app, trusted)  # type: ignore[arg-type, assignment]
        assert self._behind_proxy is not None
        return self._behind_proxy

    def sweep(self) -> None:
        """End the connections whose time is up."""
        now = self.loop.time()
        for each in [each for each in self.connections if each.deadline is not None and each.deadline <= now]:
            each.expire()


class Connection(asyncio.Protocol):
    """A client's connection. `deadline` is when the server is to end it (loop time), None while it is our turn."""

    def __init__(self, house: House) -> None:
        self.house, self.limits, self.loop = house, house.limits, house.loop
        self.transport: Any = None
        self.deadline: float | None = None
        self.turn: Turn | None = None
        self._waiting: deque[Turn] = deque()
        self._reading: Turn | None = None
        self._peer: tuple[str, int] | None = None
        self._local: tuple[str, int] | None = None
        self._barren = 0
        self._closing = self._paused = self._discarding = self._mute = False
        self._room: asyncio.Future[None] | None = None
        self._start_parser()

    def _start_parser(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[Header] = []

    # --- what the loop tells us

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        self.transport = transport
        transport.set_write_buffer_limits(self.limits.unsent_bytes)
        self._peer, self._local = _address(transport, "peername"), _address(transport, "sockname")
        self.house.connections.add(self)
        self.deadline = self.loop.time() + self.limits.head_s

    def connection_lost(self, exc: Exception | None) -> None:
        """The client, or we, have closed."""
        self.house.connections.discard(self)
        self._closing = True
        self.deadline = None
        self._waiting.clear()
        if self.turn is not None:
            self.turn.left()
        self.resume_writing()

    def eof_received(self) -> None:
        """The client will send nothing more; it is taken to have left."""

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self._closing or self._mute:
            return
        self._barren += len(data)
        if self._discarding and self._barren > self.limits.linger_bytes:
            self.transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._as_if_not_upgraded(data, upgrade.args[0])
        except (httptools.HttpParserError, httptools.HttpParserCallbackError) as error:
            self._refuse(_why(error))
            return
        if self._barren > self.limits.head_bytes and not self._discarding:
            self._refuse(Bad(431, "head_too_large", "The request's head is larger than is accepted here."))
            return
        if self._reading is not None and not self._discarding:
            self.deadline = None if self._paused else self.loop.time() + self.limits.body_s
        if self._waiting and not self._paused:
            self.pause()

    def pause_writing(self) -> None:
        """The client takes less than we send."""
        if self._room is None and not self._closing:
            self._room = self.loop.create_future()
            self.deadline = self.loop.time() + self.limits.send_s

    def resume_writing(self) -> None:
        """There is room again."""
        room, self._room = self._room, None
        if room is not None:
            if not self._closing:
                self.deadline = None if self.turn is not None else self.loop.time() + self.limits.idle_s
            if not room.done():
                room.set_result(None)

    # --- what the parser tells us

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._url += url

    def on_message_begin(self) -> None:
        """A request begins."""
        if self._discarding:
            raise Bad(400, "after_the_end", "A request follows on one that was not taken whole.")
        self._url, self._headers = b"", []
        if self.turn is None:
            self.deadline = self.loop.time() + self.limits.head_s

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after a body in chunks a trailer, which nobody asked for."""
        if self._reading is not None:
            return
        if len(self._headers) >= self.limits.fields:
            raise Bad(431, "too_many_headers", f"The request has more than {self.limits.fields} headers.")
        lower = name.lower()
        value = value.strip(b" \t")
        check_field(lower, value)
        self._headers.append((lower, value))

    def on_headers_complete(self) -> None:
        """A head is whole: its turn begins, or it waits for those before it."""
        if self._reading is not None:  # the head that stands in for an upgrade
            return
        parser, headers = self._parser, self._headers
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Bad(505, "unknown_version", "Only HTTP/1.1 and HTTP/1.0 are spoken here.")
        framing = framing_of(headers, version)
        target = target_of(self._url)
        method = parser.get_method().decode("ascii")
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": self.house.asgi,
            "http_version": version,
            "server": self._local,
            "client": self._peer,
            "scheme": "http",
            "method": method,
            "root_path": "",
            "path": target.path,
            "raw_path": target.raw_path,
            "query_string": target.query,
            "headers": headers,
        }
        self._barren = 0
        keep = parser.should_keep_alive() and not self.house.draining
        self._reading = turn = Turn(self, scope, framing, Answer(method, version, keep))
        if self.turn is None:
            self._begin(turn)
        else:
            self._waiting.append(turn)

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        if self._reading is not None and not self._discarding:
            self._barren = 0
            self._reading.feed(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        turn = self._reading
        if turn is None or turn.upgrading:
            return
        self._reading = None
        self._barren = 0
        if self._discarding:
            self.close()
            return
        if turn is self.turn:
            self.deadline = None
        turn.finish()

    # --- turns

    def _begin(self, turn: Turn) -> None:
        self.turn = turn
        self.deadline = None
        turn.begin(self.house.app_for(turn.scope, turn.framing))

    def ended(self, turn: Turn) -> None:
        """An answer is whole, or was given up; go on with the next request or close."""
        if self.turn is not turn:
            return
        self.turn = None
        if self._closing:
            return
        if not turn.answer.whole:
            # Where nothing else says that more was to come, only a reset can.
            self.transport.abort() if turn.answer.open_ended else self.close()
        elif not turn.heard:
            self._linger()
        elif not turn.answer.keep or self.house.draining:
            self.close()
        elif self._waiting:
            self._begin(self._waiting.popleft())
            if not self._waiting:
                self.resume()
        else:
            self.deadline = self.loop.time() + self.limits.idle_s
            self.resume()

    def _linger(self) -> None:
        """Let a request run out that was answered before its end: closing at once could take our answer with it."""
        self._discarding, self._barren = True, 0
        self.deadline = self.loop.time() + self.limits.linger_s
        self.resume()

    def _refuse(self, bad: Bad) -> None:
        """Answer a request that is none, and close; behind one that is under way nothing can be said."""
        self._mute = True
        if self.turn is not None:
            if self._reading is self.turn:
                self.transport.abort()
                self.turn.left()
            else:
                self.turn.answer.keep = False
            return
        if not self._discarding:
            body = error_body(bad.sentence, "invalid_request", bad.code)
            self.transport.write(plain_answer(bad.status, body))
        self.close()

    def _as_if_not_upgraded(self, data: bytes, offset: int) -> None:
        """Go on as HTTP/1.1: nobody has to follow an `Upgrade`. The parser stops there; a new one reads the body."""
        turn = self._reading
        if turn is None:
            self._refuse(Bad(501, "no_upgrade", "No other protocol is spoken here than HTTP/1.1."))
            return
        turn.upgrading = False
        self._parser = httptools.HttpRequestParser(self)
        length = turn.framing.length
        how = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
        self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % how)
        if data[offset:]:
            self.data_received(data[offset:])

    # --- what turns and the server ask of us

    def pause(self) -> None:
        """Read no more for now."""
        if not self._paused and not self._closing:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._paused and not self._closing:
            self._paused = False
            self.transport.resume_reading()
            if self._reading is not None and not self._discarding:
                self.deadline = self.loop.time() + self.limits.body_s

    def go_on(self) -> None:
        """Tell a client that waits to be told so to send its body."""
        if not self._closing:
            self.transport.write(_CONTINUE)

    async def room(self) -> None:
        """Return when the client takes bytes again."""
        if self._room is not None:
            await self._room

    @property
    def upgrading(self) -> bool:
        """Whether the request that is being read asks for another protocol."""
        return bool(self._parser.should_upgrade())

    @property
    def full(self) -> bool:
        """Whether the client takes less than we send."""
        return self._room is not None

    @property
    def closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._closing

    def close(self) -> None:
        """Close when all is sent."""
        if not self._closing:
            self._mute = True
            self.deadline = self.loop.time() + self.limits.linger_s
            self.transport.close()

    def expire(self) -> None:
        """The deadline has passed: say so where a request was being read, and close."""
        self.deadline = None
        if self.turn is None and not self._discarding and not self._mute and self._barren:
            body = error_body("The request did not come whole in time.", "invalid_request", "request_timeout")
            self.transport.write(plain_answer(408, body))
            self.close()
            return
        self.transport.abort()


class Turn:
    """A request and its answer: what ASGI calls receive and send."""

    def __init__(self, connection: Connection, scope: dict[str, Any], framing: Framing, answer: Answer) -> None:
        self.scope, self.framing, self.answer = scope, framing, answer
        self.heard = False
        self.upgrading = connection.upgrading
        self._connection = connection
        self._limit = connection.limits.unread_bytes
        self._body: list[bytes] = []
        self._size = 0
        self._told = self._gone = False
        self._expects = framing.expects
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, app: App) -> None:
        """Let the app answer."""
        self._task = task = self._connection.loop.create_task(self._run(app))
        self._connection.house.tasks.add(task)
        task.add_done_callback(self._connection.house.tasks.discard)

    async def _run(self, app: App) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except Abandoned:
            pass
        except Exception:  # noqa: BLE001 - an app may fail in any way; it is logged and answered
            _log.exception("the answer to %s %s broke off", self.scope["method"], self.scope["path"][:200])
            if not self.answer.begun and not self._gone:
                self.answer.keep = False
                body = error_body("Something failed inside the server; its log says what.", "internal", "fault")
                self._connection.transport.write(self.answer.whole_of(500, body))
        finally:
            self._connection.ended(self)

    def feed(self, body: bytes) -> None:
        """A part of the body has come."""
        self._body.append(body)
        self._size += len(body)
        if self._size >= self._limit:
            self._connection.pause()
            self._wake()

    def finish(self) -> None:
        """The body is whole."""
        self.heard = True
        self._wake()

    def left(self) -> None:
        """The client has left."""
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def receive(self) -> dict[str, Any]:
        """The next part of the body, as much as there is; then that the client has left."""
        while not (self._gone or (self._told and self.answer.whole)):
            if not self._told and (self.heard or self._size >= self._limit):
                break
            if self._expects and not self._size:
                self._expects = False
                self._connection.go_on()
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        if self._gone or self._told:
            return {"type": "http.disconnect"}
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body, self._size = [], 0
        self._told = self.heard
        if not self.heard:
            self._connection.resume()
        return {"type": "http.request", "body": body, "more_body": not self.heard}

    async def send(self, message: Any) -> None:
        """A part of the answer; waits while the client takes none. What comes after the client left is dropped."""
        connection = self._connection
        if message["type"] == "http.response.start":
            if not self.heard and self._expects:
                self.answer.keep = False
            if connection.house.draining or not self.heard:
                self.answer.keep = False
            self.answer.start(message["status"], message.get("headers", ()))
            return
        data = self.answer.body(message.get("body", b""), bool(message.get("more_body")))
        if self._gone or connection.closing:
            return
        if data:
            connection.transport.write(data)
        if self.answer.whole:
            self._wake()
        elif connection.full:
            await connection.room()


def _address(transport: Any, name: str) -> tuple[str, int] | None:
    """Host and port of an end of a connection; a unix socket has none."""
    found = transport.get_extra_info(name)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple | list) and len(found) >= 2 else None


def _why(error: Exception) -> Bad:
    bad = error.__context__
    if isinstance(bad, Bad):
        return bad
    if isinstance(error, httptools.HttpParserInvalidMethodError):
        return Bad(400, "bad_method", "The request does not begin with a method of HTTP.")
    return Bad(400, "bad_request", "The request is not HTTP/1.1 as it is written down. Nothing of it was acted on.")
