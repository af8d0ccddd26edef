"""The stage for the gateway's tests: plain recorder, cells, chain and upstream, and real servers on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import uvicorn
from aiohttp import web

from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.gateway.settings import Settings, UpstreamSpec
from watchkeeper.kinds.facts import Allowance
from watchkeeper.kinds.ports import Add, Applied, Delete, Op, Page, Put, Refused, Swap
from watchkeeper.records.body import Address, Body
from watchkeeper.records.decision import Decision
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.record import Record
from watchkeeper.records.span import Cost, Span, Usage

NANO = 1_000_000_000


class MemoryRecorder:
    """Keeps records and payloads in lists. `full` makes every write fail as a full disk does."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.payloads: dict[str, bytes] = {}
        self.full = False
        self.syncs = 0

    def append(self, record: Record) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.records.append(record)

    def put(self, data: bytes, name: str, media: str = "application/json", owner: str = "default") -> Body:
        if self.full:
            raise OSError(28, "No space left on device")
        digest = f"{len(self.payloads):032x}"
        self.payloads[digest] = data
        address = Address(digest=digest, writer=owner, segment=1, offset=0)
        return Body(name=name, size_bytes=len(data), chunks=(address,), media=media)

    def write(
        self,
        payloads: Sequence[tuple[bytes, str, str, str]],
        records_of: Callable[[tuple[Body, ...]], Iterable[Record]],
    ) -> tuple[Body, ...]:
        bodies = tuple(self.put(*payload) for payload in payloads)
        for record in records_of(bodies):
            self.append(record)
        return bodies

    async def synced(self) -> None:
        self.syncs += 1

    @property
    def spans(self) -> list[Span]:
        return [record for record in self.records if isinstance(record, Span)]

    @property
    def finished(self) -> Span:
        """The last finished span."""
        return next(span for span in reversed(self.spans) if span.revision == 1)

    def body(self, span: Span, name: str) -> bytes | None:
        for body in span.bodies:
            if body.name == name:
                return b"".join(self.payloads[address.digest] for address in body.chunks)
        return None


class PlainCells:
    """The Cells port over a dictionary."""

    def __init__(self) -> None:
        self.cells: dict[str, int | bytes] = {}
        self.reads = 0

    async def apply(self, ops: Sequence[Op], operation_id: str | None = None, urgent: bool = True) -> Applied | Refused:
        after, before = dict(self.cells), {}
        for index, op in enumerate(ops):
            current = after.get(op.key)
            if isinstance(op, Add):
                held = current if isinstance(current, int) else 0
                if op.at_most is not None and held + op.delta > op.at_most:
                    return Refused(index=index, key=op.key, current=held)
                before[op.key] = held
                after[op.key] = held + op.delta
            elif isinstance(op, Put):
                after[op.key] = op.value
            elif isinstance(op, Swap):
                if current != op.expected:
                    return Refused(index=index, key=op.key, current=current)
                if op.value is None:
                    after.pop(op.key, None)
                else:
                    after[op.key] = op.value
            elif isinstance(op, Delete):
                after.pop(op.key, None)
        self.cells = after
        return Applied(before=before)

    async def get(self, key: str) -> int | bytes | None:
        self.reads += 1
        return self.cells.get(key)

    async def scan(self, prefix: str, cursor: str | None = None, limit: int = 1000) -> Page:
        keys = sorted(key for key in self.cells if key.startswith(prefix) and (cursor is None or key > cursor))
        items = tuple((key, self.cells[key]) for key in keys[:limit])
        return Page(items=items, cursor=keys[limit - 1] if len(keys) > limit else None)

    async def close(self) -> None:
        self.cells.clear()


@dataclass
class PlainRuling:
    """A ruling as the gateway reads it."""

    decisions: tuple[Decision, ...] = ()
    stop: Decision | None = None
    amendment: bytes | None = None
    advice: tuple[str, ...] = ()
    diverted: Decision | None = None


@dataclass
class PlainChain:
    """A chain that rules as it is told and remembers what it was asked."""

    ruling: PlainRuling = field(default_factory=PlainRuling)
    active: bool = True
    wants_steps: bool = False
    advises: bool = False
    features: frozenset[str] = frozenset()
    diverts: frozenset[str] = frozenset()
    asked: list[Event] = field(default_factory=list)
    settled: list[tuple[Event, Usage, Cost | None]] = field(default_factory=list)
    released: list[Event] = field(default_factory=list)

    def wants(self, stage: Stage) -> bool:
        return self.active and stage == Stage.REQUEST

    async def decide(self, event: Event) -> PlainRuling:
        return await self.rule(event)

    async def rule(self, event: Event) -> PlainRuling:
        self.asked.append(event)
        return self.ruling

    def allowance(self, event: Event) -> Allowance:
        return Allowance()

    async def settle(self, event: Event, usage: Usage, cost: Cost | None) -> None:
        self.settled.append((event, usage, cost))

    async def release(self, event: Event) -> None:
        self.released.append(event)


