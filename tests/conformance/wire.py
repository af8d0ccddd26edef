"""The stage for hostile HTTP: both servers over a probing app, both clients before an upstream of raw bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from watchkeeper.engines.gateway.exchange import Abandoned
from watchkeeper.server.transport.connection import Limits
from watchkeeper.server.transport.serving import HttpServer

SERVERS = ("native", "libraries")
QUICK = Limits(head_s=0.3, body_s=0.3, idle_s=0.6, send_s=0.6, linger_s=0.5)
"""Times that a test can wait for. The deadlines are looked at twice a second."""


@dataclass
class Probe:
    """An app that says what it was asked, and remembers who left; `paths` are the requests that reached it."""

    paths: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    let: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        path = scope["path"]
        self.paths.append(f"{scope['method']} {path}")
        await getattr(self, f"_{path.strip('/').split('/')[0] or 'echo'}", self._echo)(scope, receive, send)

    async def _echo(self, scope: Any, receive: Any, send: Any) -> None:
        body = await _body(receive)
        said = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode(),
            "bytes": len(body),
            "digest": hashlib.blake2b(body).hexdigest()[:16],
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        }
        await _whole(send, 200, json.dumps(said).encode())

    async def _refuse(self, scope: Any, receive: Any, send: Any) -> None:
        await _whole(send, 413, b'{"error": "no"}')

    async def _empty(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, scope: Any, receive: Any, send: Any) -> None:
        await _body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        for piece in (b"one ", b"", b"two ", b"three"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _endless(self, scope: Any, receive: Any, send: Any) -> None:
        await _body(receive)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        watcher = asyncio.ensure_future(receive())
        while not watcher.done():
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
            self.sent_bytes += 65_536
            await asyncio.sleep(0)
        if watcher.result()["type"] == "http.disconnect":
            self.left.append(scope["path"])

    async def _wait(self, scope: Any, receive: Any, send: Any) -> None:
        await _body(receive)
        gone, let = asyncio.ensure_future(receive()), asyncio.ensure_future(self.let.wait())
        await asyncio.wait({gone, let}, return_when=asyncio.FIRST_COMPLETED)
        let.cancel()
        if gone.done():
            self.left.append(scope["path"])
            return
        gone.cancel()
        await _whole(send, 200, b'"done"')

    async def _abandon(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise Abandoned

    async def _fail(self, scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the app failed")


async def _body(receive: Any) -> bytes:
    pieces = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return b"".join(pieces)


async def _whole(send: Any, status: int, body: bytes) -> None:
    fields = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(kind: str, app: Any, limits: Limits | None = None) -> AsyncIterator[int]:
    """Serve an app through one of the servers; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if kind == "native":
        native = HttpServer(app, limits or Limits())
        await native.start(listener)
        try:
            yield port
        finally:
            await native.close(1)
        return
    config = uvicorn.Config(
        app,
        log_level="critical",
        lifespan="off",
        ws="none",
        http="httptools",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.capture_signals = suppress  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield port
    finally:
        server.should_exit = True
        await task
        listener.close()


@dataclass
class Line:
    """A raw connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, *pieces: bytes, pause_s: float = 0.0) -> None:
        """Send bytes, piece by piece."""
        for piece in pieces:
            with suppress(ConnectionError, RuntimeError):  # uvloop says so where the other side has closed
                self.writer.write(piece)
                await self.writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)

    async def reply(self, head: bool = False, within_s: float = 5.0) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers (lower case), and body. `head` says that a HEAD was sent."""
        async with asyncio.timeout(within_s):
            raw = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = raw.decode("latin-1").strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            status = int(first.split()[1])
            if head or status in (204, 304) or status < 200:
                return status, headers, b""
            if "content-length" in headers:
                return status, headers, await self.reader.readexactly(int(headers["content-length"]))
            if headers.get("transfer-encoding") == "chunked":
                return status, headers, await self._chunks()
            return status, headers, await self.reader.read()

    async def _chunks(self) -> bytes:
        body = b""
        while True:
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            piece = await self.reader.readexactly(size + 2)
            if not size:
                return body
            body += piece[:-2]

    async def rest(self, within_s: float = 5.0) -> bytes:
        """Everything up to the end of the connection."""
        async with asyncio.timeout(within_s):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""

    async def close(self) -> None:
        """Close."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def line(port: int) -> AsyncIterator[Line]:
    """A raw connection."""
    opened = Line(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))
    try:
        yield opened
    finally:
        await opened.close()


async def until(true: Callable[[], bool], within_s: float = 5.0) -> None:
    """Return when something is so."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.005)


Say = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawUpstream:
    """An upstream that writes whatever it is told: `script` gets each connection after its first request was read."""

    port: int
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def upstream(script: Say, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawUpstream]:
    """A raw upstream on a free port; the script runs once for each request of a connection, until it closes."""
    found = RawUpstream(0)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length)) if length else b""
                found.requests.append(head + body)
                await script(reader, writer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()


def answering(*pieces: bytes, close: bool = False, pause_s: float = 0.0) -> Say:
    """A script that writes pieces, and closes where told to."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)
        if close:
            writer.close()

    return script
