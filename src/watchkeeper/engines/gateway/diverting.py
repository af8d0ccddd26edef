"""Lets the policies rule on where a call goes, before it is settled which model is asked.

A call that is diverted goes on with the plan of the other model: its upstreams, its route's rules, its bound and its
composition. The caller is told in a header and the record in an event; the decision says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from watchkeeper.engines.gateway.contracts import declared
from watchkeeper.engines.gateway.errors import NO_RETRY, Refusal
from watchkeeper.engines.gateway.exchange import Exchange
from watchkeeper.engines.gateway.features import declared_features
from watchkeeper.engines.gateway.logbook import Logbook
from watchkeeper.engines.gateway.parts import Parts
from watchkeeper.engines.gateway.ports import Chain
from watchkeeper.engines.gateway.routing import Plan, Routing
from watchkeeper.engines.gateway.settings import Settings, SettingsError
from watchkeeper.records.decision import Decision
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.identity import Identity
from watchkeeper.records.manifest import Manifest

HEADER = b"x-watchkeeper-diverted"
EVENT = "watchkeeper.diverted"


class Wanted(NamedTuple):
    """What a call asks for: the model by the name it uses, its top-level fields, and what would answer it.

    `held_by` is the only upstream that can answer, because it holds what the request refers to.
    """

    model: str
    fields: Mapping[str, msgspec.Raw]
    served: Manifest | None = None
    held_by: str | None = None


async def where_to(parts: Parts, exchange: Exchange, logbook: Logbook, wanted: Wanted, plan: Plan) -> Plan:
    """The plan of a call after the policies ruled on it; raises a 403 when one stops the call.

    What the call declares of itself is kept with it in any case, so that recorded calls can be laid over a map.
    """
    features = declared_features(exchange.headers, wanted.fields, parts.chain.features)
    logbook.attributes.update(features)
    if not parts.chain.wants(Stage.ROUTE):
        return plan
    event = Event(
        stage=Stage.ROUTE,
        at_ns=logbook.start_ns,
        trace_id=logbook.trace.trace_id,
        span_id=logbook.span_id,
        identity=logbook.identity,
        model=wanted.model,
        upstream=plan.first.spec.name,
        attributes={**declared(exchange.headers), **features},
        served=wanted.served,
    )
    ruling = await parts.chain.rule(event)
    logbook.ruled(ruling.decisions)
    parts.measures.decided(ruling.decisions)
    if ruling.stop is not None:
        raise stopped(logbook, ruling.stop)
    return plan if ruling.diverted is None else _other(parts, exchange, logbook, wanted, ruling.diverted)


def stopped(logbook: Logbook, stop: Decision) -> Refusal:
    """The answer to a call that a decision stops."""
    logbook.attributes["watchkeeper.decision"] = stop.decision_id
    return Refusal(
        403,
        stop.reason,
        stop.sentence,
        kind="denied",
        headers=(NO_RETRY, (b"x-watchkeeper-decision", stop.decision_id.encode())),
    )


def routing_of(settings: Settings, chain: Chain) -> Routing:
    """The routes in force; raises `SettingsError` where a policy would divert calls to a model that nobody serves."""
    routing = Routing(settings.upstreams, settings.routes)
    for model in sorted(chain.diverts):
        try:
            routing.plan(model, Identity())
        except Refusal as refusal:
            raise SettingsError(
                f"A policy diverts calls to {model!r}, and that cannot be asked: {refusal.sentence} Name a model of an "
                "upstream, or a route."
            ) from refusal
    return routing


def _other(parts: Parts, exchange: Exchange, logbook: Logbook, wanted: Wanted, decision: Decision) -> Plan:
    instead = decision.instead or ""
    try:
        plan = parts.routing.plan(instead, logbook.identity, wanted.held_by)
    except Refusal as refusal:
        raise Refusal(
            403,
            "cannot_be_diverted",
            f"{decision.sentence} It cannot go there: {refusal.sentence}",
            kind="denied",
            headers=(NO_RETRY, (b"x-watchkeeper-decision", decision.decision_id.encode())),
        ) from refusal
    told = {"from": wanted.model[:200], "to": instead, "reason": decision.reason, "decision": decision.decision_id}
    logbook.happened(EVENT, told)
    reason = decision.reason.encode("ascii", "replace")
    to = instead.encode("ascii", "replace")
    exchange.extra.append((HEADER, b"%b;to=%b;decision=%b" % (reason, to, decision.decision_id.encode())))
    return plan
