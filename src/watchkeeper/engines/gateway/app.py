"""The gateway as an ASGI application: which path goes to which story, and what happens to whatever goes wrong."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from msgspec.structs import replace

from watchkeeper.engines.gateway.breakers import Change
from watchkeeper.engines.gateway.call import Call, ModelCall, admit
from watchkeeper.engines.gateway.composition import Compositions
from watchkeeper.engines.gateway.dialects import aside_of, dialect_of, wording_of
from watchkeeper.engines.gateway.dialects.dialect import Dialect
from watchkeeper.engines.gateway.dialects.models import PATH as MODELS
from watchkeeper.engines.gateway.dialects.models import ModelList
from watchkeeper.engines.gateway.dialects.responses import COMPACT, RESPONSES
from watchkeeper.engines.gateway.diverting import routing_of
from watchkeeper.engines.gateway.errors import JSON_TYPE, Refusal
from watchkeeper.engines.gateway.exchange import Abandoned, ClientGone, Exchange, Message, Receive, Send
from watchkeeper.engines.gateway.health import Board
from watchkeeper.engines.gateway.idempotency import Once
from watchkeeper.engines.gateway.keys import Key, KeyRing
from watchkeeper.engines.gateway.measures import Measures
from watchkeeper.engines.gateway.opaque import OpaqueCall
from watchkeeper.engines.gateway.parts import Books, Parts
from watchkeeper.engines.gateway.ports import Chain, Recorder
from watchkeeper.engines.gateway.recording import Keeper
from watchkeeper.engines.gateway.replies import Replies
from watchkeeper.engines.gateway.settings import Credential, Settings, check, resolve_credential
from watchkeeper.engines.gateway.stored import AsideCall, CompactCall, StoredCall
from watchkeeper.engines.gateway.upstream import Upstream
from watchkeeper.engines.gateway.ways import Way, way_of
from watchkeeper.engines.recorder.ledger import DropLedger
from watchkeeper.kinds.ports import Cells, Pricer
from watchkeeper.records.identity import Identity

_log = logging.getLogger("watchkeeper.gateway")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class Gateway:
    """Answers /v1/*. Call `start` inside the running loop before the first request, `close` after the last.

    As a whole ASGI application it does both by itself, on the server's lifespan messages.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Recorder,
        chain: Chain,
        keys: KeyRing,
        pricer: Pricer,
        clock: Callable[[], int] = time.time_ns,
        environment: Mapping[str, str] | None = None,
        *,
        ledger: DropLedger | None = None,
        private: Callable[[Identity], Identity] | None = None,
        cells: Cells | None = None,
        changed: Callable[[str, str, Change], None] | None = None,
    ) -> None:
        """`environment` holds the variables that credentials are read from, once, here; raises `SettingsError`.

        `once`, when it is set afterwards, answers requests that show an idempotency key.

        `ledger` counts what cannot be recorded; `private` makes tokens of the names in an identity; in `cells` it is
        remembered which responses the providers keep; `changed` is told of each breaker that changes its state.
        """
        check(settings)
        self.settings = settings
        self.measures = Measures()
        self._journal, self._chain, self._keys, self._pricer, self._clock = journal, chain, keys, pricer, clock
        variables = self._variables = os.environ if environment is None else environment
        self._credentials = {spec.name: resolve_credential(spec, variables) for spec in settings.upstreams}
        self._ledger, self._private, self._cells = ledger, private, cells
        self._routing = routing_of(settings, chain)
        self.board = Board(settings.upstreams, changed or (lambda upstream, model, change: None), clock)
        self.measures.registry.register(self.board)
        self._parts: Parts | None = None
        self._models: ModelList | None = None
        self._running: set[asyncio.Task[object]] = set()
        self._open: set[Exchange] = set()
        self._closing = False
        self.once: Once | None = None
        for problem in self.problems():
            _log.error("%s", problem)

    def problems(self) -> tuple[str, ...]:
        """What is wrong with the settings but leaves other upstreams working: credentials that are not there."""
        return tuple(
            f"upstreams.{name}.credential is env:{credential.variable}, but that variable is not set. "
            "Its calls will be refused until it is set and the gateway started again."
            for name, credential in self._credentials.items()
            if _is_missing(credential)
        )

    def reload(self, settings: Settings, chain: Chain) -> None:
        """Put other upstreams, routes and policies in force; calls under way keep theirs.

        Raises `SettingsError` and changes nothing when they cannot work. Upstreams that stay keep their connections,
        breakers and levels. Limits of bodies, keys and hosts stay as they were at the start.
        """
        check(settings)
        routing = routing_of(settings, chain)
        credentials = {spec.name: resolve_credential(spec, self._variables) for spec in settings.upstreams}
        self.settings = replace(
            self.settings, upstreams=settings.upstreams, routes=settings.routes, policies=settings.policies
        )
        self._routing, self._credentials, self._chain = routing, credentials, chain
        self.board.set(settings.upstreams)
        for problem in self.problems():
            _log.error("%s", problem)
        if self._parts is not None:
            self._parts = dataclasses.replace(
                self._parts,
                settings=self.settings,
                routes=routing.routes,
                routing=routing,
                credentials=credentials,
                chain=chain,
                compositions=Compositions(self.settings.policies, self._parts.keeper.append),
            )
            self._models = self._listed()

    async def start(self) -> None:
        """Open the connections' pool."""
        keeper = Keeper(self._journal, self.measures, self._ledger)
        self._parts = Parts(
            settings=self.settings,
            routes=self._routing.routes,
            routing=self._routing,
            board=self.board,
            credentials=self._credentials,
            upstream=Upstream(self.settings.transport),
            keeper=keeper,
            chain=self._chain,
            keys=self._keys,
            pricer=self._pricer,
            measures=self.measures,
            clock=self._clock,
            books=Books(self.measures),
            compositions=Compositions(self.settings.policies, keeper.append),
            replies=Replies(self._cells, self._clock),
            private=self._private or (lambda identity: identity),
        )
        self._parts.replies.begin_forgetting()
        self._models = self._listed()
        self.measures.watch({"settlements": self._parts.books.depth}, lambda: sum(each.begun for each in self._open))
        self._closing = False

    def _listed(self) -> ModelList:
        return ModelList(self._routing.declared(), self._clock() // 1_000_000_000)

    async def close(self) -> None:
        """Take no new calls, wait up to `drain_s` for those under way, stop the rest (recorded as such) and let go."""
        self._closing = True
        waiting = self._running - {asyncio.current_task()}
        if waiting:
            _, late = await asyncio.wait(waiting, timeout=self.settings.drain_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._parts is not None:
            await self._parts.books.closed()
            await self._parts.replies.closed()
            await self._parts.upstream.close()
            self._parts = None

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return len(self._running)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI asks for it."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        if self.once is not None and self._parts is not None and self.once.wants(scope):
            await self.once(scope, receive, send, self._serve, self._admit)
            return
        await self._serve(scope, receive, send)

    async def _admit(self, exchange: Exchange) -> Key | None:
        """Who shows an idempotency key; raises a `Refusal` where the call itself would be refused."""
        exchange.wording = wording_of(way_of(exchange.path).suffix, exchange.headers)
        check_origin(exchange.headers, self.settings.hosts)
        if self._parts is None:
            raise Refusal(503, "shutting_down", "The gateway is being stopped.", kind="unavailable", close=True)
        return await admit(self._parts, exchange)

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self.measures.started()
        exchange = Exchange(scope, receive, send)
        self._open.add(exchange)
        try:
            await self._answer(exchange)
        except Refusal as refusal:
            if not exchange.recorded:
                self.measures.refused(refusal.status)
            await exchange.refuse(refusal)
        except Abandoned:
            raise
        except ClientGone:
            pass  # the request broke off; there is nobody to answer
        except Exception:  # noqa: BLE001 - the outermost boundary: logged, counted and answered
            await self._broken(exchange)
        finally:
            exchange.unwatch()
            self.measures.ended()
            self._running.discard(task)
            self._open.discard(exchange)

    async def _answer(self, exchange: Exchange) -> None:
        parts, models = self._parts, self._models
        way = way_of(exchange.path)
        exchange.wording = wording_of(way.suffix, exchange.headers)
        if parts is None or models is None or self._closing:
            raise Refusal(
                503,
                "shutting_down",
                "The gateway is being stopped and takes no new calls. Try again in a moment.",
                kind="unavailable",
                close=True,
            )
        check_origin(exchange.headers, self.settings.hosts)
        dialect = dialect_of(way.suffix)
        if dialect is None or exchange.method != "POST":
            _check_path(way, exchange, dialect)
        key = await admit(parts, exchange)
        if dialect is None and exchange.method == "GET" and (way.suffix or "").startswith(MODELS):
            listed = models.answer(way.suffix or "", exchange.headers, key)
            if listed is not None:
                await exchange.reply(200, [JSON_TYPE], listed)
                return
        await _call(parts, exchange, key, dialect, way).run()

    async def _broken(self, exchange: Exchange) -> None:
        """Something failed that should not have: say so to the log and, if it can still be told, to the client."""
        _log.exception("a request to %s failed inside the gateway", exchange.path[:200])
        self.measures.fault()
        if exchange.begun:
            raise Abandoned
        await exchange.refuse(
            Refusal(
                500,
                "gateway_fault",
                "Something failed inside the gateway; its log says what. If it happens again, please report it.",
                kind="internal",
            )
        )

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def _is_missing(credential: Credential) -> bool:
    return credential.rule == "env" and credential.token is None


def _call(parts: Parts, exchange: Exchange, key: Key | None, dialect: Dialect | None, way: Way) -> Call:
    """The story that a request is the beginning of."""
    if dialect is RESPONSES:
        return StoredCall(parts, exchange, key, RESPONSES, way)
    if dialect is COMPACT:
        return CompactCall(parts, exchange, key, COMPACT, way)
    if dialect is not None:
        return ModelCall(parts, exchange, key, dialect, way)
    about = aside_of(exchange.method, way.suffix or "")
    if about is not None:
        return AsideCall(parts, exchange, key, about, way)
    return OpaqueCall(parts, exchange, key, way)


def _check_path(way: Way, exchange: Exchange, dialect: Dialect | None) -> None:
    path, method = exchange.path, exchange.method
    if dialect is not None:
        raise Refusal(
            405,
            "method_not_allowed",
            f"The path {path[:200]} answers POST, not {method[:20]}. Send the request with POST.",
            headers=((b"allow", b"POST"),),
        )
    if way.suffix is None or ".." in path:
        raise Refusal(
            404,
            "path_not_found",
            f"There is nothing at {path[:200]!r}. The gateway answers /v1/*, and Azure's clients at /openai/*.",
            kind="not_found",
        )
    if method not in _METHODS:
        raise Refusal(405, "method_not_allowed", f"The method {method[:20]!r} is not passed on. Use GET or POST.")


def check_origin(headers: Mapping[bytes, bytes], hosts: tuple[str, ...]) -> None:
    """Keep web pages of other sites from spending through a gateway on this machine; raises a 403.

    `hosts` are the Host values that are answered (empty: any). A request that a browser sends for a page
    carries `Origin`, which must be of the host that is asked.
    """
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if hosts and host not in hosts and host.rpartition(":")[0] not in hosts:
        raise Refusal(
            403,
            "host_refused",
            f"The Host {host[:100]!r} is not answered here. Add it to the setting hosts if it is yours.",
            kind="authentication",
        )
    origin = headers.get(b"origin")
    if origin is not None and urlsplit(origin.decode("latin-1").lower()).netloc != host:
        raise Refusal(
            403,
            "origin_refused",
            "Web pages of other sites may not use this gateway. Call it from a server, or from a page of its own host.",
            kind="authentication",
        )
    if headers.get(b"sec-fetch-site") == b"cross-site":
        raise Refusal(
            403, "origin_refused", "Web pages of other sites may not use this gateway.", kind="authentication"
        )
