"""The public door: guards every request, then routes it to the gateway, the intake or the store process."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from watchkeeper.engines.jobs.paths import answers as is_work
from watchkeeper.server.asgi import (
    App,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    reply,
    reply_error,
    reply_json,
    wants_page,
)
from watchkeeper.server.callers import TOKEN_HEADER, Caller, Level
from watchkeeper.server.doorkeeper import SIGNIN_PATHS, Doorkeeper, KeyAlive, KeyCheck, redirect
from watchkeeper.server.guard import (
    MIB,
    BodyTooLarge,
    Guard,
    GuardSettings,
    Refusal,
    limited,
    secured,
    too_large,
    turn_away,
)
from watchkeeper.server.metrics import MEDIA as METRICS_MEDIA
from watchkeeper.server.metrics import OPEN_MEDIA, DoorMetrics, join, openmetrics
from watchkeeper.server.proxy import StoreProxy
from watchkeeper.server.signin import SESSION_COOKIE, VISIT_COOKIE, cookie, local_path
from watchkeeper.server.statics import PREFIX as STATIC_PREFIX
from watchkeeper.server.statics import statics

if TYPE_CHECKING:
    from watchkeeper.adapters.identity.oidc import Issuer
    from watchkeeper.engines.people.accounts import Accounts

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
OPEN_PATHS = frozenset({"/healthz", "/readyz"}) | SIGNIN_PATHS
NOBODY = Caller(actor="nobody")
DRAIN_BYTES = 256 * MIB
PROBE_TIMEOUT_S = 1.0


Ready = Callable[[], str | None]
MetricsText = Callable[[], bytes]


def _no_text() -> bytes:
    return b""


def _ready() -> str | None:
    return None


class Front:
    """The ASGI app of the gateway process.

    `gateway`, `intake` and `work` (jobs and the ledger of effects) are ASGI apps; all else goes to the store process at
    `socket_path`. `check_key` reads a secret into a key or None; `key_alive` says whether a key's id is still good, so
    that a revoked key ends its browser sessions. `journal_ready` returns None or a sentence that says why the journal
    cannot be written. `metrics_text` adds the gateway engine's own metrics page; `signed` is told of sign-ins, for the
    audit trail; `people` and `issuer` let people sign in; `apps` answer paths of their own. The key that a caller
    showed is passed on in `scope["watchkeeper.key"]`, and who asks in `scope["watchkeeper.caller"]`.
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
        people: Accounts | None = None,
        issuer: Issuer | None = None,
        apps: Mapping[str, App] | None = None,
        work: App | None = None,
    ) -> None:
        self._apps = {path: secured(app) for path, app in (apps or {}).items()}
        self._gateway, self._intake = gateway, intake
        self._settings, self._guard = settings, Guard(settings)
        self._journal_ready, self._metrics_text = journal_ready, metrics_text
        self._work = None if work is None else secured(work)
        self._keeper = Doorkeeper(settings, check_key, key_alive, people, issuer, signed)
        self._sessions = self._keeper.sessions
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
        """Close the connections to the store process and to the issuer."""
        await self._store.close()
        await self._keeper.close()

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
        elif self._work is not None and is_work(method, path):
            await self.metrics.timed("work", self._work, scope, receive, send)
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
            await redirect(send, f"/ui/signin?next={local_path(path)}")
            return
        await secured(lambda s, r, t: turn_away(s, r, t, refusal, DRAIN_BYTES))(scope, receive, send)

    async def _identify(self, scope: Scope) -> Refusal | None:
        path = scope["path"]
        if path in OPEN_PATHS or path.startswith(STATIC_PREFIX):
            return None
        outward = path.startswith(GATEWAY_PATHS) or (scope["method"] == "POST" and path in INTAKE_PATHS)
        refusal = await self._keeper.identify(scope, outward)
        if refusal is None and path == "/metrics" and scope["watchkeeper.caller"].level < Level.VIEWER:
            return Refusal(
                status=403, code="role_missing", sentence="Metrics are for those who may read. Use a key with `read`."
            )
        return refusal

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the store with who asks and the form token that is right for them."""
        answer: Headers = ()
        caller = scope.get("watchkeeper.caller")
        bound = cookie(scope, SESSION_COOKIE) or cookie(scope, VISIT_COOKIE)
        if bound is None:
            bound = secrets.token_urlsafe(18)
            if wants_page(scope):
                answer = [self._sessions.cookie_header(VISIT_COOKIE, bound, self._settings.is_secure(scope))]
        token = self._sessions.form_token(bound)
        known = caller if isinstance(caller, Caller) else NOBODY
        extra = [*known.headers(), (TOKEN_HEADER, token.encode())]
        await self._store.handle(scope, receive, send, extra, answer)

    async def _answer_own(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if path.startswith(STATIC_PREFIX) and method in ("GET", "HEAD"):
            await statics(scope, receive, send)
        elif path in SIGNIN_PATHS:
            await self._keeper.answer(scope, receive, send)
        elif method in ("GET", "HEAD"):
            await self._probe(path, send, header(scope, b"accept") or "")
        else:
            await reply_error(send, 405, f"{method} is not understood at {path}. Use GET.", "invalid_request", "method")

    async def _probe(self, path: str, send: Send, accepts: str) -> None:
        if path == "/healthz":
            await reply_json(send, 200, {"status": "alive"})
        elif path == "/readyz":
            await self._readiness(send)
        else:
            page, media = await self._joined_metrics(), METRICS_MEDIA
            if "application/openmetrics-text" in accepts:
                page, media = openmetrics(page), OPEN_MEDIA
            await reply(send, 200, page, media, [(b"cache-control", b"no-store")])

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

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return
