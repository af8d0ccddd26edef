"""A raw TCP server on loopback that answers each request as its script says: whole, badly, or not at all."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

Act = Callable[[asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; returns whether the connection stays open."""


class Misbehaving:
    """Plays its acts one by one, the last one again and again; `heard` are the bodies of the requests."""

    def __init__(self, *acts: Act) -> None:
        self.acts = list(acts)
        self.heard: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.connections = 0
        self.url = ""

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.headers.append(headers)
        self.heard.append(json.loads(body or b"{}"))
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        keep = await act(writer)
        await writer.drain()
        return keep


@asynccontextmanager
async def misbehaving(*acts: Act) -> AsyncIterator[Misbehaving]:
    """Serve the acts on a free loopback port."""
    played = Misbehaving(*acts)
    server = await asyncio.start_server(played.connected, "127.0.0.1", 0)
    played.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield played
    finally:
        server.close()


def refusing_url() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def http(status: int, body: bytes, media: str = "application/json", length: int | None = None, **headers: str) -> bytes:
    """A response's bytes; `length` lies about the body's."""
    extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status} X\r\ncontent-type: {media}\r\ncontent-length: {size}\r\n{extra}\r\n".encode() + body


def reply(text: str = "Hello.", model: str = "alpha") -> Any:
    """A whole chat completion."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15},
    }


def says(value: Any, status: int = 200, **headers: str) -> Act:
    """Answers with JSON."""

    async def act(writer: asyncio.StreamWriter) -> bool:
        writer.write(http(status, json.dumps(value).encode(), **headers))
        return True

    return act


def error(status: int, **headers: str) -> Act:
    """Answers with an error status, in OpenAI's shape."""
    return says({"error": {"message": f"planted {status}", "type": "server_error", "code": None}}, status, **headers)


def raw(data: bytes, keep: bool = False, pause_s: float = 0.0) -> Act:
    """Writes bytes as they are, waits, and closes unless told to keep."""

    async def act(writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        if pause_s:
            await asyncio.sleep(pause_s)
        return keep

    return act


def event(**changes: Any) -> bytes:
    """One chunk of a streamed chat completion as an event."""
    delta, finish, usage = changes.pop("delta", {}), changes.pop("finish", None), changes.pop("usage", None)
    chunk: dict[str, Any] = {
        "id": "chatcmpl-2",
        "object": "chat.completion.chunk",
        "model": changes.pop("model", "alpha"),
        "choices": [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}],
    }
    if usage:
        chunk["usage"] = usage
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def words(*texts: str, model: str = "alpha") -> bytes:
    """Events that say these texts."""
    first = event(delta={"role": "assistant", "content": ""}, model=model)
    return first + b"".join(event(delta={"content": text}, model=model) for text in texts)


def ending(model: str = "alpha") -> bytes:
    """The end of a stream, with usage."""
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    return event(finish="stop", model=model) + event(usage=usage, model=model) + b"data: [DONE]\n\n"


def streams(*pieces: bytes, whole: bool = True, hang_s: float = 0.0) -> Act:
    """Answers with a chunked stream of events; not `whole`: the connection breaks, or hangs first, after the pieces."""

    async def act(writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in pieces:
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.002)
        if hang_s:
            await asyncio.sleep(hang_s)
        if whole:
            writer.write(b"0\r\n\r\n")
        return whole

    return act


async def hangs(writer: asyncio.StreamWriter) -> bool:
    """Never answers."""
    await asyncio.sleep(30)
    return False


async def closes(writer: asyncio.StreamWriter) -> bool:
    """Closes the connection without a word."""
    return False
