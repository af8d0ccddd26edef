"""Calls to /v1/* that the gateway does not understand: passed through as they are, recorded, and bounded by nothing."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from watchkeeper.engines.gateway.call import FREE, Call
from watchkeeper.engines.gateway.composition import request_attributes
from watchkeeper.engines.gateway.diverting import Wanted, where_to
from watchkeeper.engines.gateway.errors import UpstreamFailure
from watchkeeper.engines.gateway.exchange import Exchange
from watchkeeper.engines.gateway.identity import resolve
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.gateway.logbook import Outcome
from watchkeeper.engines.gateway.owning import check_named, check_path, lists, made, shown
from watchkeeper.engines.gateway.parts import Parts
from watchkeeper.engines.gateway.routes import Route
from watchkeeper.engines.gateway.routing import Plan
from watchkeeper.engines.gateway.stream import StreamReader
from watchkeeper.engines.gateway.upstream import Reply
from watchkeeper.engines.gateway.ways import Way, query_of, raw_suffix
from watchkeeper.engines.gateway.wire import read_fields, read_model, rewrite
from watchkeeper.records.event import Stage
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Operation, Usage

_OPERATIONS = {"/completions": Operation.COMPLETION}
_READS = ("GET", "HEAD")
_OF_MANY = ("/batches", "/messages/batches")
"""Where many calls are asked for at once, each with its own model: one at the top of the body says nothing of them."""
UPSTREAM_HEADER = b"x-watchkeeper-upstream"


class OpaqueCall(Call):
    """A call of another path under /v1. A budget refuses it unless it only reads, for its cost cannot be bounded."""

    def __init__(self, parts: Parts, exchange: Exchange, key: Key | None, way: Way) -> None:
        super().__init__(parts, exchange, key, _OPERATIONS.get(way.suffix or "", Operation.PASSTHROUGH))
        self._way = way
        self._fields: Mapping[str, msgspec.Raw] = {}

    async def _go(self) -> None:
        exchange, parts, logbook = self.exchange, self.parts, self.logbook
        logbook.attributes["http.request.method"] = exchange.method
        logbook.attributes["url.path"] = exchange.path[:500]
        body = await self._read()
        logbook.identity = parts.private(resolve(exchange.headers, self.key, {}))
        await check_path(parts, self._way.suffix or "", logbook.identity)
        body = self._find_upstream(body)
        await check_named(parts, self._fields, logbook.identity)
        body = await self._diverted(body)
        if parts.chain.wants(Stage.REQUEST) or self._limited():
            self._free = exchange.method in _READS
            ruling = await self._ask_policies(FREE if self._free else None, ())
            body = body if ruling.amendment is None else ruling.amendment
        suffix, query = raw_suffix(exchange.raw_path, self._way), query_of(exchange.query, self._way)
        await self._pass_on(suffix, body, query)

    def _find_upstream(self, body: bytes) -> bytes:
        """Choose the upstream by the body's model, or by header or default; returns the bytes to send on."""
        exchange, parts, logbook = self.exchange, self.parts, self.logbook
        named = exchange.headers.get(UPSTREAM_HEADER)
        is_json = b"json" in exchange.headers.get(b"content-type", b"").lower()
        if body and is_json:
            fields = self._fields = read_fields(body)
            logbook.identity = parts.private(resolve(exchange.headers, self.key, fields))
            if "model" in fields and named is None and (self._way.suffix or "").lower() not in _OF_MANY:
                model = read_model(fields)
                logbook.request_model = model[:200]
                logbook.attributes.update(request_attributes(fields))
                self._plan = parts.routing.plan(model, logbook.identity)
                route = self._plan.first
                logbook.route(route)
                changed = {"model": as_json(route.model)} if route.model != model else {}
                return rewrite(body, fields, changed) if changed else body
        spec = parts.routes.fallback(None if named is None else named.decode("latin-1"))
        logbook.spec = spec
        return body

    async def _diverted(self, body: bytes) -> bytes:
        """The body for the model that the policies have asked instead; what would answer as asked is not known here."""
        fields, logbook = self._fields, self.logbook
        of_many = (self._way.suffix or "").lower() in _OF_MANY  # what it names beside its parts is no model of its own
        if "model" not in fields or logbook.spec is None or of_many:
            return body
        model = logbook.request_model or read_model(fields)
        plan = self._plan or Plan((Route(logbook.spec, model),))
        other = await where_to(self.parts, self.exchange, logbook, Wanted(model, fields), plan)
        if other is plan:
            return body
        self._plan = other
        logbook.route(other.first)
        return rewrite(body, read_fields(body), {"model": as_json(other.first.model)})

    async def _pass_back(self, reply: Reply, outcome: Outcome) -> None:
        self._note_reply(reply, outcome)
        if "json" in reply.media:
            await self._answer(reply, outcome)
        else:
            await self._through(reply, outcome)

    async def _answer(self, reply: Reply, outcome: Outcome) -> None:
        try:
            await super()._answer(reply, outcome)
        except UpstreamFailure:
            if lists(self.exchange.method, self._way.suffix or ""):
                outcome.reply.clear()  # half a list is not looked through, so nobody's record holds it
            raise

    async def _shown(self, body: bytes) -> bytes:
        if lists(self.exchange.method, self._way.suffix or ""):
            return await shown(self.parts, body, self.logbook.identity)
        return body

    def _note_answer(self, body: bytes, outcome: Outcome) -> None:
        super()._note_answer(body, outcome)
        if self.exchange.method == "POST" and outcome.status == "ok" and self._way.suffix not in _OPERATIONS:
            kept = made(self.logbook, self._way.suffix or "", body)
            if kept is not None:
                self.parts.replies.keep(kept)
        if outcome.error_type == "malformed_reply":
            outcome.status, outcome.error_type, outcome.message = "ok", None, None
        if self.exchange.method in _READS:
            outcome.answer.usage = Usage()  # what was used by a call that is read about was counted when it was made

    async def _through(self, reply: Reply, outcome: Outcome) -> None:
        """Pass back bytes that are not JSON as they come; what a stream of events says is read beside it."""
        exchange = self.exchange
        reader = StreamReader() if reply.streamed else None
        if reply.status >= 400:
            outcome.failed(str(reply.status), None)
        await exchange.begin(reply.status, reply.headers)
        try:
            while data := await reply.next():
                outcome.keep(data, self._limit)
                if reader is not None:
                    self._note_events(reader, data, outcome)
                await exchange.push(data)
        except UpstreamFailure as failure:
            outcome.failed(failure.code, failure.sentence)
            outcome.waited_ns = reply.waited_ns
            await self._conclude(outcome)
            if not reply.streamed:
                exchange.abandon()
            await exchange.end(exchange.wording.event(failure.code, failure.sentence, None))
            return
        outcome.waited_ns = reply.waited_ns
        if reader is not None:
            reader.finish()
            self._note_end(reader, outcome)
        await self._conclude(outcome)
        await exchange.end()

    def _note_events(self, reader: StreamReader, data: bytes, outcome: Outcome) -> None:
        """Read what came of a stream, and when its first content came."""
        reader.feed(data)
        outcome.answer = reader.answer
        if outcome.first_token_ns is None and reader.output_chunks:
            outcome.first_token_ns = self.logbook.elapsed_ns()

    def _note_end(self, reader: StreamReader, outcome: Outcome) -> None:
        """How a stream ended; one that is no stream of a model's reply ends as it ends."""
        outcome.output_chunks = reader.output_chunks or None
        if reader.answer.error_type is not None:
            outcome.failed(reader.answer.error_type, reader.answer.message)
