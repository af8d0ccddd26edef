"""Holds a listening socket and its connections: takes them, ends those whose time is up, lets the last ones finish."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from watchkeeper.server.asgi import App
from watchkeeper.server.transport.connection import Connection, House, Limits

SWEEP_S = 0.5


class HttpServer:
    """Serves an ASGI app on a listening socket. `start` inside the running loop, then `close` once."""

    def __init__(self, app: App, limits: Limits | None = None) -> None:
        self._app, self._limits = app, limits or Limits()
        self._house: House | None = None
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self, listener: socket.socket, backlog: int = 2048) -> None:
        """Begin to take connections."""
        loop = asyncio.get_running_loop()
        self._house = house = House(self._app, self._limits, loop)
        make: Any = lambda: Connection(house)  # noqa: E731
        if listener.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(make, sock=listener, backlog=backlog)
        else:
            self._server = await loop.create_server(make, sock=listener, backlog=backlog)
        self._sweeper = loop.create_task(self._sweep(house), name="http deadlines")

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return 0 if self._house is None else len(self._house.connections)

    async def close(self, drain_s: float) -> None:
        """Take no more, let what is under way finish for up to `drain_s` seconds, end the rest."""
        house, server = self._house, self._server
        if house is None or server is None:
            return
        server.close()
        house.draining = True
        for each in list(house.connections):
            if each.turn is None:
                each.close()
        if house.tasks:
            await asyncio.wait(set(house.tasks), timeout=drain_s)
        late = set(house.tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        await asyncio.sleep(0)
        for each in list(house.connections):
            each.close()
        await self._let_go(house)

    async def _let_go(self, house: House) -> None:
        """Give what was written a moment to be sent."""
        for _ in range(20):
            if not house.connections:
                break
            await asyncio.sleep(0.05)
        for each in list(house.connections):
            each.transport.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper

    async def _sweep(self, house: House) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            house.sweep()