class FlatPricer:
    """Every model but those that begin with "free-" costs a microdollar a token."""

    def cost(
        self, provider: str | None, model: str | None, usage: Usage, at_ns: int, tier: str | None = None
    ) -> Cost | None:
        if model is None or model.startswith("free-") or usage.input_tokens is None or usage.output_tokens is None:
            return None
        return Cost(usd=(usage.input_tokens + usage.output_tokens) * 1e-6, source="flat test table")

    def worst_case(self, provider: str | None, model: str | None, tokens: tuple[int, int], at_ns: int) -> Cost | None:
        if model is None or model.startswith("free-"):
            return None
        return Cost(usd=sum(tokens) * 1e-6, source="flat test table")


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Heard:
    """A request as the upstream saw it."""

    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedUpstream:
    """An upstream that answers with whatever function stands in `answer`, and remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.answer: Answer = plain_reply
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.heard.append(Heard(path=request.path_qs, headers=headers, body=body))
        return await self.answer(request)


REPLY: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "alpha-2026-01-01",
    "system_fingerprint": "fp_1",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop", "logprobs": None}
    ],
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 3,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
}


async def plain_reply(request: web.Request) -> web.StreamResponse:
    """A chat completion with usage."""
    return web.json_response(REPLY, headers={"x-request-id": "req_1", "openai-processing-ms": "7"})


def chunk(**changes: Any) -> dict[str, Any]:
    """One chunk of a streamed chat completion."""
    delta = changes.pop("delta", {})
    finish = changes.pop("finish", None)
    return {
        "id": "chatcmpl-2",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "alpha-2026-01-01",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        **changes,
    }


def streamed(*pieces: bytes, then: Callable[[web.Request], Awaitable[None]] | None = None) -> Answer:
    """An answer that writes pieces one by one; `then` runs before the end (to wait, or to break the connection)."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0.002)
        if then is not None:
            await then(request)
        await response.write_eof()
        return response

    return answer


async def cut_connection(request: web.Request) -> None:
    """Close the upstream's connection in the middle of a reply."""
    assert request.transport is not None
    request.transport.abort()
    await asyncio.sleep(0.01)


@dataclass
class Scene:
    """A running gateway before a running upstream."""

    gateway: Gateway
    upstream: ScriptedUpstream
    recorder: MemoryRecorder
    chain: PlainChain
    keys: KeyRing
    client: aiohttp.ClientSession
    url: str

    async def ask(self, body: Any = None, **headers: str) -> aiohttp.ClientResponse:
        """POST a chat request; underscores in header names stand for hyphens."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else aiohttp.JsonPayload(chat() if body is None else body)
        given.setdefault("content-type", "application/json")
        response = await self.client.post(f"{self.url}/v1/chat/completions", data=data, headers=given)
        await response.read()
        return response


def chat(**changes: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": "alpha", "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 50, **changes}


def spec(url: str, **changes: Any) -> UpstreamSpec:
    """An upstream's settings with test defaults."""
    given: dict[str, Any] = {"name": "main", "base_url": url, "credential": "none", "timeout_s": 5.0, **changes}
    return UpstreamSpec(**given)


@asynccontextmanager
async def stage(
    *,
    upstream: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    chain: Any = None,
    more: tuple[UpstreamSpec, ...] = (),
    **settings: Any,
) -> AsyncIterator[Scene]:
    """A gateway on a free loopback port before a scripted upstream on another."""
    scripted, recorder = ScriptedUpstream(), MemoryRecorder()
    async with serving_upstream(scripted):
        specs = (spec(scripted.url, **(upstream or {})), *more)
        ruling = chain if chain is not None else PlainChain(active=False)
        keys = KeyRing(PlainCells())
        gateway = Gateway(
            Settings(upstreams=specs, drain_s=2.0, **settings),
            recorder,
            ruling,
            keys,
            FlatPricer(),
            environment=environment or {},
        )
        async with serving(gateway) as url, aiohttp.ClientSession() as client:
            yield Scene(gateway, scripted, recorder, ruling, keys, client, url)


@asynccontextmanager
async def serving_upstream(scripted: ScriptedUpstream) -> AsyncIterator[None]:
    """Serve a scripted upstream on a free loopback port."""
    app = web.Application(client_max_size=256 << 20)
    app.router.add_route("*", "/{tail:.*}", scripted.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    listener = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listener).start()
    scripted.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    try:
        yield
    finally:
        await runner.cleanup()


class _Quiet(uvicorn.Server):
    """A server that leaves signals to the test runner."""

    def capture_signals(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a free loopback port, in this loop; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="on", timeout_graceful_shutdown=3)
    server = _Quiet(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            task.result()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
