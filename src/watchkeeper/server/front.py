"""The public door: guards every request, then routes it to the gateway, the intake or the store process."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from watchkeeper.server.asgi import App, Headers, Receive, Scope, Send, reply, reply_error, reply_json, wants_page
from watchkeeper.server.guard import (
    MIB,
    BodyTooLarge,
    Guard,
    GuardSettings,
    Refusal,
    is_loopback,
    limited,
    secured,
    too_large,
    turn_away,
)
from watchkeeper.server.metrics import MEDIA as METRICS_MEDIA
from watchkeeper.server.metrics import DoorMetrics, join
from watchkeeper.server.proxy import ACTOR_HEADER, TOKEN_HEADER, StoreProxy
from watchkeeper.server.signin import (
    SESSION_COOKIE,
    VISIT_COOKIE,
    Sessions,
    SignedIn,
    cookie,
    local_path,
    read_fields,
    shown_key,
    signin_page,
)
from watchkeeper.server.statics import PREFIX as STATIC_PREFIX
from watchkeeper.server.statics import statics

INTAKE_PATHS = frozenset(
    {
        "/v1/traces",
        "/v1/logs",
        "/v1/metrics",
        "/api/v1/scores",
        "/api/v1/outcomes",
        "/api/v1/feedback",
        "/api/v1/sources",
        "/api/v1/effects",
        "/api/v1/decisions",
        "/api/v1/sessions",
        "/api/v1/losses",
        "/api/v1/decide",
    }
)
GATEWAY_PATHS = ("/v1/", "/openai/")
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/ui/signin", "/ui/signout"})
HTML = "text/html; charset=utf-8"
DRAIN_BYTES = 256 * MIB
PROBE_TIMEOUT_S = 1.0


class HasId(Protocol):
    """What the front needs to know of a key: its public id."""

    @property
    def key_id(self) -> str:
        """The part of the key that is no secret."""
        ...


KeyCheck = Callable[[str], HasId | Awaitable[HasId | None] | None]
KeyAlive = Callable[[str], bool | Awaitable[bool]]
Ready = Callable[[], str | None]
MetricsText = Callable[[], bytes]


def _no_text() -> bytes:
    return b""


def _ready() -> str | None:
    return None


class Front:
    """The ASGI app of the gateway process.

    `gateway` and `intake` are ASGI apps; all else goes to the store process at `socket_path`. `check_key` reads a
    secret into a key or None; `key_alive` says whether a key's id is still good, so that a revoked key ends its browser
    sessions. `journal_ready` returns None or a sentence that says why the journal cannot be written. `metrics_text`
    adds the gateway engine's own metrics page; `signed` is told of sign-ins, for the audit trail; `apps` answer paths
    of their own. The key that a caller showed is passed on in `scope["watchkeeper.key"]`.
    """

    def __init__(
        self,
        gateway: App,
        intake: App,
        socket_path: Path | str,
        settings: GuardSettings,
        *,
        check_key: KeyCheck | None = None,
        key_alive: KeyAlive | None = None,
        journal_ready: Ready = _ready,
        metrics_text: MetricsText = _no_text,
        signed: Callable[[str, str], None] | None = None,
        apps: Mapping[str, App] | None = None,
    ) -> None:
        self._apps = {path: secured(app) for path, app in (apps or {}).items()}
        self._gateway, self._intake = gateway, intake
        self._settings, self._guard = settings, Guard(settings)
        self._check_key, self._key_alive = check_key, key_alive
        self._journal_ready, self._metrics_text, self._signed = journal_ready, metrics_text, signed
        self._sessions = Sessions(settings.secret, settings.session_s)
        self._store = StoreProxy(socket_path)
        self._own = secured(self._answer_own)
        self._proxied = secured(self._pass_on)
        self.metrics = DoorMetrics()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection; lifespan events are acknowledged so that any server can run this app."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def close(self) -> None:
        """Close the connections to the store process."""
        await self._store.close()

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._guard.refuse(scope)
        if refusal is None:
            refusal = await self._identify(scope)
        if refusal is not None:
            await self._refuse(scope, receive, send, refusal)
            return
        for name, _ in scope["headers"]:
            if name == b"transfer-encoding":
                await self._unmeasured(scope, receive, send)
                return
        await self._route(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path in self._apps:
            await self.metrics.timed("front", self._apps[path], scope, receive, send)
        elif method == "POST" and path in INTAKE_PATHS:
            await self.metrics.timed("intake", self._intake, scope, receive, send)
        elif path.startswith(GATEWAY_PATHS):
            await self.metrics.timed("gateway", self._gateway, scope, receive, send)
        elif path in OPEN_PATHS or path == "/metrics" or path.startswith(STATIC_PREFIX):
            await self.metrics.timed("front", self._own, scope, receive, send)
        else:
            await self.metrics.timed("store", self._proxied, scope, receive, send)

    async def _unmeasured(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._settings.max_body_bytes
        try:
            await self._route(scope, limited(receive, limit), send)
        except BodyTooLarge:
            await self._refuse(scope, receive, send, too_large(limit, limit))

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
        self.metrics.refused(refusal.code)
        path = scope["path"]
        if refusal.status == 401 and wants_page(scope) and not path.startswith((*GATEWAY_PATHS, "/api/")):
            await _redirect(send, f"/ui/signin?next={local_path(path)}")
            return
        await secured(lambda s, r, t: turn_away(s, r, t, refusal, DRAIN_BYTES))(scope, receive, send)

    async def _identify(self, scope: Scope) -> Refusal | None:
        path = scope["path"]
        if not self._needs_key(scope) or path in OPEN_PATHS or path.startswith(STATIC_PREFIX):
            return None
        secret = shown_key(scope)
        if secret is not None:
            key = await self._key_of(secret)
            if key is not None:
                scope["watchkeeper.key"] = key
                return None
        elif (signed := await self._signed_in(scope)) is not None and not path.startswith(GATEWAY_PATHS):
            scope["watchkeeper.signed_in"] = signed
            return None
        said = "The key that was shown is not known or was revoked." if secret else "This server asks for a key."
        return Refusal(
            status=401,
            code="invalid_key" if secret else "key_required",
            sentence=f"{said} Send one as X-Watchkeeper-Key; `watchkeeper key create` makes one.",
        )

    def _needs_key(self, scope: Scope) -> bool:
        client = scope.get("client")
        return self._settings.asks_for_keys or (client is not None and not is_loopback(client[0]))

    async def _key_of(self, secret: str) -> HasId | None:
        if self._check_key is None:
            return None
        found = self._check_key(secret)
        return await found if inspect.isawaitable(found) else found

    async def _signed_in(self, scope: Scope) -> SignedIn | None:
        signed = self._sessions.read(cookie(scope, SESSION_COOKIE))
        if signed is None or self._key_alive is None:
            return signed
        alive = self._key_alive(signed.key_id)
        return signed if (await alive if inspect.isawaitable(alive) else alive) else None

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the store with who asks and the form token that is right for them."""
        answer: Headers = ()
        actor = await self._actor(scope)
        bound = cookie(scope, SESSION_COOKIE) or cookie(scope, VISIT_COOKIE)
        if bound is None:
            bound = secrets.token_urlsafe(18)
            if wants_page(scope):
                answer = [self._sessions.cookie_header(VISIT_COOKIE, bound, _secure(scope))]
        token = self._sessions.form_token(bound)
        extra = [(ACTOR_HEADER, actor.encode("latin-1", "replace")), (TOKEN_HEADER, token.encode())]
        await self._store.handle(scope, receive, send, extra, answer)

    async def _actor(self, scope: Scope) -> str:
        """Who asks: the key that was shown or signed in with, also where none is asked for; else "local"."""
        key = scope.get("watchkeeper.key")
        if key is not None:
            return f"key:{key.key_id}"
        signed = scope.get("watchkeeper.signed_in") or await self._signed_in(scope)
        return f"key:{signed.key_id}" if isinstance(signed, SignedIn) else "local"

    async def _answer_own(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path.startswith(STATIC_PREFIX) and method in ("GET", "HEAD"):
            await statics(scope, receive, send)
        elif path == "/ui/signin" and method == "POST":
            await self._sign_in(scope, receive, send)
        elif path == "/ui/signin" and method == "GET":
            await self._show_signin(scope, send, _query(scope, "next"))
        elif path == "/ui/signout" and method == "POST":
            await self._sign_out(scope, receive, send)
        elif method in ("GET", "HEAD"):
            await self._probe(path, send)
        else:
            await reply_error(send, 405, f"{method} is not understood at {path}. Use GET.", "invalid_request", "method")

    async def _probe(self, path: str, send: Send) -> None:
        if path == "/healthz":
            await reply_json(send, 200, {"status": "alive"})
        elif path == "/readyz":
            await self._readiness(send)
        else:
            await reply(send, 200, await self._joined_metrics(), METRICS_MEDIA, [(b"cache-control", b"no-store")])

    async def _readiness(self, send: Send) -> None:
        journal = self._journal_ready()
        store = await self._store.fetch("/internal/ready", PROBE_TIMEOUT_S)
        store_says = "does not answer; it may still be starting, and the gateway goes on without it"
        index = None
        if store is not None:
            store_says = store[1].decode("utf-8", "replace")[:300]
            if store[0] == 200:
                store_says, _, index = store_says.partition("; ")
        ready = journal is None and store is not None and store[0] == 200
        answer = {"ready": ready, "journal": journal or "ok", "store": store_says} | ({"index": index} if index else {})
        await reply_json(send, 200 if ready else 503, answer)

    async def _joined_metrics(self) -> bytes:
        store = await self._store.fetch("/internal/metrics", PROBE_TIMEOUT_S)
        self.metrics.store_up.set(1 if store is not None else 0)
        return join(self.metrics.text(), self._metrics_text(), store[1] if store and store[0] == 200 else b"")

    async def _show_signin(self, scope: Scope, send: Send, next_path: str, error: str | None = None) -> None:
        visit = cookie(scope, VISIT_COOKIE) or secrets.token_urlsafe(18)
        page = signin_page(self._sessions.form_token(visit), local_path(next_path), error)
        given = [self._sessions.cookie_header(VISIT_COOKIE, visit, _secure(scope)), (b"cache-control", b"no-store")]
        await reply(send, 200 if error is None else 403, page, HTML, given)

    async def _sign_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = await read_fields(receive)
        visit = cookie(scope, VISIT_COOKIE) or ""
        if not secrets.compare_digest(form.get("csrf", "").encode(), self._sessions.form_token(visit).encode()):
            await self._show_signin(scope, send, form.get("next", "/"), "This form had grown old. Send it again.")
            return
        key = await self._key_of(form.get("key", "").strip())
        if key is None:
            self.metrics.refused("signin")
            if self._signed is not None:
                self._signed("signin.failed", f"address:{(scope.get('client') or ('unknown',))[0]}")
            await self._show_signin(scope, send, form.get("next", "/"), "This key is not known or was revoked.")
            return
        if self._signed is not None:
            self._signed("signin", f"key:{key.key_id}")
        signed = self._sessions.cookie_header(SESSION_COOKIE, self._sessions.issue(key.key_id), _secure(scope))
        await _redirect(send, local_path(form.get("next")), [signed])

    async def _sign_out(self, scope: Scope, receive: Receive, send: Send) -> None:
        form = await read_fields(receive)
        bound = cookie(scope, SESSION_COOKIE) or cookie(scope, VISIT_COOKIE) or ""
        if not secrets.compare_digest(form.get("csrf", "").encode(), self._sessions.form_token(bound).encode()):
            await reply_error(send, 403, "This form had grown old. Reload the page.", "invalid_request", "form_token")
            return
        await _redirect(send, "/ui/signin", [self._sessions.cookie_header(SESSION_COOKIE, "", _secure(scope), 0)])

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _secure(scope: Scope) -> bool:
    return bool(scope.get("scheme") == "https")


def _query(scope: Scope, name: str) -> str:
    from urllib.parse import parse_qs

    values: list[Any] = parse_qs(scope.get("query_string", b"").decode("latin-1")).get(name, ["/"])
    return str(values[-1])


async def _redirect(send: Send, where: str, headers: Headers = ()) -> None:
    from urllib.parse import quote

    fields = [(b"location", quote(where, safe="/?=&%-_.~").encode()), (b"cache-control", b"no-store"), *headers]
    await reply(send, 303, b"", HTML, fields)
