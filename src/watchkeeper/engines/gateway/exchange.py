"""One HTTP exchange with a client over ASGI: its request read once, its reply sent once, its departure noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic_ns
from typing import Any, NoReturn

from watchkeeper.engines.gateway.attempt import Attempt
from watchkeeper.engines.gateway.errors import JSON_TYPE, OPENAI, Header, Refusal, Wording
from watchkeeper.engines.gateway.wire import inflate, too_large

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


WATCHED_AFTER_S = 0.02
"""A call that takes longer is watched for its client's leaving; for a shorter one it is not worth the trouble."""


class ClientGone(Exception):
    """The client closed its connection before the reply was whole."""


class Abandoned(Exception):
    """A reply was given up half-way; the server is to close the connection."""


class Exchange:
    """A client's request and the reply to it.

    `incoming` are its headers as they came, `headers` the same by lower-case name (the last of a name counts).
    `extra` are headers that go on every reply. `attempt` is there for a call under an idempotency key. `recorded` is
    whether a span tells of it. `client_ns` is the time spent waiting for the client to take bytes. `wording` is how
    this client is told an error.
    """

    def __init__(self, scope: Message, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.checked_key: object = scope.get("watchkeeper.key")
        self.attempt: Attempt | None = scope.get("watchkeeper.attempt")
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._scope = scope
        self.incoming: list[Header] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self.incoming)
        self.extra: list[Header] = []
        self.client_ns = 0
        self.begun = False
        self.gone = False
        self.recorded = False
        self.wording: Wording = OPENAI
        self._ended = False
        self._later: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Future[Message] | None = None
        self._task: asyncio.Task[Any] | None = None

    @property
    def raw_path(self) -> str:
        """The path as it came, its escapes kept."""
        raw_path: bytes = self._scope.get("raw_path") or self.path.encode()
        return raw_path.decode("latin-1").partition("?")[0]

    @property
    def query(self) -> str:
        """The query as it came, with its question mark; empty when there is none."""
        query: bytes = self._scope.get("query_string", b"")
        return "?" + query.decode("latin-1") if query else ""

    async def body(self, limit_bytes: int) -> bytes:
        """The request's body as it came; raises a 413 over the limit and `ClientGone` when it breaks off."""
        declared = self.headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit_bytes:
            raise too_large(limit_bytes)
        message = await self._receive()
        data: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body"):
            if len(data) > limit_bytes:
                raise too_large(limit_bytes)
            return data
        pieces, size = [data], len(data)
        while message["type"] == "http.request" and message.get("more_body"):
            if size > limit_bytes:
                raise too_large(limit_bytes)
            message = await self._receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
        if message["type"] != "http.request":
            self.gone = True
            raise ClientGone
        if size > limit_bytes:
            raise too_large(limit_bytes)
        return b"".join(pieces)

    def plain(self, body: bytes, limit_bytes: int) -> bytes:
        """A body with its content coding undone."""
        if b"content-encoding" not in self.headers:
            return body
        coding = self.headers[b"content-encoding"].decode("latin-1").strip().lower()
        return body if coding in ("", "identity") else inflate(body, coding, limit_bytes)

    def watch(self) -> None:
        """From now on a client that leaves cancels the current task; `left` tells such a cancellation from others."""
        self._task = asyncio.current_task()
        self._later = asyncio.get_running_loop().call_later(WATCHED_AFTER_S, self._look)

    def _look(self) -> None:
        self._watcher = asyncio.ensure_future(self._receive())
        self._watcher.add_done_callback(self._note)

    def left(self) -> bool:
        """Whether the cancellation that was just caught came from the client's leaving; it is taken back then."""
        if not self.gone or self._task is None:
            return False
        self._task.uncancel()
        return True

    def _note(self, watcher: asyncio.Future[Message]) -> None:
        if watcher.cancelled() or watcher.exception() is not None or self._ended:
            return
        if watcher.result()["type"] == "http.disconnect" and self._task is not None:
            self.gone = True
            self._task.cancel()

    def unwatch(self) -> None:
        """Stop watching for the client to leave."""
        self._ended = True
        if self._later is not None:
            self._later.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    async def reply(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a whole reply."""
        self.unwatch()
        self.begun = True
        began = monotonic_ns()
        length = (b"content-length", str(len(body)).encode())
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self.extra, length]})
        await self._send({"type": "http.response.body", "body": body})
        self.client_ns += monotonic_ns() - began

    async def refuse(self, refusal: Refusal) -> None:
        """Send one of the gateway's own errors."""
        await self.reply(refusal.status, [JSON_TYPE, *refusal.headers], self.wording.body(refusal))

    async def begin(self, status: int, headers: list[Header]) -> None:
        """Send the head of a reply whose body follows in pieces."""
        self.begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": [*headers, *self.extra]})

    async def push(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client does not take it."""
        began = monotonic_ns()
        await self._send({"type": "http.response.body", "body": data, "more_body": True})
        self.client_ns += monotonic_ns() - began

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece of the body."""
        self.unwatch()
        await self._send({"type": "http.response.body", "body": data})

    def abandon(self) -> NoReturn:
        """Give the reply up half-way: the server closes the connection, so the client sees that it is not whole."""
        self.unwatch()
        raise Abandoned
