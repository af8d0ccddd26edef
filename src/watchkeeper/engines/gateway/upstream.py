"""Asks an upstream over HTTP and gives its reply back as it comes; every failure has a name and a status."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Mapping
from functools import lru_cache
from time import monotonic_ns
from typing import Any

from multidict import CIMultiDict

from watchkeeper.engines.gateway.addressing import credential_headers, required_headers
from watchkeeper.engines.gateway.errors import Header, Refusal, UpstreamFailure
from watchkeeper.engines.gateway.keys import OWNER, holds_key
from watchkeeper.engines.gateway.settings import Credential, Transport, UpstreamSpec
from watchkeeper.engines.gateway.transport.carrier import carrier
from watchkeeper.engines.gateway.transport.client import NotConnected
from watchkeeper.kinds.ports import Answering, Carrier

_UNPACKED_BYTES = 1 << 20
_NOT_SENT_ON = frozenset(
    {
        # of this connection only, or of another request than the one that was read
        b"host", b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding",
        b"upgrade", b"expect", b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-url",
        b"x-rewrite-url", b"content-length", b"content-encoding", b"accept-encoding",
        # credentials: which one goes on is the owner's rule
        b"authorization", b"proxy-authorization", b"api-key", b"x-api-key", b"cookie",
        # the caller's network and identity are no business of the upstream's
        b"baggage", b"forwarded", b"x-real-ip", b"via", b"origin", b"referer", b"traceparent",
    }
)  # fmt: skip
_NOT_SENT_PREFIXES = (b"x-watchkeeper-", b"x-forwarded-", b"sec-", b"cf-")
_NOT_PASSED_BACK = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
        b"content-length", b"date", b"server", b"set-cookie",
    }
)  # fmt: skip
WITHHELD = b"[withheld]"
_LEAST_SECRET = 12
"""A shorter token stands for none, and its letters may stand anywhere in a reply."""
_CALLER_CREDENTIALS = (b"authorization", b"api-key", b"x-api-key")


class Reply:
    """An upstream's reply: its status and headers, and its body as it comes.

    Upstreams are asked for plain bytes; one that compresses all the same has that undone here.

    `waited_ns` is the time spent waiting for the upstream so far, the first byte of its status line included.
    """

    def __init__(self, response: Answering, spec: UpstreamSpec, waited_ns: int, secret: bytes | None = None) -> None:
        """`secret` is the owner's key for the upstream, which is taken out where the upstream repeats it."""
        self._response = response
        self._secret, self._rest = secret, b""
        self._spec = spec
        self.waited_ns = waited_ns
        self.status = response.status if response.status < 600 else 502
        self.headers: list[Header] = []
        self.media = ""
        self._unpacker: Any = None
        for raw, value in response.raw_headers:
            name = _passed_back_as(raw)
            if name is None:
                continue
            if name == b"content-encoding" and value.strip().lower() in (b"gzip", b"x-gzip", b"deflate"):
                self._unpacker = zlib.decompressobj(47)
                continue
            self.headers.append((name, value if secret is None else value.replace(secret, WITHHELD)))
            if name == b"content-type":
                self.media = value.decode("latin-1")

    @property
    def streamed(self) -> bool:
        """Whether the body is a stream of server-sent events."""
        return self.media.startswith("text/event-stream")

    async def next(self) -> bytes:
        """The next bytes of the body as they came, empty at its end; raises `UpstreamFailure` when it breaks off."""
        if self._secret is None:
            return await self._read()
        while data := await self._read():
            plain = (self._rest + data).replace(self._secret, WITHHELD)
            ready = len(plain) - begun_by(plain, self._secret)
            self._rest = plain[ready:]
            if ready:
                return plain[:ready]
        rest, self._rest = self._rest, b""
        return rest

    async def _read(self) -> bytes:
        began = monotonic_ns()
        try:
            if self._unpacker is None:
                return await self._response.readany()
            while data := self._unpacker.unconsumed_tail or await self._response.readany():
                # A few compressed bytes can stand for gigabytes: they are taken in pieces, as they are passed on.
                plain: bytes = self._unpacker.decompress(data, _UNPACKED_BYTES)
                if plain:
                    return plain
            return b""
        except (OSError, zlib.error) as error:
            raise _failure(error, self._spec, sent=True) from error
        finally:
            self.waited_ns += monotonic_ns() - began

    def close(self) -> None:
        """Let go of the connection; one with an unfinished body is closed, so that the upstream stops working."""
        self._response.close()


