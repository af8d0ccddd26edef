"""What carries requests to upstreams, whichever HTTP layer it is: our own, or aiohttp behind the same few methods."""

from __future__ import annotations

import ssl

from watchkeeper.engines.gateway.settings import Transport
from watchkeeper.kinds.ports import Carrier


def carrier(transport: Transport, tls: ssl.SSLContext | None) -> Carrier:
    """The HTTP layer of that name; `tls` says how servers are verified, by the system's authorities if not given.

    Raises as `Carrier` says: `NotConnected` when nothing was sent, else `Broken` or `TimeoutError`; all are `OSError`s.
    """
    if transport == "native":
        from watchkeeper.engines.gateway.transport.client import Client

        return Client(tls)
    from watchkeeper.engines.gateway.transport.libraries import AiohttpCarrier

    return AiohttpCarrier(tls)
