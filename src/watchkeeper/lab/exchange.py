"""One HTTP exchange of the lab, in raw ASGI: read a body, send JSON or a stream, or break off on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from watchkeeper.lab.shapes import Json, LabError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

CLOSE = "watchkeeper.lab.close"
"""Name of the ASGI extension through which the lab's server lets the app close a connection."""

MAX_BODY_BYTES = 64 * 1024 * 1024
LAB_HEADER = "x-watchkeeper-lab"


class Exchange:
    """One request and its answer. `left`: the client went before the end; `closed`: we broke it off."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.left = False
        self.closed = False
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }

    async def read(self) -> bytes:
        """The whole body; refuses more than 64 MiB with a 413."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.left = True
                return b"".join(parts)
            part = message.get("body", b"")
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise LabError(413, "body_too_large", f"The body is over {MAX_BODY_BYTES} bytes. Send less.")
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    async def send_json(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        await self.send_bytes(status, msgspec.json.encode(body), headers)

    async def send_bytes(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer of content type JSON, whatever the bytes are."""
        await self._start(status, "application/json", {**(headers or {}), "content-length": str(len(data))})
        await self._send({"type": "http.response.body", "body": data})

    async def send_stream(
        self,
        parts: Iterable[tuple[bytes, float]],
        headers: Mapping[str, str],
        *,
        cut: int | None = None,
        stall: int | None = None,
    ) -> int:
        """Server-sent events, each after its delay in seconds; returns how many were sent.

        Ends early when the client leaves, after `cut` parts by closing the connection, or after `stall`
        parts by waiting in silence until the client leaves.
        """
        gone = asyncio.ensure_future(self._gone())
        sent = 0
        try:
            await self._start(200, "text/event-stream; charset=utf-8", {**headers, "cache-control": "no-cache"})
            for part, delay_s in parts:
                if cut is not None and sent >= cut:
                    await self._close(gone)
                    return sent
                if stall is not None and sent >= stall:
                    await gone
                if delay_s > 0:
                    await asyncio.wait([gone], timeout=delay_s)
                if gone.done():
                    self.left = True
                    return sent
                await self._send({"type": "http.response.body", "body": part, "more_body": True})
                sent += 1
            await self._send({"type": "http.response.body", "body": b""})
            return sent
        finally:
            gone.cancel()

    async def close(self) -> None:
        """Close the connection without a (further) answer."""
        await self._close(asyncio.ensure_future(self._gone()))

    async def hang(self) -> None:
        """Send nothing until the client leaves."""
        await self._gone()

    async def pause(self, delay_s: float) -> None:
        """Wait before the first byte."""
        if delay_s > 0:
            await asyncio.sleep(delay_s)

    async def _start(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        whole = {"content-type": content_type, LAB_HEADER: "not-a-model", **headers}
        sent = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in whole.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": sent})

    async def _gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def _close(self, gone: asyncio.Future[None]) -> None:
        extension: Mapping[str, Callable[[], None]] | None = self._scope.get("extensions", {}).get(CLOSE)
        if extension is None:
            gone.cancel()
            raise ConnectionAbortedError(
                "This fault closes the connection, and only the lab's own server can do that. "
                "Run the app with watchkeeper.lab.serving."
            )
        self.closed = True
        extension["close"]()
        await gone


def event(body: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


DONE = b"data: [DONE]\n\n"
