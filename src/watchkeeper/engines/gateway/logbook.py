"""The record of one call as it grows: the span that opens before the upstream is asked, and the one that closes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic_ns
from typing import Any

import msgspec

from watchkeeper.engines.gateway.attempt import MARK
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.exchange import Exchange
from watchkeeper.engines.gateway.identity import join_trace
from watchkeeper.engines.gateway.parts import Parts
from watchkeeper.engines.gateway.ports import Payload
from watchkeeper.engines.gateway.recording import unrecorded
from watchkeeper.engines.gateway.routes import Route
from watchkeeper.engines.gateway.settings import UpstreamSpec
from watchkeeper.engines.gateway.usage import PREVIEW_CHARS, Answer
from watchkeeper.records.body import Body
from watchkeeper.records.decision import Decision
from watchkeeper.records.drop import Drop
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import new_span_id
from watchkeeper.records.record import Record, Scalar
from watchkeeper.records.span import Cost, Happening, Operation, Span, Status


class Outcome(msgspec.Struct, kw_only=True):
    """How a call ended, filled in as it goes. Durations are nanoseconds; None is unknown.

    `untouched` is whether the upstream did no work for the call, so that nothing is charged. `reply` are the bytes
    that came, up to the limit; `reply_bytes` counts all of them.
    """

    http_status: int | None = None
    media: str = "application/json"
    answer: Answer = msgspec.field(default_factory=Answer)
    reply: list[bytes] = []
    reply_bytes: int = 0
    truncated: bool = False
    status: str = Status.OK
    error_type: str | None = None
    message: str | None = None
    first_token_ns: int | None = None
    waited_ns: int = 0
    output_chunks: int | None = None
    untouched: bool = False

    def keep(self, data: bytes, limit_bytes: int) -> None:
        """Keep bytes of the reply for the record, up to the limit."""
        self.reply_bytes += len(data)
        if self.reply_bytes <= limit_bytes:
            self.reply.append(data)
        else:
            self.truncated = True

    def failed(self, error_type: str, message: str | None) -> None:
        """The call ended in an error."""
        self.status, self.error_type, self.message = Status.ERROR, error_type, message


class Logbook:
    """Builds and keeps the spans of one call: `started`, then `finished` or `refused`, each at most once."""

    def __init__(self, parts: Parts, exchange: Exchange, operation: Operation) -> None:
        self._parts = parts
        self._began = monotonic_ns()
        self.start_ns = parts.clock()
        self.trace = join_trace(exchange.headers)
        self.span_id = new_span_id()
        self.operation = operation
        self.identity = Identity()
        self.request_model: str | None = None
        self.sent_model: str | None = None
        self.spec: UpstreamSpec | None = None
        self.stream = False
        self.attributes: dict[str, Scalar] = {"watchkeeper.monotonic_ns": self._began}
        self.asked_text = ""
        self.manifest: str | None = None
        self.request: bytes | None = None
        self.media = "application/json"
        self._bodies: list[Body] = []
        self._decisions: Sequence[Decision] = ()
        self._events: list[Happening] = []
        self._closed = False
        self._attempt = exchange.attempt
        if self._attempt is not None:
            self.attributes[MARK] = self._attempt.name
        exchange.extra += [
            (b"x-watchkeeper-trace", self.trace.trace_id.encode()),
            (b"x-watchkeeper-span", self.span_id.encode()),
        ]

    def elapsed_ns(self) -> int:
        """Time since the call came in."""
        return monotonic_ns() - self._began

    def route(self, route: Route) -> None:
        """The upstream and the model that will be asked."""
        self.spec, self.sent_model = route.spec, route.model
        if route.model != self.request_model:
            self.attributes["watchkeeper.alias_of"] = route.model

    def happened(self, name: str, attributes: Mapping[str, Scalar] | None = None) -> None:
        """Note a rescue or another point in time of the call."""
        at_ns = self.start_ns + self.elapsed_ns()
        self._events.append(Happening(name=name, at_ns=at_ns, attributes=dict(attributes or {})))

    def ruled(self, decisions: Sequence[Decision]) -> None:
        """Policies have ruled on the call; their decisions are written with its next span."""
        self._decisions = (*self._decisions, *decisions)

    async def keep(self, data: bytes, name: str, media: str | None = None) -> None:
        """Keep a payload of the call; one that cannot be written is counted and noted."""
        body = await self._parts.keeper.put(data, name, media or self.media, self.identity.owner)
        if body is not None:
            self._bodies.append(body)
        else:
            self.happened("watchkeeper.body_dropped", {"body": name, "size_bytes": len(data)})

    async def started(self, sent: bytes) -> None:
        """Write what came in and what will be sent on, before the upstream is asked.

        Raises a 503 where the upstream requires recording and it failed or did not reach the disk, and where a call
        under an idempotency key could not be written.
        """
        assert self.request is not None and self.spec is not None
        payloads = [self._payload(self.request, "request")]
        if sent is not self.request and sent != self.request:
            payloads.append(self._payload(sent, "sent"))
        _, kept = await self._write(payloads, {"status": Status.OPEN, "revision": 0, "preview": self.asked_text})
        if self._attempt is not None:
            if not kept:  # a call under a key must be found again after a crash
                raise unrecorded(self.spec.name)
            self._attempt.asked = True
        if self.spec.recording == "required":
            whole = kept and not any(event.name == "watchkeeper.body_dropped" for event in self._events)
            if not whole or not await self._parts.keeper.synced():
                raise unrecorded(self.spec.name)

    async def finished(self, outcome: Outcome, cost: Cost | None) -> None:
        """Write how the call ended; with required recording, return when that is on the disk."""
        if self._closed:
            return
        self._closed = True
        payloads = [self._payload(b"".join(outcome.reply), "reply", outcome.media)] if outcome.reply else []
        if outcome.truncated:
            self._lost_tail(outcome)
        span, _ = await self._write(payloads, self._finished_state(outcome, cost))
        self._parts.measures.call(span)
        if self._attempt is not None:
            self._attempt.span, self._attempt.untouched = span, outcome.untouched
        if self.spec is not None and self.spec.recording == "required":
            await self._parts.keeper.synced()

    async def refused(self, refusal: Refusal, status: Status) -> None:
        """Write a call that was answered without asking the upstream."""
        if self._closed:
            return
        if self.request is not None and not any(body.name == "request" for body in self._bodies):
            await self.keep(self.request, "request")
        outcome = Outcome(
            http_status=refusal.status,
            status=status,
            error_type=refusal.code,
            message=refusal.sentence,
        )
        await self.finished(outcome, None)

    def _payload(self, data: bytes, name: str, media: str | None = None) -> Payload:
        return data, name, media or self.media, self.identity.owner

    async def _write(self, payloads: Sequence[Payload], state: Mapping[str, Any]) -> tuple[Span, bool]:
        """Write payloads, decisions and a span in one go, or piece by piece where that fails.

        Returns the span and whether it was written.
        """
        keeper, decisions = self._parts.keeper, self._decisions
        self._decisions = ()
        made: list[Span] = []

        def records_of(bodies: tuple[Body, ...]) -> Iterable[Record]:
            made.append(self._span(state, (*self._bodies, *bodies)))
            return (*decisions, *made)

        bodies = keeper.write(payloads, records_of)
        if bodies is not None:
            self._bodies += bodies
            return made[0], True
        for data, name, media, _ in payloads:
            await self.keep(data, name, media)
        for decision in decisions:
            keeper.append(decision)
        span = self._span(state, tuple(self._bodies))
        return span, keeper.append(span)

    def _finished_state(self, outcome: Outcome, cost: Cost | None) -> dict[str, Any]:
        answer, total = outcome.answer, self.elapsed_ns()
        if outcome.output_chunks is not None:
            self.attributes["watchkeeper.stream.content_chunks"] = outcome.output_chunks
        if answer.service_tier is not None:
            self.attributes["openai.response.service_tier"] = answer.service_tier
        return {
            "status": outcome.status,
            "revision": 1,
            "end_ns": self.start_ns + total,
            "error_type": outcome.error_type,
            "message": outcome.message,
            "response_model": answer.model,
            "response_id": answer.response_id,
            "fingerprint": answer.fingerprint,
            "finish_reasons": answer.finish_reasons,
            "usage": answer.usage,
            "cost": cost,
            "first_token_ns": outcome.first_token_ns,
            "overhead_ns": max(0, total - outcome.waited_ns),
            "http_status": outcome.http_status,
            "preview": f"{self.asked_text}\n{answer.text[:PREVIEW_CHARS]}".strip("\n"),
        }

    def _span(self, state: Mapping[str, Any], bodies: tuple[Body, ...]) -> Span:
        spec, operation = self.spec, self.operation
        return Span(
            trace_id=self.trace.trace_id,
            span_id=self.span_id,
            parent_id=self.trace.parent_id,
            start_ns=self.start_ns,
            name=f"{operation} {self.request_model}" if self.request_model else str(operation),
            operation=operation,
            door="gateway",
            identity=self.identity,
            provider=None if spec is None else spec.provider,
            upstream=None if spec is None else spec.name,
            request_model=self.request_model,
            stream=self.stream,
            manifest=self.manifest,
            attributes=dict(self.attributes),
            events=tuple(self._events),
            bodies=bodies,
            **state,
        )

    def _lost_tail(self, outcome: Outcome) -> None:
        now = self.start_ns + self.elapsed_ns()
        self.attributes["watchkeeper.reply.truncated"] = True
        self._parts.measures.dropped("reply_tail")
        self._parts.keeper.append(
            Drop(
                what="body",
                reason="reply_over_limit",
                count=1,
                first_ns=now,
                last_ns=now,
                door="gateway",
                detail=f"span {self.span_id}: {outcome.reply_bytes} bytes came, the first part is kept",
            )
        )
