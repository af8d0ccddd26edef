"""What carries requests to upstreams, whichever HTTP layer it is: our own, or aiohttp behind the same few methods."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Protocol

from watchkeeper.engines.gateway.settings import Transport


class Answering(Protocol):
    """A reply as it comes."""

    @property
    def status(self) -> int:
        """Its status."""
        ...

    @property
    def raw_headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Its headers as they came."""
        ...

    async def readany(self) -> bytes:
        """What has come of the body, empty at its end; raises `OSError` where it ends too early."""
        ...

    def close(self) -> None:
        """Let go of the reply, and of its connection where it is not whole."""
        ...


class Carrier(Protocol):
    """Sends requests. Made inside a running loop."""

    async def request(
        self,
        method: str,
        base_url: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        times_s: tuple[float, float],
    ) -> Answering:
        """Send a request; returns when the reply's head is here. `times_s` are for connecting and for the whole reply.

        Raises `NotConnected` when nothing was sent, else `Broken` or `TimeoutError`; all are `OSError`s.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


def carrier(transport: Transport, tls: ssl.SSLContext | None) -> Carrier:
    """The HTTP layer of that name; `tls` says how servers are verified, by the system's authorities if not given."""
    if transport == "native":
        from watchkeeper.engines.gateway.transport.client import Client

        return Client(tls)
    from watchkeeper.engines.gateway.transport.libraries import AiohttpCarrier

    return AiohttpCarrier(tls)
