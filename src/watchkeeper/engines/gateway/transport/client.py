"""Asks upstreams over kept connections: one pool for each server, the connection used last taken first."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable

from watchkeeper.engines.gateway.transport.connection import Broken, Connection, Limits, Response
from watchkeeper.engines.gateway.transport.origin import Origin, origin_of, target_of, verified

KEPT_S = 30.0
"""How long an idle connection is kept: less than servers usually do, so that a request seldom meets a closed one."""
MOST_KEPT = 256
_SWEEP_S = 5.0
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class NotConnected(OSError):
    """No connection came about, so nothing was sent."""


class ConnectTimeout(NotConnected, TimeoutError):
    """No connection came about in time."""


class Client:
    """A client of any number of upstreams. Make and use it inside one running loop."""

    def __init__(self, tls: ssl.SSLContext | None = None, limits: Limits | None = None) -> None:
        """`tls` is how servers are verified; the system's authorities when not given."""
        self._loop = asyncio.get_running_loop()
        self._tls, self._limits = tls, limits or Limits()
        self._pools: dict[Origin, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    async def request(
        self,
        method: str,
        base_url: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        times_s: tuple[float, float],
    ) -> Response:
        """Send a request; returns when the reply's head is here. `times_s` are for connecting and for the whole reply.

        Raises `NotConnected`, `Broken`, `TimeoutError` (an `OSError` too), and `ValueError` for what cannot be written.
        A request that may be repeated is, once, where a kept connection turns out to be closed; a POST is not, for a
        model call costs money.
        """
        origin = origin_of(base_url)
        connect_s, whole_s = times_s
        request = _head(method, target_of(origin.prefix, path), origin, headers, len(body))
        while True:
            connection = self._kept(origin)
            if connection is None:
                connection = await self._connect(origin, connect_s)
            reused = connection.used > 0
            try:
                return await self._ask(connection, method, request, body, whole_s)
            except Broken as broken:
                if not reused or broken.began or method not in _REPEATABLE:
                    raise

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for each in list(self._open):
            each.drop()
        self._open.clear()
        self._pools.clear()
        await asyncio.sleep(0)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        self._open = {each for each in self._open if not each.closed}
        return len(self._open)

    async def _ask(self, connection: Connection, method: str, request: bytes, body: bytes, whole_s: float) -> Response:
        try:
            return await connection.ask(method, request, body, whole_s)
        except BaseException:
            connection.drop()
            raise

    def _kept(self, origin: Origin) -> Connection | None:
        pool = self._pools.get(origin)
        now = self._loop.time()
        while pool:
            connection = pool.pop()
            if not connection.closed and connection.expires > now and not connection.transport.is_closing():
                return connection
            self._open.discard(connection)
            connection.drop()
        return None

    async def _connect(self, origin: Origin, connect_s: float) -> Connection:
        def keep(connection: Connection) -> None:
            self._keep(origin, connection)

        made = Connection(self._loop, self._limits, keep)
        tls = self._context() if origin.secure else None
        try:
            async with asyncio.timeout(connect_s):
                await self._loop.create_connection(
                    lambda: made,
                    origin.host,
                    origin.port,
                    ssl=tls,
                    server_hostname=origin.host if tls is not None else None,
                )
        except TimeoutError as error:
            made.drop()
            raise ConnectTimeout(f"no connection within {connect_s:g} s") from error
        except (OSError, ssl.SSLError, UnicodeError) as error:
            made.drop()
            raise NotConnected(f"no connection came about: {error}") from error
        except BaseException:
            made.drop()
            raise
        self._open.add(made)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
        return made

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = verified()
        return self._tls

    def _keep(self, origin: Origin, connection: Connection) -> None:
        """A connection can carry another request."""
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = deque()
        if self._closed or len(pool) >= MOST_KEPT:
            self._open.discard(connection)
            connection.drop()
            return
        connection.expires = self._loop.time() + KEPT_S
        pool.append(connection)

    def _sweep(self) -> None:
        """Close what was idle for too long, and forget what is closed."""
        self._sweeper = None
        now = self._loop.time()
        for pool in self._pools.values():
            while pool and (pool[0].closed or pool[0].expires <= now):
                pool.popleft().drop()
        self._open = {each for each in self._open if not each.closed}
        if self._open:
            self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)


def _head(method: str, target: str, origin: Origin, headers: Iterable[tuple[str, str]], size: int) -> bytes:
    """The head of a request as bytes; raises `ValueError` when a header would break out of its line."""
    lines = [f"{method} {target} HTTP/1.1\r\nhost: {origin.host_header}\r\n"]
    login = origin.login
    for name, value in headers:
        lines.append(f"{name}: {value}\r\n")
        if login is not None and name.lower() == "authorization":
            login = None
    if login is not None:
        lines.append(f"authorization: {login}\r\n")
    if size or method in _WITH_BODY:
        lines.append(f"content-length: {size}\r\n")
    lines.append("\r\n")
    head = "".join(lines)
    breaks = len(lines) + 1
    if head.count("\n") != breaks or head.count("\r") != breaks or "\x00" in head or not method.isalpha():
        raise ValueError("a header holds a line break, or the method is none")
    return head.encode("utf-8", "surrogateescape")
