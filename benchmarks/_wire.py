"""The ends of the wire for gateway benchmarks: an upstream that answers at once, a load, and the barest proxy there is.

All three are asyncio protocols on uvloop that read just enough HTTP for their own counterparts; they are no servers for
anything else.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from typing import Any

import httptools

CHUNKS = 24
MARK = b"0000000000"
"""Ten digits of the request that differ from call to call."""
STREAMED = b'"stream": true'

USAGE = {"prompt_tokens": 420, "completion_tokens": 24, "total_tokens": 444}
_HEAD = {"id": "chatcmpl-bench", "created": 1, "model": "gpt-4o-mini-2024-07-18", "system_fingerprint": "fp_bench"}
REPLY = json.dumps(
    {
        **_HEAD,
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": "word " * 60}, "finish_reason": "stop"},
        ],
        "usage": USAGE,
    }
).encode()


def _event(delta: dict[str, str], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return (
        b"data: "
        + json.dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [choice], **more}).encode()
        + b"\n\n"
    )


EVENTS = [_event({"content": "word "}) for _ in range(CHUNKS)]
EVENTS += [_event({}, "stop", usage=USAGE), b"data: [DONE]\n\n"]
_WHOLE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
    + str(len(REPLY)).encode()
    + b"\r\n\r\n"
    + REPLY
)
_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_FRAMED = [b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS]


def request_body(size_bytes: int, stream: bool) -> bytes:
    """A chat request of about a size: system prompt, a tool and a history; `MARK` in the last message varies."""
    turns = [{"role": "system", "content": "You help the customers of a bookshop."}]
    while sum(len(turn["content"]) + 50 for turn in turns) < size_bytes - 650:
        number = len(turns)
        turns.append({"role": "user", "content": f"{number}: " + "Where is my order, and when does it come? " * 10})
        turns.append({"role": "assistant", "content": f"{number}: " + "It was sent, and comes in two days. " * 10})
    turns.append({"role": "user", "content": "And when does it come? " + MARK.decode()})
    tool = {
        "type": "function",
        "function": {
            "name": "lookup",
            "description": "Looks an order up by its number.",
            "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]},
        },
    }
    asked = {"model": "gpt-4o-mini", "messages": turns, "tools": [tool], "temperature": 0.2, "max_tokens": 200}
    return json.dumps({**asked, "stream": stream}).encode()


class _Framed(asyncio.Protocol):
    """Cuts what comes into requests with a declared length."""

    def __init__(self) -> None:
        self.transport: Any = None
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            size = _length(self._buffer[:end]) or 0
            if len(self._buffer) < end + 4 + size:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
            self.asked(body)

    def asked(self, body: bytes) -> None:
        """A whole request has come."""
        raise NotImplementedError


def _length(head: bytes) -> int | None:
    at = head.find(b"ontent-length:")
    if at < 0:
        at = head.find(b"ontent-Length:")
    return None if at < 0 else int(head[at + 14 :].split(b"\r\n", 1)[0])


class Stub(_Framed):
    """The upstream: answers at once, in events of which each is written by itself when a stream was asked for."""

    def asked(self, body: bytes) -> None:
        if STREAMED in body or b'"stream":true' in body:
            self.transport.write(_STREAM + _FRAMED[0])
            asyncio.get_running_loop().call_soon(self._more, 1)
        else:
            self.transport.write(_WHOLE)

    def _more(self, number: int) -> None:
        if number < len(_FRAMED):
            self.transport.write(_FRAMED[number])
            asyncio.get_running_loop().call_soon(self._more, number + 1)
        else:
            self.transport.write(b"0\r\n\r\n")


class Load(asyncio.Protocol):
    """One keep-alive connection of the load; `done` is told of each answer: when asked, first byte and end, in s."""

    def __init__(self, pieces: tuple[bytes, bytes], done: Any) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.wrong = 0
        self.transport: Any = None
        self._before, self._after = pieces
        self._done = done
        self._began = self._first = 0.0
        self._head: bytes | None = None
        self._buffer = b""
        self._left: int | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def ask(self, number: int, due_s: float | None = None) -> None:
        """Send a request; its time counts from `due_s` where it was due before now."""
        self._began = time.perf_counter() if due_s is None else due_s
        self._first = 0.0
        self.transport.write(b"%b%010d%b" % (self._before, number, self._after))

    def data_received(self, data: bytes) -> None:
        if self._head is None:
            self._buffer += data
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            self._head, data = self._buffer[:end], self._buffer[end + 4 :]
            self._buffer = b""
            self.wrong += not self._head.startswith(b"HTTP/1.1 200")
            self._left = _length(self._head.lower().replace(b"content-length", b"Content-length"))
        if data and not self._first:
            self._first = time.perf_counter()
        if self._left is not None:
            self._left -= len(data)
            whole = self._left <= 0
        else:
            self._buffer = (self._buffer + data)[-7:]
            whole = self._buffer.endswith(b"\r\n0\r\n\r\n")
        if whole:
            self._head, self._buffer = None, b""
            self._done(self, self._began, self._first, time.perf_counter())


class Run:
    """A turn of load against one port."""

    def __init__(self, port: int, key: str, size_bytes: int, stream: bool) -> None:
        body = request_body(size_bytes, stream)
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nuser-agent: bench\r\nauthorization: Bearer {key}\r\n"
            "x-watchkeeper-session: bench\r\nx-watchkeeper-run: bench\r\naccept: */*\r\n\r\n"
        ).encode()
        before, _, after = body.partition(MARK)
        self._port, self._pieces = port, (head + before, after)
        self._number = time.time_ns() // 1_000_000 % 1_000_000_000
        self._took: list[float] = []
        self._first: list[float] = []
        self._until = 0.0
        self._idle: deque[Load] = deque()
        self._due: deque[float] = deque()

    async def closed(self, connections: int, seconds: float, most: int = 1 << 60) -> dict[str, Any]:
        """Each connection asks again as soon as it is answered, for some seconds or `most` answers."""
        began = time.perf_counter()
        self._until = began + seconds

        def done(load: Load, asked: float, first: float, end: float) -> None:
            self._note(asked, first, end)
            if end >= self._until or len(self._took) >= most:
                load.transport.close()
            else:
                load.ask(self._next())

        loads = await self._connect(connections, done)
        for load in loads:
            load.ask(self._next())
        await self._ended(loads, seconds)
        return self._report(loads, time.perf_counter() - began)

    async def at_rate(self, rate_per_s: float, connections: int, seconds: float) -> dict[str, Any]:
        """Requests fall due at a fixed rate; one that finds no free connection waits, and its wait counts."""

        def done(load: Load, asked: float, first: float, end: float) -> None:
            self._note(asked, first, end)
            if self._due:
                load.ask(self._next(), self._due.popleft())
            else:
                self._idle.append(load)

        loads = await self._connect(connections, done)
        self._idle.extend(loads)
        began = time.perf_counter()
        for number in range(int(rate_per_s * seconds)):
            due = began + number / rate_per_s
            wait = due - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            if self._idle:
                self._idle.popleft().ask(self._next())
            else:
                self._due.append(due)
        for _ in range(1000):
            if len(self._idle) == connections:
                break
            await asyncio.sleep(0.01)
        passed = time.perf_counter() - began
        for load in loads:
            load.transport.close()
        await self._ended(loads, 1)
        return self._report(loads, passed)

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _note(self, asked: float, first: float, end: float) -> None:
        self._took.append(end - asked)
        self._first.append(first - asked)

    async def _connect(self, connections: int, done: Any) -> list[Load]:
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: Load(self._pieces, done), "127.0.0.1", self._port)
            for _ in range(connections)
        ]
        return [protocol for _, protocol in made]

    async def _ended(self, loads: list[Load], seconds: float) -> None:
        _, late = await asyncio.wait([load.ended for load in loads], timeout=seconds + 20)
        if late:
            for load in loads:
                load.transport.abort()

    def _report(self, loads: list[Load], passed: float) -> dict[str, Any]:
        took, first = sorted(self._took), sorted(self._first)
        return {
            "per_s": len(took) / passed,
            "answers": len(took),
            "wrong": sum(load.wrong for load in loads),
            "p50_ms": _at(took, 0.5),
            "p95_ms": _at(took, 0.95),
            "p99_ms": _at(took, 0.99),
            "first_p50_ms": _at(first, 0.5),
        }


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")


class BareProxy(asyncio.Protocol):
    """The least that can be called a proxy: bytes of a request go to an upstream connection, those of its reply back.

    It reads both heads with httptools, drops the headers of the connection and keeps connections open, no more.
    """

    def __init__(self, port: int, pool: list[_Back]) -> None:
        self._port, self._pool = port, pool
        self._back: _Back | None = None
        self.transport: Any = None
        self._new()

    def _new(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._headers: list[bytes] = []
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in (b"host", b"connection"):
            self._headers.append(b"%b: %b\r\n" % (name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        head = b"POST %b HTTP/1.1\r\nhost: 127.0.0.1\r\n%b\r\n" % (self._url, b"".join(self._headers))
        request = head + b"".join(self._body)
        self._new()
        if self._pool:
            back = self._pool.pop()
            back.front = self.transport
            back.transport.write(request)
        else:
            asyncio.get_running_loop().create_task(self._open(request))

    async def _open(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, back = await loop.create_connection(lambda: _Back(self._pool), "127.0.0.1", self._port)
        back.front = self.transport
        back.transport.write(request)


class _Back(asyncio.Protocol):
    """An upstream connection of the bare proxy."""

    def __init__(self, pool: list[_Back]) -> None:
        self._pool = pool
        self.front: Any = None
        self.transport: Any = None
        self._parser = httptools.HttpResponseParser(self)
        self._whole = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._whole = False
        self._parser.feed_data(data)
        self.front.write(data)
        if self._whole:
            self._parser = httptools.HttpResponseParser(self)
            self._pool.append(self)

    def on_message_complete(self) -> None:
        self._whole = True
