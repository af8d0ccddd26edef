"""A reply as it comes, kept so that more than one client can be given it, and so that none has to stay for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from watchkeeper.engines.gateway.errors import Header
from watchkeeper.engines.gateway.exchange import Abandoned, Message, Send


class Tape:
    """Takes a reply over ASGI (`send`) and plays it, from its beginning, to whoever asks (`play`).

    It holds up to `limit_bytes`; a longer reply goes to its first listener at that listener's pace, is `over` and can
    be played to nobody else.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self.status: int | None = None
        self.headers: list[Header] = []
        self.over = self.ended = self.broken = False
        self._pieces: list[bytes] = []
        self._dropped = self._taken = self._size = 0
        self._left = False
        self._changed = asyncio.Event()

    async def send(self, message: Message) -> None:
        """Take one ASGI message of the reply."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            data = bytes(message.get("body", b""))
            if data:
                self._pieces.append(data)
                self._size += len(data)
            self.ended = not message.get("more_body", False)
        self._wake()
        if self._size > self._limit:
            self.over = True
            while not self._left and self._taken < self._dropped + len(self._pieces):
                await self._changed.wait()
            self._dropped += len(self._pieces)
            self._pieces.clear()

    def give_up(self) -> None:
        """Nothing more will come; a reply that had begun is not whole."""
        self.broken = not self.ended
        self._wake()

    @property
    def body(self) -> bytes:
        """All that came; raises `ValueError` for a reply that was too long to keep."""
        if self.over:
            raise ValueError("the reply was longer than what is kept")
        return b"".join(self._pieces)

    async def begun(self, timeout_s: float) -> bool:
        """Wait until the reply begins or is given up; False when that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.status is None and not self.broken:
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def play(self, send: Send, extra: Sequence[Header] = (), first: bool = False) -> None:
        """Give the reply to a client as it comes; raises `Abandoned` where it was given up half-way.

        `extra` headers go in front. `first` is the listener for whom the reply was made.
        """
        try:
            place, started = 0, False
            while True:
                change = self._changed
                if self.status is not None and not started:
                    started = True
                    head = {"type": "http.response.start", "status": self.status, "headers": [*self.headers, *extra]}
                    await send(head)
                while started and place - self._dropped < len(self._pieces):
                    data = self._pieces[place - self._dropped]
                    place += 1
                    if first:
                        self._taken = place
                        self._wake()
                    if self.ended and place - self._dropped >= len(self._pieces):
                        await send({"type": "http.response.body", "body": data})
                        return
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                if self.ended:
                    await send({"type": "http.response.body", "body": b""})
                    return
                if self.broken:
                    raise Abandoned
                await change.wait()
        finally:
            if first:
                self._left = True
                self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
