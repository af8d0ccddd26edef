"""The story of a call: who asks, what for, may it go on, ask the upstream, pass the reply back, keep it all."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod

from watchkeeper.engines.gateway.addressing import address
from watchkeeper.engines.gateway.advising import ROOM_BYTES, advised
from watchkeeper.engines.gateway.attempted import UNMETERED
from watchkeeper.engines.gateway.attempts import Attempts, Sendable
from watchkeeper.engines.gateway.circumstances import answered, asked
from watchkeeper.engines.gateway.composition import Composition
from watchkeeper.engines.gateway.contracts import declared
from watchkeeper.engines.gateway.dialects.chat import CHAT
from watchkeeper.engines.gateway.dialects.dialect import Dialect, Head
from watchkeeper.engines.gateway.diverting import Wanted, stopped, where_to
from watchkeeper.engines.gateway.errors import Refusal, UpstreamFailure
from watchkeeper.engines.gateway.exchange import ClientGone, Exchange
from watchkeeper.engines.gateway.identity import resolve
from watchkeeper.engines.gateway.key_record import check_scope, check_use
from watchkeeper.engines.gateway.keys import OWNER, Key, key_required, presented
from watchkeeper.engines.gateway.logbook import Logbook, Outcome
from watchkeeper.engines.gateway.parts import Parts
from watchkeeper.engines.gateway.ports import Ruling
from watchkeeper.engines.gateway.routes import Route
from watchkeeper.engines.gateway.routing import Plan, dearer, named_upstream
from watchkeeper.engines.gateway.spending import Spending
from watchkeeper.engines.gateway.stream import StreamReader
from watchkeeper.engines.gateway.upstream import Reply, headers_for
from watchkeeper.engines.gateway.usage import PREVIEW_CHARS
from watchkeeper.engines.gateway.ways import Way, query_of
from watchkeeper.engines.gateway.wire import check_media, read_fields, rewrite
from watchkeeper.records.event import Bound, Event, Stage, ToolStep
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Cost, Operation, Status, Usage

_LINGER_S = 0.25
_NO_WORK_DONE = frozenset({501, 503, 529})
_UNKNOWN = Usage()
NO_USE = Usage(input_tokens=0, output_tokens=0)
NO_COST = Cost(usd=0.0, source="reading is not charged for")
FREE = Bound(input_tokens=0, output_tokens=0, nano_usd=0, price_source=NO_COST.source, wall_ms=0)


async def admit(parts: Parts, exchange: Exchange) -> Key | None:
    """The key that a caller shows, None where none is needed; raises a 401 for one that does not hold.

    A key that the front has checked is not checked again. The owner's own token is good where nobody asks for a key.
    """
    if isinstance(exchange.checked_key, Key):
        check_scope(exchange.checked_key, "call")
        return exchange.checked_key
    secret = presented(exchange.headers)
    if secret is not None and not (secret.startswith(OWNER) and not parts.settings.require_keys):
        key = await parts.keys.check(secret)
        check_scope(key, "call")
        return key
    if parts.settings.require_keys:
        raise key_required()
    return None


class Call(ABC):
    """What calls that are understood and calls that are passed through have in common, from the policies to the end."""

    dialect: Dialect = CHAT

    def __init__(
        self, parts: Parts, exchange: Exchange, key: Key | None, operation: Operation = Operation.CHAT
    ) -> None:
        self.parts, self.exchange, self.key = parts, exchange, key
        self.logbook = Logbook(parts, exchange, operation)
        if key is not None:
            self.logbook.identity = parts.private(
                Identity(tenant=key.tenant, key=key.key_id, user=key.user, team=key.team)
            )
        self._event: Event | None = None
        self._plan: Plan | None = None
        self._attempts: Attempts | None = None
        self._one: Bound | None = None
        self._query = ""
        self._hide_usage = False
        self._spending: Spending | None = None
        self._free = False
        self._limit = parts.settings.max_body_bytes

    async def run(self) -> None:
        """Answer the call. A refusal is kept before it is raised to be answered."""
        try:
            await self._go()
        except Refusal as refusal:
            denied = refusal.kind == "denied"
            await self.logbook.refused(refusal, Status.DENIED if denied else Status.ERROR)
            self.exchange.recorded = True
            raise
        except ClientGone:
            pass  # nothing was asked yet, and nobody is left to be told

    @abstractmethod
    async def _go(self) -> None:
        """Read the request, let the policies rule, and pass it on."""

    async def _read(self) -> bytes:
        """The request's body, its content coding undone."""
        exchange, logbook = self.exchange, self.logbook
        coded = await exchange.body(self._limit)
        body = exchange.plain(coded, self._limit)
        logbook.request = body
        logbook.attributes.update(asked(exchange.headers))
        logbook.media = exchange.headers.get(b"content-type", b"application/json").decode("latin-1")[:200]
        if body is not coded:
            coding = exchange.headers[b"content-encoding"].decode("latin-1")
            logbook.attributes["watchkeeper.request.content_encoding"] = coding
            await logbook.keep(coded, "request.encoded", f"application/{coding}")
        return body

    def _limited(self) -> bool:
        """Whether the caller's key carries limits of its own."""
        return self.key is not None and bool(self.key.limits)

    async def _ask_policies(self, bound: Bound | None, steps: tuple[ToolStep, ...]) -> Ruling:
        """Let the policies rule; the answer holds what is to be sent instead. Raises a 403 when one stops the call."""
        logbook, chain = self.logbook, self.parts.chain
        assert logbook.spec is not None
        event = Event(
            stage=Stage.REQUEST,
            at_ns=logbook.start_ns,
            trace_id=logbook.trace.trace_id,
            span_id=logbook.span_id,
            identity=logbook.identity,
            model=logbook.sent_model,
            upstream=logbook.spec.name,
            steps=steps,
            bound=bound,
            attributes=declared(self.exchange.headers),
            limits=() if self.key is None else self.key.limits,
        )
        ruling = await chain.rule(event)
        logbook.ruled(ruling.decisions)
        self.parts.measures.decided(ruling.decisions)
        if ruling.stop is not None:
            raise stopped(logbook, ruling.stop)
        self._event = event
        self._spending = None if bound is None else Spending.of(bound, chain.allowance(event))
        return ruling

    async def _pass_on(self, suffix: str, body: bytes, query: str) -> None:
        """Record, ask the upstream, pass its reply back, and record that. `suffix` is what follows `/v1` at OpenAI."""
        spec = self.logbook.spec
        assert spec is not None
        plan = self._plan or Plan((Route(spec, self.logbook.sent_model or ""),))
        self._query = query
        attempts = self._attempts = Attempts(self.parts, self.exchange, self.logbook, plan, self._prepare)
        try:
            if not plan.rescuable:
                attempts.made(suffix, body)
            await self.logbook.started(body)
        except Refusal:
            await self._release()
            raise
        outcome = Outcome()
        reply: Reply | None = None
        asked_ns = self.logbook.elapsed_ns()
        self.exchange.watch()
        try:
            try:
                reply = await attempts.ask(suffix, body)
                await self._pass_back(reply, outcome)
            finally:
                outcome.waited_ns = reply.waited_ns if reply else self.logbook.elapsed_ns() - asked_ns
                if reply is not None:
                    reply.close()
        except Refusal as refusal:
            outcome.untouched = True
            outcome.failed(refusal.code, refusal.sentence)
            outcome.http_status = refusal.status
            await self._conclude(outcome)
            await self.exchange.refuse(refusal)
        except UpstreamFailure as failure:
            await self._failed(failure, outcome)
        except asyncio.CancelledError:
            if not self.exchange.left():
                outcome.failed("cancelled", "The gateway was stopped before the reply was whole.")
                await self.logbook.finished(outcome, None)
                raise
            outcome.failed("client_disconnected", "The client closed its connection before the reply was whole.")
            await self._conclude(outcome)
        finally:
            attempts.closed(outcome)
            self.exchange.unwatch()

    def _prepare(self, target: Route, suffix: str, body: bytes) -> Sendable:
        """What to send to a target; raises a `Refusal` where the key may not or its credential is not there."""
        spec, credential = target.spec, self.parts.credentials[target.spec.name]
        check_use(self.key, self.logbook.request_model, target.model or self.logbook.sent_model, spec.name)
        headers = headers_for(self.exchange.incoming, credential, spec, self._traceparent(), suffix)
        path = address(spec, suffix, self._query, target.model or self.logbook.sent_model)
        first = self._plan.first if self._plan is not None else target
        return path, headers, body if target == first else self._body_for(target, body)

    def _body_for(self, target: Route, body: bytes) -> bytes:
        """The body for another target than the first: with its name for the model."""
        return rewrite(body, read_fields(body), {"model": as_json(target.model)})

    async def _pass_back(self, reply: Reply, outcome: Outcome) -> None:
        """Pass the upstream's reply back in the way that it comes."""
        self._note_reply(reply, outcome)
        if reply.streamed:
            await self._relay(reply, outcome)
        else:
            await self._answer(reply, outcome)

    def _note_reply(self, reply: Reply, outcome: Outcome) -> None:
        """What the head of a reply says."""
        outcome.http_status = reply.status
        self.logbook.attributes.update(answered(reply.headers))
        outcome.media = reply.media or "application/octet-stream"
        outcome.untouched = 400 <= reply.status < 500 or reply.status in _NO_WORK_DONE

    async def _answer(self, reply: Reply, outcome: Outcome) -> None:
        """Pass back a reply that is read whole."""
        pieces = []
        while data := await reply.next():
            pieces.append(data)
            outcome.keep(data, self._limit)
        body = whole = b"".join(pieces)
        outcome.waited_ns = reply.waited_ns
        self._note_answer(body, outcome)
        body = await self._shown(whole)
        if body is not whole:
            outcome.reply, outcome.reply_bytes = [body], len(body)
        await self._conclude(outcome)
        await self.exchange.reply(reply.status, reply.headers, body)

    async def _shown(self, body: bytes) -> bytes:
        """What of a whole reply this caller may see."""
        return body

    def _note_answer(self, body: bytes, outcome: Outcome) -> None:
        """Read what a whole reply says of itself."""
        answer = outcome.answer = self.dialect.answer(body)
        status = outcome.http_status or 0
        if status >= 400:
            outcome.failed(answer.error_type or str(status), answer.message)
        elif not answer.readable:
            outcome.failed("malformed_reply", "The upstream's reply is not a JSON object; it was passed on as it came.")
        elif answer.error_type is not None:
            outcome.failed(answer.error_type, answer.message)

    async def _relay(self, reply: Reply, outcome: Outcome) -> None:
        """Pass back a stream of events as they come, reading beside it."""
        exchange = self.exchange
        reader = StreamReader(self._hide_usage)
        outcome.answer = reader.answer
        await exchange.begin(reply.status, reply.headers)
        try:
            rest = await self._follow(reply, reader, outcome)
        except UpstreamFailure as failure:
            outcome.failed(failure.code, failure.sentence)
            rest = b"\n\n" if reader.torn else b""
            rest += self.dialect.wording.event(failure.code, failure.sentence, reader.number)
        else:
            if reader.answer.error_type is not None:
                outcome.failed(reader.answer.error_type, reader.answer.message)
            elif not reader.complete:
                sentence = "The upstream ended its stream without a finish reason or [DONE]; the reply is not whole."
                outcome.failed("stream_incomplete", sentence)
                rest += self.dialect.wording.event("stream_incomplete", sentence, reader.number)
        outcome.waited_ns = reply.waited_ns
        outcome.output_chunks = reader.output_chunks
        await self._conclude(outcome)
        await exchange.end(rest)

    async def _follow(self, reply: Reply, reader: StreamReader, outcome: Outcome) -> bytes:
        """Pass events on until the stream announces its end; returns the last bytes, which are not sent yet.

        They are held until the call is recorded and its settlement begun, so that a client that has seen the end of one
        call finds it in the books when it makes the next.
        """
        while data := await reply.next():
            outcome.keep(data, self._limit)
            ready = reader.feed(data)
            if outcome.first_token_ns is None and reader.output_chunks:
                outcome.first_token_ns = self.logbook.elapsed_ns()
            if reader.done:
                return ready + await self._linger(reply, reader, outcome)
            if self._spending is not None:
                self._spending.check(reader, self.logbook.elapsed_ns())
            if ready:
                await self.exchange.push(ready)
        return reader.finish()

    async def _linger(self, reply: Reply, reader: StreamReader, outcome: Outcome) -> bytes:
        """What little may follow on [DONE]; an upstream that keeps its connection open is not waited for long."""
        rest = b""
        try:
            async with asyncio.timeout(_LINGER_S):
                while data := await reply.next():
                    outcome.keep(data, self._limit)
                    rest += reader.feed(data)
        except (TimeoutError, UpstreamFailure):
            return rest  # the stream was whole; how its connection ends is no matter
        return rest + reader.finish()

    async def _failed(self, failure: UpstreamFailure, outcome: Outcome) -> None:
        """The upstream gave no whole reply and the client has seen nothing of it."""
        outcome.untouched = not failure.sent
        outcome.failed(failure.code, failure.sentence)
        refusal = failure.refusal()
        outcome.http_status = refusal.status
        await self._conclude(outcome)
        await self.exchange.refuse(refusal)

    async def _conclude(self, outcome: Outcome) -> None:
        """Record how the call ended, and begin to settle what was reserved for it.

        The settlement is asked for before the client sees the end of the reply, so that its next call comes after
        it, but is not waited for: the reply would have to wait for the disk.
        """
        self.exchange.unwatch()
        attempts, answer = self._attempts, outcome.answer
        assert attempts is not None
        attempts.closed(outcome)
        attempts.counted(outcome.status == Status.OK)
        earlier = attempts.spending
        usage = answer.usage
        cost = self._cost(outcome, usage)
        answer.usage, cost = earlier.total(usage, cost)
        outcome.waited_ns += self.exchange.client_ns
        event, self._event = self._event, None
        unused = outcome.untouched = outcome.untouched and cost is None and not earlier.anything
        if earlier.unmetered:
            self.logbook.attributes[UNMETERED] = earlier.unmetered
        used, charged = (usage, cost) if usage.output_tokens is None else (answer.usage, cost)
        if self._free:
            used, charged = NO_USE, NO_COST
        elif self._spending is not None and self._spending.usage is not None:
            used, charged = earlier.total(self._spending.usage, self._cost(outcome, self._spending.usage))
            self.logbook.attributes["watchkeeper.charged"] = "as counted: the stream was cut"
        elif event is not None and not unused and usage.output_tokens is None:
            self._note_unsettled(outcome)
        await self.logbook.finished(outcome, cost)
        if event is not None:
            chain = self.parts.chain
            used, charged = earlier.charged(used, charged, event.bound, self._one)
            self.parts.books.begin(
                chain.release(event) if unused else chain.settle(event, used, charged), event.span_id
            )

    def _note_unsettled(self, outcome: Outcome) -> None:
        self.logbook.attributes["watchkeeper.charged"] = "as reserved: the use is unknown"
        self.parts.measures.unsettled()

    async def _release(self) -> None:
        event, self._event = self._event, None
        if event is not None:
            await self.parts.chain.release(event)

    def _cost(self, outcome: Outcome, usage: Usage) -> Cost | None:
        """What a use costs, by the model that answered or else the one that was asked."""
        logbook = self.logbook
        if usage == _UNKNOWN or logbook.spec is None:
            return None
        for model in (outcome.answer.model, logbook.sent_model):
            if not model:
                continue
            tier = outcome.answer.service_tier
            cost = self.parts.pricer.cost(logbook.spec.provider, model, usage, logbook.start_ns, tier)
            if cost is not None:
                return cost
        return None

    def _traceparent(self) -> str | None:
        if b"traceparent" not in self.exchange.headers:
            return None
        trace = self.logbook.trace
        return f"00-{trace.trace_id}-{self.logbook.span_id}-{trace.flags}"