class Upstream:
    """The client side of the gateway: one pool of connections to all upstreams. Open it inside a running loop."""

    def __init__(self, transport: Transport = "native", tls: ssl.SSLContext | None = None) -> None:
        """`transport` names the HTTP layer; `tls` is how servers are verified, by the system's authorities if None."""
        self._carrier: Carrier = carrier(transport, tls)

    async def ask(
        self,
        spec: UpstreamSpec,
        method: str,
        path: str,
        headers: CIMultiDict[str],
        body: bytes,
        token: str | None = None,
    ) -> Reply:
        """Send a request; returns when the reply's head has come. `path` follows the base URL, with its query.

        `token` is the owner's key among the headers, which no caller is shown.

        Raises `UpstreamFailure`, whose `sent` is False when no connection came about. Nothing is tried twice: a
        model call costs money, and the client knows best whether to repeat it.
        """
        began = monotonic_ns()
        try:
            response = await self._carrier.request(
                method,
                spec.base_url,
                path,
                headers.items(),
                body,
                (spec.connect_timeout_s, spec.timeout_s),
            )
        except OSError as error:
            raise _failure(error, spec, sent=not isinstance(error, NotConnected)) from error
        secret = None if token is None or len(token) < _LEAST_SECRET else token.encode()
        return Reply(response, spec, monotonic_ns() - began, secret)

    async def close(self) -> None:
        """Close all connections."""
        await self._carrier.close()


def _failure(error: BaseException, spec: UpstreamSpec, *, sent: bool) -> UpstreamFailure:
    name = spec.name
    if isinstance(error, asyncio.TimeoutError):
        limit = spec.timeout_s if sent else spec.connect_timeout_s
        what = "did not answer in full" if sent else "could not be connected to"
        return UpstreamFailure(
            504,
            "upstream_timeout",
            f"The upstream {name!r} {what} within {limit:g} s. Try again, or raise its timeout.",
            sent=sent,
        )
    if not sent:
        untrusted = isinstance(error.__cause__, ssl.SSLError)
        why = "its certificate was not accepted" if untrusted else "the connection failed"
        return UpstreamFailure(
            502,
            "upstream_unreachable",
            f"The upstream {name!r} could not be reached: {why}. "
            "Nothing was sent and nothing charged; check that it runs at its base_url.",
            sent=False,
        )
    return UpstreamFailure(
        502,
        "upstream_disconnected",
        f"The upstream {name!r} broke off before its reply was whole ({type(error).__name__}). "
        "What came is recorded; try again.",
        sent=True,
    )


def begun_by(data: bytes, secret: bytes) -> int:
    """How many bytes at the end of some data may be the beginning of a secret."""
    if data[-1:] not in secret:
        return 0
    return next((size for size in range(min(len(secret) - 1, len(data)), 0, -1) if data.endswith(secret[:size])), 0)


@lru_cache(maxsize=512)
def _sent_as(name: bytes) -> str | None:
    """The name under which a header is sent on, None when it is not."""
    return None if name in _NOT_SENT_ON or name.startswith(_NOT_SENT_PREFIXES) else name.decode("latin-1")


@lru_cache(maxsize=512)
def _passed_back_as(name: bytes) -> bytes | None:
    lower = name.lower()
    return None if lower in _NOT_PASSED_BACK else lower


def headers_for(
    incoming: list[Header], credential: Credential, spec: UpstreamSpec, parent: str | None, suffix: str = ""
) -> CIMultiDict[str]:
    """The headers to send on: the caller's, less those of its connection, identity and credentials.

    A header that holds a Watchkeeper key stays here, whatever its name.

    `parent` is the `traceparent` to send, None when the caller sent none; `suffix` is the path that is asked. Raises
    401 when the rule is "client" and the caller has no credential of its own, 503 when the rule's variable was not set.
    """
    headers: CIMultiDict[str] = CIMultiDict({"accept-encoding": "identity"})
    for raw, value in incoming:
        name = _sent_as(raw)
        if name is not None and not holds_key(value):
            headers.add(name, value.decode("utf-8", "replace"))
    if parent is not None:
        headers["traceparent"] = parent
    if credential.rule == "env":
        if credential.token is None:
            raise Refusal(
                503,
                "credential_missing",
                f"The upstream {spec.name!r} takes its credential from the variable {credential.variable}, which was "
                "not set when the gateway started. Set it and start the gateway again.",
                kind="unavailable",
                headers=((b"x-should-retry", b"false"),),
            )
        headers.update(credential_headers(spec, credential.token, suffix))
    elif credential.rule == "client":
        _pass_credential(headers, dict(incoming), spec)
    for required, given in required_headers(spec).items():
        headers.setdefault(required, given)
    return headers


def _pass_credential(headers: CIMultiDict[str], incoming: Mapping[bytes, bytes], spec: UpstreamSpec) -> None:
    """Pass on the caller's own credential; a Watchkeeper key or the owner's token is not one and stays here."""
    passed = False
    for name in _CALLER_CREDENTIALS:
        value = incoming.get(name, b"").strip()
        if value and not value.rpartition(b" ")[2].startswith((b"wk-", OWNER.encode())):
            headers[name.decode()] = value.decode("latin-1")
            passed = True
    if not passed:
        raise Refusal(
            401,
            "client_credential_missing",
            f"The upstream {spec.name!r} uses the caller's own credential and this request has none. "
            "Send it as Authorization and the Watchkeeper key in the header X-Watchkeeper-Key.",
            kind="authentication",
        )
