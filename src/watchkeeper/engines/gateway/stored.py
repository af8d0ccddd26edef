"""Calls about responses that the provider keeps, and calls about calls: they are free, but not for everybody's eyes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from watchkeeper.engines.gateway.call import FREE, Call, ModelCall
from watchkeeper.engines.gateway.dialects.dialect import Dialect, Head, tool_steps
from watchkeeper.engines.gateway.dialects.responses import RESPONSES, chat_call, conversation_id, response_id
from watchkeeper.engines.gateway.exchange import Exchange
from watchkeeper.engines.gateway.identity import LONGEST, resolve
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.gateway.logbook import Outcome
from watchkeeper.engines.gateway.opaque import UPSTREAM_HEADER
from watchkeeper.engines.gateway.owning import find_for, whose
from watchkeeper.engines.gateway.parts import Parts
from watchkeeper.engines.gateway.replies import Kept
from watchkeeper.engines.gateway.routes import Route
from watchkeeper.engines.gateway.usage import Answer
from watchkeeper.engines.gateway.ways import Way, query_of
from watchkeeper.engines.gateway.wire import check_media, read_fields, read_model, rewrite, typed
from watchkeeper.records.event import Event, Stage, ToolStep
from watchkeeper.records.identity import Identity, Source
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Operation, Usage

MOST_CALLS = 64
"""How many tool calls of one response are remembered."""

_log = logging.getLogger("watchkeeper.gateway")


class StoredCall(ModelCall):
    """A call of POST /v1/responses: it may continue a response that the provider keeps, and may become one."""

    _before: Kept | None = None
    _talk: Kept | None = None
    _stored = True

    async def _recall(self, head: Head) -> None:
        """Find the response that is continued; raises a 404 when it is of another tenant.

        A chain of responses is one session where the caller names none, so that its loops can be seen.
        """
        self._stored = typed(head.fields, "store", bool, "true or false") is not False
        logbook = self.logbook
        talk = conversation_of(head.fields)
        if talk is not None:
            self._talk = await find_for(self.parts, talk, logbook.identity, "conversation")
        earlier = typed(head.fields, "previous_response_id", str, "the id of a response")
        if not earlier:
            return
        logbook.attributes["watchkeeper.response.previous"] = earlier[:LONGEST]
        self._before = before = await find_for(self.parts, earlier, logbook.identity)
        if before is not None and logbook.identity.session is None:
            session = before.session or before.root[:LONGEST]
            sources = {**logbook.identity.sources, "session": Source.BODY}
            logbook.identity = msgspec.structs.replace(logbook.identity, session=session, sources=sources)

    def _held_by(self) -> str | None:
        """A response that is continued, or a conversation, lies with the upstream that gave it."""
        held = self._before or self._talk
        return None if held is None else held.upstream

    def _input_bound(self, head: Head, body: bytes, to: Route) -> int | None:
        """With what stands in the context of the earlier response, which another model would count in another way."""
        before = self._before
        earlier = before.tokens if before is not None and before.model == to.model else None
        return self.dialect.input_bound(body, head, to.spec.max_input_tokens, earlier)

    def _steps(self, head: Head) -> tuple[ToolStep, ...]:
        if not self.parts.chain.wants_steps:
            return ()
        calls = () if self._before is None else self._before.calls
        return RESPONSES.steps(head, self.logbook.identity.agent, calls)

    async def _conclude(self, outcome: Outcome) -> None:
        kept = self._kept(outcome) if self._stored else None
        await super()._conclude(outcome)
        if kept is not None:
            self.parts.replies.keep(kept)

    def _kept(self, outcome: Outcome) -> Kept | None:
        """What to remember of the response, None where the provider gave none."""
        answer, logbook = outcome.answer, self.logbook
        if answer.response_id is None or logbook.spec is None or (outcome.http_status or 0) >= 400:
            return None
        before = self._before
        return Kept(
            response_id=answer.response_id,
            at_ns=logbook.start_ns,
            tenant=logbook.identity.tenant,
            session=logbook.identity.session,
            upstream=logbook.spec.name,
            model=logbook.sent_model or "",
            request_model=logbook.request_model or "",
            trace_id=logbook.trace.trace_id,
            span_id=logbook.span_id,
            root=answer.response_id if before is None else before.root,
            tokens=context_tokens(answer),
            calls=calls_of(answer),
            pending=answer.usage.output_tokens is None,
            limits=() if self.key is None else self.key.limits,
        )

    def _note_unsettled(self, outcome: Outcome) -> None:
        if not self._stored or outcome.answer.response_id is None:
            super()._note_unsettled(outcome)
            return
        self.logbook.attributes["watchkeeper.charged"] = "as reserved, until the response is retrieved"


class CompactCall(StoredCall):
    """A call of POST /v1/responses/compact: it may read a response that the provider keeps, and becomes none."""

    async def _recall(self, head: Head) -> None:
        await super()._recall(head)
        self._stored = False


class AsideCall(Call):
    """A call that costs nothing: about a response that is kept, about a conversation, or about how long a request is.

    The first retrieval that finds a response at its end settles what was reserved for it and carries its usage; no
    other does, so that nothing is counted twice.
    """

    def __init__(self, parts: Parts, exchange: Exchange, key: Key | None, dialect: Dialect, way: Way) -> None:
        super().__init__(parts, exchange, key, Operation.PASSTHROUGH)
        self.dialect, self._way, self._free = dialect, way, True
        self._about: Kept | None = None
        self._talk: Kept | None = None

    async def _go(self) -> None:
        exchange, parts, logbook = self.exchange, self.parts, self.logbook
        suffix = self._way.suffix or ""
        logbook.attributes["http.request.method"] = exchange.method
        logbook.attributes["url.path"] = exchange.path[:500]
        logbook.attributes["watchkeeper.dialect"] = self.dialect.name
        body = await self._read()
        logbook.identity = parts.private(resolve(exchange.headers, self.key, {}))
        about = response_id(suffix)
        if about is not None:
            self._about = await find_for(parts, about, logbook.identity)
        talk = conversation_id(suffix)
        if talk is not None:
            self._talk = await find_for(parts, talk, logbook.identity, "conversation")
        body = self._find_upstream(body)
        if body and about is None:  # a count may read what the provider keeps too
            fields = read_fields(body)
            earlier = typed(fields, "previous_response_id", str, "the id of a response")
            if earlier:
                await find_for(parts, earlier, logbook.identity)
            spoken = conversation_of(fields)
            if spoken is not None:
                await find_for(parts, spoken, logbook.identity, "conversation")
        if parts.chain.wants(Stage.REQUEST) or self._limited():
            ruling = await self._ask_policies(FREE, ())
            body = body if ruling.amendment is None else ruling.amendment
        await self._pass_on(quote(suffix, safe="/:@!$&'()*+,;=~%"), body, query_of(exchange.query, self._way))

    def _find_upstream(self, body: bytes) -> bytes:
        """Where the response lies, or what serves the model that the body names; returns the bytes to send on."""
        exchange, routes, logbook, about = self.exchange, self.parts.routes, self.logbook, self._about
        if about is not None:
            logbook.request_model, logbook.sent_model = about.request_model or None, about.model or None
            logbook.attributes["watchkeeper.response.span"] = about.span_id
            known = [spec for spec in self.parts.settings.upstreams if spec.name == about.upstream]
            if known:
                logbook.spec = known[0]
                return body
        if body and about is None:
            check_media(exchange.headers.get(b"content-type"))
            fields = read_fields(body)
            logbook.identity = self.parts.private(resolve(exchange.headers, self.key, fields))
            if "model" in fields:
                model = read_model(fields)
                logbook.request_model = model[:200]
                route = routes.find(model)
                logbook.route(route)
                return rewrite(body, fields, {"model": as_json(route.model)}) if route.model != model else body
        lies = None if self._talk is None else self._talk.upstream
        there = [spec for spec in self.parts.settings.upstreams if spec.name == lies]
        if there:
            logbook.spec = there[0]
            return body
        named = exchange.headers.get(UPSTREAM_HEADER)
        logbook.spec = routes.fallback(None if named is None else named.decode("latin-1"))
        return body

    async def _conclude(self, outcome: Outcome) -> None:
        """Settle the response that was asked about if this is how it ended; else its usage is none of this call's."""
        about, answer = self._about, outcome.answer
        usage = answer.usage
        self._keep_conversation(outcome)
        ended = about is not None and about.pending and answer.response_id == about.response_id
        if about is None or not ended or usage.output_tokens is None or not await self._settles(about, answer):
            answer.usage = Usage()
        else:
            event = Event(
                stage=Stage.REQUEST,
                at_ns=about.at_ns,
                trace_id=about.trace_id,
                span_id=about.span_id,
                identity=Identity(tenant=about.tenant),
                limits=about.limits,
                model=about.model,
                upstream=about.upstream,
            )
            self.logbook.attributes["watchkeeper.response.settled"] = True
            charged = self._cost(outcome, usage)
            self.parts.books.begin(self.parts.chain.settle(event, usage, charged), about.span_id)
        await super()._conclude(outcome)

    def _keep_conversation(self, outcome: Outcome) -> None:
        """Remember whose conversation was begun; what is kept of it is where it lies and whose it is."""
        logbook, made = self.logbook, outcome.answer.response_id
        begun = self.exchange.method == "POST" and self._way.suffix == "/conversations"
        if not begun or made is None or logbook.spec is None or (outcome.http_status or 0) >= 400:
            return
        self.parts.replies.keep(whose(logbook, made, lasting=True))

    async def _settles(self, about: Kept, answer: Answer) -> bool:
        """Whether this call is the one that saw the response end; with the store out of reach the next one will be."""
        try:
            return await self.parts.replies.settled(about, context_tokens(answer), calls_of(answer))
        except Exception:  # noqa: BLE001 - a store may fail in any way; the charge stands until a later retrieval
            _log.exception("the response %s ended, but that could not be noted", about.response_id[:100])
            return False


def conversation_of(fields: Mapping[str, msgspec.Raw]) -> str | None:
    """The conversation that a request goes on with: `conversation` is its id, or an object that holds it."""
    if "conversation" not in fields:
        return None
    try:
        named = msgspec.json.decode(fields["conversation"])
    except msgspec.DecodeError:
        return None
    found = named.get("id") if isinstance(named, dict) else named
    return found if isinstance(found, str) and found else None


def context_tokens(answer: Answer) -> int | None:
    """What a continuation of a response reads again at most: all that went in, and all that came out."""
    inward, outward = answer.usage.input_tokens, answer.usage.output_tokens
    return None if inward is None or outward is None else inward + outward


def calls_of(answer: Answer) -> tuple[ToolStep, ...]:
    """The tool calls that a response ends with, which its continuation answers; their arguments as digests."""
    calls = [(tool.call_id, tool.name, tool.arguments) for tool in answer.tools if tool.call_id]
    return tool_steps([chat_call(*call) for call in calls[:MOST_CALLS]], None)
