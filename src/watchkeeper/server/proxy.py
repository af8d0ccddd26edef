"""Hands a request on to the store process over its unix socket, streaming both ways, or says that it is not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from watchkeeper.server.asgi import Headers, Receive, Scope, Send, reply, reply_error, wants_page
from watchkeeper.server.callers import OURS

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"proxy-connection",
    }
)  # fmt: skip
CONNECT_TIMEOUT_S = 2.0

_DOWN_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>Starting \xc2\xb7 Watchkeeper</title><link rel="icon" href="/ui/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/ui/static/theme.css">
<link rel="stylesheet" href="/ui/static/watchkeeper.css">
<script src="/ui/static/theme.js"></script></head>
<body class="centred"><main class="card narrow"><h1>The store is starting</h1>
<p>Pages and answers come from the store process, which does not answer yet. The gateway and the trace door go on
working, and what they record is in the journal.</p>
<p class="muted">This page asks again every two seconds. If it stays, look at the last lines of
<code>watchkeeper serve</code>.</p></main></body></html>"""


class StoreProxy:
    """A client of the store process; one connection pool for the life of the gateway process."""

    def __init__(self, socket_path: Path | str) -> None:
        self._path = str(socket_path)
        self._session: aiohttp.ClientSession | None = None

    async def handle(self, scope: Scope, receive: Receive, send: Send, extra: Headers, answer: Headers = ()) -> None:
        """Pass one request on; `extra` headers go to the store, `answer` headers to the client."""
        import aiohttp

        started = False
        try:
            async with self._open().request(
                scope["method"],
                _url(scope),
                headers=_headers(scope, extra),
                data=None if scope["method"] in ("GET", "HEAD") else _body(receive),
                allow_redirects=False,
            ) as response:
                fields = [(k.lower(), v) for k, v in response.raw_headers if k.lower() not in HOP_BY_HOP]
                await send({"type": "http.response.start", "status": response.status, "headers": [*fields, *answer]})
                started = True
                async for chunk in response.content.iter_any():
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except (TimeoutError, aiohttp.ClientError, OSError):
            if started:
                raise
            await self._say_down(scope, send)

    async def fetch(self, path: str, timeout_s: float) -> tuple[int, bytes] | None:
        """A small GET of our own; None when the store does not answer in time."""
        import aiohttp

        try:
            timeout = aiohttp.ClientTimeout(total=timeout_s)
            async with self._open().get(f"http://store{path}", timeout=timeout) as response:
                return response.status, await response.read()
        except (TimeoutError, aiohttp.ClientError, OSError):
            return None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=self._path, limit=64),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    async def _say_down(self, scope: Scope, send: Send) -> None:
        if wants_page(scope):
            retry = [(b"retry-after", b"2"), (b"cache-control", b"no-store")]
            await reply(send, 503, _DOWN_PAGE, "text/html; charset=utf-8", retry)
            return
        message = (
            "The store process does not answer; it may still be starting. "
            "Ask again in a moment: the gateway goes on working and nothing recorded is lost."
        )
        await reply_error(send, 503, message, "unavailable", "store_unavailable", [(b"retry-after", b"2")])


def _url(scope: Scope) -> URL:
    from yarl import URL

    raw = scope.get("raw_path") or scope["path"].encode()
    query = scope.get("query_string", b"")
    target = raw.decode("latin-1").split("?")[0] + ("?" + query.decode("latin-1") if query else "")
    return URL(f"http://store{target}", encoded=True)


def _headers(scope: Scope, extra: Headers) -> list[tuple[str, str]]:
    passed = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in scope["headers"]
        if name not in HOP_BY_HOP and _plain(name) not in OURS
    ]
    return passed + [(name.decode("latin-1"), value.decode("latin-1")) for name, value in extra]


def _plain(name: bytes) -> bytes:
    """A header's name as a lenient reader might take it: letter case, blanks and underscores make no difference."""
    return name.strip().lower().replace(b"_", b"-")


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return
