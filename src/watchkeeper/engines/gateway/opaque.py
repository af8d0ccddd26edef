"""Calls to /v1/* that the gateway does not understand: passed through as they are, recorded, and bounded by nothing."""

from __future__ import annotations

from watchkeeper.engines.gateway.call import Call
from watchkeeper.engines.gateway.composition import request_attributes
from watchkeeper.engines.gateway.errors import UpstreamFailure
from watchkeeper.engines.gateway.exchange import Exchange
from watchkeeper.engines.gateway.identity import resolve
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.gateway.logbook import Outcome
from watchkeeper.engines.gateway.parts import Parts
from watchkeeper.engines.gateway.stream import StreamReader
from watchkeeper.engines.gateway.upstream import Reply
from watchkeeper.engines.gateway.wire import read_fields, read_model, rewrite
from watchkeeper.records.event import Bound, Stage
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Operation

_OPERATIONS = {"/completions": Operation.COMPLETION}
_FREE = Bound(input_tokens=0, output_tokens=0, nano_usd=0, price_source="reading is not charged for", wall_ms=0)
_UPSTREAM_HEADER = b"x-watchkeeper-upstream"


class OpaqueCall(Call):
    """A call of another path under /v1. A budget refuses it unless it only reads, for its cost cannot be bounded."""

    def __init__(self, parts: Parts, exchange: Exchange, key: Key | None) -> None:
        super().__init__(parts, exchange, key, _OPERATIONS.get(exchange.path[3:], Operation.PASSTHROUGH))

    async def _go(self) -> None:
        exchange, parts, logbook = self.exchange, self.parts, self.logbook
        logbook.attributes["http.request.method"] = exchange.method
        logbook.attributes["url.path"] = exchange.path[:500]
        body = await self._read()
        logbook.identity = parts.private(resolve(exchange.headers, self.key, {}))
        body = self._find_upstream(body)
        if parts.chain.wants(Stage.REQUEST):
            reads = exchange.method in ("GET", "HEAD")
            ruling = await self._ask_policies(_FREE if reads else None, ())
            body = body if ruling.amendment is None else ruling.amendment
        await self._pass_on(exchange.target.removeprefix("/v1"), body)

    def _find_upstream(self, body: bytes) -> bytes:
        """Choose the upstream by the body's model, or by header or default; returns the bytes to send on."""
        exchange, parts, logbook = self.exchange, self.parts, self.logbook
        named = exchange.headers.get(_UPSTREAM_HEADER)
        is_json = b"json" in exchange.headers.get(b"content-type", b"").lower()
        if body and is_json:
            fields = read_fields(body)
            logbook.identity = parts.private(resolve(exchange.headers, self.key, fields))
            if "model" in fields and named is None:
                model = read_model(fields)
                logbook.request_model = model[:200]
                logbook.attributes.update(request_attributes(fields))
                route = parts.routes.find(model)
                logbook.route(route)
                changed = {"model": as_json(route.model)} if route.model != model else {}
                return rewrite(body, fields, changed) if changed else body
        spec = parts.routes.fallback(None if named is None else named.decode("latin-1"))
        logbook.spec = spec
        return body

    async def _pass_back(self, reply: Reply, outcome: Outcome) -> None:
        self._note_reply(reply, outcome)
        if "json" in reply.media:
            await self._answer(reply, outcome)
        else:
            await self._through(reply, outcome)

    def _note_answer(self, body: bytes, outcome: Outcome) -> None:
        super()._note_answer(body, outcome)
        if outcome.error_type == "malformed_reply":
            outcome.status, outcome.error_type, outcome.message = "ok", None, None

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


class ModelList:
    """Answers GET /v1/models from what the upstreams declare."""

    def __init__(self, parts: Parts) -> None:
        created = parts.clock() // 1_000_000_000
        self._models = {
            name: {"id": name, "object": "model", "created": created, "owned_by": upstream}
            for name, upstream in parts.routes.declared()
        }

    def answer(self, path: str) -> bytes | None:
        """The list, or one model, as JSON; None when nothing is declared and the upstream has to be asked."""
        if not self._models:
            return None
        if path == "/v1/models":
            return as_json({"object": "list", "data": list(self._models.values())})
        model = self._models.get(path.removeprefix("/v1/models/"))
        return None if model is None else as_json(model)
