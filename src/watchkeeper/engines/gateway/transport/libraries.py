"""Asks upstreams through aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from watchkeeper.engines.gateway.transport.client import ConnectTimeout, NotConnected
from watchkeeper.engines.gateway.transport.connection import Broken

_LONGEST_HEADER_BYTES = 64 << 10
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_REMEMBERED = 1024


class AiohttpAnswer:
    """A reply of aiohttp's."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status, self.raw_headers = response.status, response.raw_headers

    async def readany(self) -> bytes:
        """What has come of the body, empty at its end; raises `Broken` or `TimeoutError`."""
        try:
            return await self._response.content.readany()
        except aiohttp.ClientError as error:
            raise _named(error) from error

    def close(self) -> None:
        """Let go of the reply, and of its connection where it is not whole."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class AiohttpCarrier:
    """A pool of aiohttp's connections to all upstreams."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=0, ttl_dns_cache=60, keepalive_timeout=30, ssl=True if tls is None else tls
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Content-Type", "Accept"),
            max_line_size=_LONGEST_HEADER_BYTES,
            max_field_size=_LONGEST_HEADER_BYTES,
        )
        self._urls: dict[tuple[str, str], URL] = {}
        self._timeouts: dict[tuple[float, float], aiohttp.ClientTimeout] = {}

    async def request(
        self,
        method: str,
        base_url: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        times_s: tuple[float, float],
    ) -> AiohttpAnswer:
        """Send a request; returns when the reply's head is here."""
        try:
            response = await self._session.request(
                method,
                self._url(base_url, path),
                data=body if body or method in _WITH_BODY else None,
                headers=CIMultiDict(headers),
                timeout=self._timeout(times_s),
                allow_redirects=False,
            )
        except aiohttp.ClientError as error:
            raise _named(error) from error
        return AiohttpAnswer(response)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    def _url(self, base: str, path: str) -> URL:
        known = self._urls.get((base, path))
        if known is None:
            known = URL(base.rstrip("/") + path, encoded=True)
            if len(self._urls) < _REMEMBERED:
                self._urls[(base, path)] = known
        return known

    def _timeout(self, times_s: tuple[float, float]) -> aiohttp.ClientTimeout:
        known = self._timeouts.get(times_s)
        if known is None:
            known = aiohttp.ClientTimeout(total=times_s[1], sock_connect=times_s[0])
            self._timeouts[times_s] = known
        return known


def _named(error: aiohttp.ClientError) -> OSError:
    """An error of aiohttp's under its name here; without a connection nothing can have been sent."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectTimeout(str(error))
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL):
        found = NotConnected(str(error))
        if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            found.__cause__ = ssl.SSLError(str(error))
        return found
    if isinstance(error, asyncio.TimeoutError):
        return TimeoutError(str(error))
    return Broken(type(error).__name__)