class ModelCall(Call):
    """A call of a model in a dialect that is understood."""

    def __init__(self, parts: Parts, exchange: Exchange, key: Key | None, dialect: Dialect, way: Way) -> None:
        super().__init__(parts, exchange, key, dialect.operation)
        self.dialect, self._way = dialect, way

    async def _go(self) -> None:
        exchange, parts, logbook, dialect = self.exchange, self.parts, self.logbook, self.dialect
        check_media(exchange.headers.get(b"content-type"))
        body = await self._read()
        head = dialect.read(body, self._way.deployment)
        self._note_head(head)
        logbook.identity = parts.private(resolve(exchange.headers, self.key, head.fields))
        await self._recall(head)
        only = named_upstream(exchange.headers) or self._held_by()
        plan = parts.routing.plan(head.model, logbook.identity, only)
        composition = self._composition(head, plan.first)
        logbook.route(plan.first)
        logbook.manifest = composition.manifest.digest
        wanted = Wanted(head.model, head.fields, composition.manifest, self._held_by())
        asked_for, plan = plan, await where_to(parts, exchange, logbook, wanted, plan)
        self._plan, route = plan, plan.first
        logbook.route(route)
        self._note_composition(composition if plan is asked_for else self._composition(head, route))
        if parts.chain.wants(Stage.REQUEST) or self._limited():
            ruling = await self._ask_policies(plan.bound(lambda to: self._bound(head, body, to)), self._steps(head))
            body, head = self._amended(body, head, ruling)
        spoken = dialect.spoken(head, route.model, route.spec)
        self._hide_usage = spoken.hide_usage
        if spoken.hide_usage:
            logbook.happened("watchkeeper.usage_asked")
        to_send = rewrite(body, head.fields, spoken.changes) if spoken.changes else body
        self._spoken = to_send, body, head
        await self._pass_on(dialect.path, to_send, query_of(exchange.query, self._way))

    async def _recall(self, head: Head) -> None:
        """Bring to mind what the request refers to; most dialects bring everything with them."""

    def _held_by(self) -> str | None:
        """The only upstream that can answer, because it holds what the request refers to; None for any."""
        return None

    def _body_for(self, target: Route, body: bytes) -> bytes:
        first, plain, head = self._spoken
        if body is not first:
            return super()._body_for(target, body)
        spoken = self.dialect.spoken(head, target.model, target.spec)
        if spoken.hide_usage and not self._hide_usage:
            self._hide_usage = True
            self.logbook.happened("watchkeeper.usage_asked")
        return rewrite(plain, head.fields, spoken.changes) if spoken.changes else plain

    def _amended(self, body: bytes, head: Head, ruling: Ruling) -> tuple[bytes, Head]:
        """The body as the policies want it, and its head: other bytes, or the same with advice to the model added."""
        amendment = ruling.amendment
        if amendment is not None:
            body, head = amendment, self.dialect.read(amendment, self._way.deployment)
            self.logbook.happened("watchkeeper.amended")
        if ruling.advice:
            told = advised(body, head.fields, ruling.advice) if self.dialect.conversation else None
            self.logbook.happened("watchkeeper.advised" if told is not None else "watchkeeper.advice_not_given")
            if told is not None:
                body, head = told, self.dialect.read(told, self._way.deployment)
        return body, head

    def _note_head(self, head: Head) -> None:
        logbook = self.logbook
        logbook.request_model = head.model[:200]
        logbook.stream = head.stream
        logbook.asked_text = self.dialect.asked_text(head, PREVIEW_CHARS)
        if self.dialect.path != CHAT.path:
            logbook.attributes["watchkeeper.dialect"] = self.dialect.name

    def _composition(self, head: Head, route: Route) -> Composition:
        """What of the request is the same from turn to turn, and every parameter."""
        where = route.model, route.spec.name, route.spec.provider
        system, documented = self.dialect.system(head), self.dialect.documented_defaults
        return self.parts.compositions.of(head.fields, system, where, self.logbook.start_ns, documented)

    def _note_composition(self, composition: Composition) -> None:
        digest = self.logbook.manifest = composition.manifest.digest
        self.exchange.extra.append((b"x-watchkeeper-composition", digest.encode()))
        self.logbook.attributes.update(composition.attributes)

    def _bound(self, head: Head, body: bytes, to: Route) -> Bound | None:
        """The most that the call can use, None when that is not known."""
        inward, outward = self._input_bound(head, body, to), self.dialect.output_bound(head, to.spec)
        if inward is None or outward is None:
            return None
        if self.parts.chain.advises:
            inward += ROOM_BYTES
        stated, pricer, at_ns = head.max_output is not None, self.parts.pricer, self.logbook.start_ns
        cost = pricer.worst_case(to.spec.provider, to.model, (inward, outward), at_ns)
        read = None if stated else pricer.worst_case(to.spec.provider, to.model, (inward, 0), at_ns)
        one = Bound(
            input_tokens=inward,
            output_tokens=outward,
            nano_usd=None if cost is None else math.ceil(cost.usd * 1_000_000_000),
            price_source=None if cost is None else cost.source,
            stated=stated,
            input_nano_usd=None if read is None else math.ceil(read.usd * 1_000_000_000),
            wall_ms=math.ceil(to.spec.timeout_s * 1000),
        )
        self._one = one if self._one is None else dearer(self._one, one)
        return one

    def _input_bound(self, head: Head, body: bytes, to: Route) -> int | None:
        return self.dialect.input_bound(body, head, to.spec.max_input_tokens)

    def _steps(self, head: Head) -> tuple[ToolStep, ...]:
        if not self.parts.chain.wants_steps:
            return ()
        return self.dialect.steps(head, self.logbook.identity.agent)
