"""Keeps foreign web pages and oversized bodies out: Host, Origin, content type and size, before anything runs.

A browser on the same machine reaches a loopback port from any page it shows. Four checks stop that page: the Host
header must name this server (DNS rebinding), a request that changes something must come from this server's own pages
(`Origin`, `Sec-Fetch-Site`), an API request must have a content type that no HTML form can send, and a form of the UI
must carry a token (see `signin`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any, Literal

from watchkeeper.engines.gateway.dialects import wording_of
from watchkeeper.engines.gateway.errors import Refusal as Answered
from watchkeeper.engines.gateway.ways import way_of
from watchkeeper.records.record import Record
from watchkeeper.server.asgi import App, Receive, Scope, Send, header, reply

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
API_MEDIA = frozenset({"application/json", "application/x-protobuf", "application/protobuf"})
FORM_MEDIA = frozenset({"application/x-www-form-urlencoded"})
MULTIPART = "multipart/form-data"
MIB = 1024 * 1024
_ONCE = frozenset(
    {
        b"host", b"origin", b"sec-fetch-site", b"content-type", b"content-encoding", b"idempotency-key", b"traceparent",
        b"authorization", b"api-key", b"x-api-key",
    }
)  # fmt: skip
"""Headers on which something rests: given twice, a proxy before us may have read another one of them than we do."""

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (
        b"content-security-policy",
        b"default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; "
        b"base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Not no-referrer: with it browsers send "Origin: null" from our own forms, which the guard must refuse.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class GuardSettings(Record):
    """What the guard is told: the names the server goes by, whether keys are asked for, and how much a body may hold.

    `listen_host` is the address it is bound to; anything beyond loopback asks for keys whatever `require_keys` says.
    `secret` signs sign-in cookies; it is 32 random bytes kept in the data directory. `url` is the address that browsers
    use: where it is https, a proxy before us ends TLS, and cookies are for TLS alone.
    """

    secret: bytes
    listen_host: str = "127.0.0.1"
    hosts: tuple[str, ...] = ()
    require_keys: bool = False
    max_body_bytes: int = 64 * MIB
    session_s: int = 12 * 3600
    url: str | None = None

    @property
    def asks_for_keys(self) -> bool:
        """Whether every caller must show a key."""
        return self.require_keys or not is_loopback(self.listen_host)

    @property
    def names(self) -> frozenset[str]:
        """The host names, without port, under which this server may be called."""
        public = set() if self.url is None else {bare_host(self.url.partition("://")[2])}
        return LOOPBACK_HOSTS | {self.listen_host.lower()} | {name.lower() for name in self.hosts} | public

    def is_secure(self, scope: Scope) -> bool:
        """Whether cookies of an answer are for TLS alone."""
        if scope.get("scheme") == "https":
            return True
        url = self.url or ""
        host = (header(scope, b"host") or "").lower()
        return url.startswith("https://") and bare_host(host) == bare_host(url.partition("://")[2])


class Refusal(Record):
    """Why a request is turned away: an HTTP status, a code for machines and a sentence for people."""

    status: int
    code: str
    sentence: str


@lru_cache(maxsize=1024)  # asked of every request's peer
def is_loopback(host: str | None) -> bool:
    """Whether an address or name stays on this machine; an unknown address does not."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def bare_host(value: str) -> str:
    """A Host header's name without its port, in lower case; IPv6 keeps its brackets."""
    value = value.strip().lower()
    if value.startswith("["):
        return value[: value.find("]") + 1]
    return value.rsplit(":", 1)[0] if value.count(":") == 1 else value


class Guard:
    """Answers one question: may this request go on?"""

    def __init__(self, settings: GuardSettings) -> None:
        self._names = settings.names
        self._limit = settings.max_body_bytes

    def refuse(self, scope: Scope) -> Refusal | None:
        """The reason to turn a request away, or None; reads headers only, in one pass."""
        seen: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            if name in seen and (name in _ONCE or name.startswith(b"x-watchkeeper-")):
                return _twice(name)
            seen[name] = value
        host = seen.get(b"host", b"").decode("latin-1")
        if bare_host(host) not in self._names:
            return Refusal(
                status=421,
                code="unknown_host",
                sentence=f"This server does not go by the name {host[:100]!r}. "
                "Call it by a loopback name, or add the name to hosts under [server] in watchkeeper.toml.",
            )
        if scope["method"] in SAFE_METHODS:
            return None
        return self._foreign(scope, seen, host) or self._unfit(scope, seen) or self._oversized(seen)

    def _foreign(self, scope: Scope, seen: dict[bytes, bytes], host: str) -> Refusal | None:
        site = seen.get(b"sec-fetch-site", b"none")
        origin = seen.get(b"origin")
        expected = f"{scope.get('scheme', 'http')}://{host}".lower()
        if site in (b"none", b"same-origin") and (origin is None or _same(origin.decode("latin-1"), expected)):
            return None
        shown = "a foreign page" if origin is None else repr(origin.decode("latin-1")[:100])
        return Refusal(
            status=403,
            code="foreign_origin",
            sentence=f"A request that changes something came from {shown}, not from {expected}. "
            "Send it from this server's own pages or from a program.",
        )

    def _unfit(self, scope: Scope, seen: dict[bytes, bytes]) -> Refusal | None:
        if scope["method"] == "DELETE":
            return None
        media = seen.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
        path = scope["path"]
        if path.startswith("/ui/"):
            allowed = FORM_MEDIA
        elif (
            path.startswith(("/v1/", "/openai/"))
            and media == MULTIPART
            and any(name in seen for name in (b"authorization", b"x-watchkeeper-key", b"api-key", b"x-api-key"))
        ):
            return None
        else:
            allowed = API_MEDIA
        if media in allowed:
            return None
        return Refusal(
            status=415,
            code="unsupported_media_type",
            sentence=f"The content type is {media[:100]!r}. Send one of {', '.join(sorted(allowed))}.",
        )

    def _oversized(self, seen: dict[bytes, bytes]) -> Refusal | None:
        length = seen.get(b"content-length", b"0")
        if not length.isdigit():
            return Refusal(
                status=400, code="bad_length", sentence="Content-Length is not a number. Send a whole number."
            )
        return None if int(length) <= self._limit else too_large(int(length), self._limit)


def _twice(name: bytes) -> Refusal:
    if name == b"host":
        return Refusal(status=400, code="two_hosts", sentence="The request names two hosts. Send one.")
    shown = name.decode("latin-1")[:100]
    sentence = f"The request has the header {shown} twice, so it is not clear which one counts. Send it once."
    return Refusal(status=400, code="header_twice", sentence=sentence)


def _same(origin: str, expected: str) -> bool:
    # A proxy that ends TLS passes http on: https to the same host is still this server.
    return origin.lower() in (expected, expected.replace("http://", "https://", 1))


def too_large(size: int, limit: int) -> Refusal:
    """The refusal of a body that is larger than the limit, both in bytes."""
    return Refusal(
        status=413,
        code="body_too_large",
        sentence=f"The body has {size:,} bytes or more; the limit is {limit:,}. "
        "Send less at once, or raise max_body_mb under [server] in watchkeeper.toml.",
    )


class BodyTooLarge(Exception):
    """A body without a declared length went past the limit."""


def limited(receive: Receive, limit: int) -> Receive:
    """Count a body as it arrives; raises `BodyTooLarge` past `limit` bytes."""
    total = 0

    async def counted() -> MutableMapping[str, Any]:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise BodyTooLarge
        return message

    return counted


async def drain(receive: Receive, at_most: int) -> None:
    """Read a refused body to its end, or `at_most` bytes, so that the client gets our answer, not a broken pipe."""
    total = 0
    while total <= at_most:
        message = await receive()
        total += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            return


def secured(app: App) -> App:
    """Add the security headers that an answer does not set by itself."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                message["headers"] = given + [each for each in SECURITY_HEADERS if each[0] not in names]
            await send(message)

        await app(scope, receive, guarded if scope["type"] == "http" else send)

    return wrapped


async def turn_away(scope: Scope, receive: Receive, send: Send, refusal: Refusal, drain_bytes: int) -> None:
    """Answer a refusal in the shape that this client reads, after the body has been let run out."""
    if scope["method"] not in SAFE_METHODS:
        await drain(receive, drain_bytes)
    kind: Literal["authentication", "invalid_request"] = (
        "authentication" if refusal.status == 401 else "invalid_request"
    )
    said = Answered(refusal.status, refusal.code, refusal.sentence, kind=kind)
    words = wording_of(way_of(scope["path"]).suffix, dict(scope["headers"]))
    await reply(send, refusal.status, words.body(said), "application/json", [(b"cache-control", b"no-store")])
