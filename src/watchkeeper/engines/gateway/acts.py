"""What programs may send to the record of what agents did: effects, and rulings that were made in their own process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from watchkeeper.engines.gateway.submissions import (
    Attributes,
    Maker,
    Moment,
    Name,
    Sent,
    SentIdentity,
    moment,
    not_an_id,
    own_id,
    with_claims,
)
from watchkeeper.records.decision import Decision
from watchkeeper.records.effect import Effect, Progress
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import is_span_id, is_trace_id, new_id

OWN_PROCESS = "watchkeeper.ruled_in"
"""The fact that says a ruling was not made here but reported by the program that made it."""

_REVISION = {Progress.PLANNED: 0, Progress.DONE: 1, Progress.FAILED: 1, Progress.UNDONE: 2}


class SentEffect(Sent):
    """A side effect: "planned" before it is carried out, then again under the same `id` with what came of it.

    `key` is its idempotency key. What stays planned may have happened or not, and is counted as unsettled.
    """

    id: Name
    key: Name
    tool: Name
    status: Literal["planned", "done", "failed", "undone"] = "planned"
    target: Name | None = None
    count: Annotated[int, Meta(ge=0, lt=1 << 53)] = 1
    amount_usd: float | None = None
    reversible: bool | None = None
    detail: Annotated[str, Meta(max_length=2000)] | None = None
    trace_id: str | None = None
    span_id: str | None = None
    identity: SentIdentity = SentIdentity()
    door: Literal["api", "sdk"] = "api"
    at: Moment | None = None
    settled_at: Moment | None = None


class SentDecision(Sent):
    """A ruling of a policy in the program's own process."""

    id: Name
    verdict: Literal["allow", "amend", "deny", "hold", "retry"]
    reason: Name
    policy: Name
    sentence: Annotated[str, Meta(max_length=2000)] = ""
    version: Annotated[str, Meta(max_length=200)] = ""
    instance: Annotated[str, Meta(max_length=200)] = ""
    mode: Literal["shadow", "enforce"] = "enforce"
    stage: Literal["route", "request", "reply", "chunk", "tool_call", "tool_result", "intake"] = "tool_call"
    tool: Name | None = None
    model: Name | None = None
    trace_id: str | None = None
    span_id: str | None = None
    facts: Attributes = {}
    identity: SentIdentity = SentIdentity()
    at: Moment | None = None


def effect_of(sent: SentEffect, identity: Identity, now_ns: int) -> Effect:
    """The record of an effect; its revision is 0 while it is planned, 1 once it is settled, 2 when it was undone."""
    _check_ids(sent.trace_id, sent.span_id)
    status = Progress(sent.status)
    return Effect(
        effect_id=own_id(sent.id, identity) or sent.id,
        key=sent.key,
        tool=sent.tool,
        at_ns=moment(sent.at, now_ns, "at"),
        status=status,
        identity=with_claims(identity, sent.identity),
        trace_id=sent.trace_id,
        span_id=sent.span_id,
        reversible=sent.reversible,
        amount_usd=sent.amount_usd,
        revision=_REVISION[status],
        settled_ns=None if status is Progress.PLANNED else moment(sent.settled_at, now_ns, "settled_at"),
        target=sent.target,
        count=sent.count,
        detail=sent.detail,
        door=sent.door,
    )


def decision_of(sent: SentDecision, identity: Identity, now_ns: int) -> Decision:
    """The record of a ruling that was made elsewhere; its facts say so."""
    _check_ids(sent.trace_id, sent.span_id)
    return Decision(
        verdict=sent.verdict,
        reason=sent.reason,
        sentence=sent.sentence,
        decision_id=own_id(sent.id, identity) or new_id("dec", now_ns),
        policy=sent.policy,
        version=sent.version,
        instance=sent.instance or sent.policy,
        mode=sent.mode,
        stage=sent.stage,
        at_ns=moment(sent.at, now_ns, "at"),
        trace_id=sent.trace_id,
        span_id=sent.span_id,
        identity=with_claims(identity, sent.identity),
        model=sent.model,
        tool=sent.tool,
        facts={**sent.facts, OWN_PROCESS: "the caller's process"},
    )


def _check_ids(trace_id: str | None, span_id: str | None) -> None:
    if trace_id is not None and not is_trace_id(trace_id):
        raise not_an_id("trace_id", trace_id, 32)
    if span_id is not None and not is_span_id(span_id):
        raise not_an_id("span_id", span_id, 16)


SHAPES: Mapping[str, tuple[type[Sent], Maker, str]] = {
    "/api/v1/effects": (SentEffect, effect_of, "effect_id"),
    "/api/v1/decisions": (SentDecision, decision_of, "decision_id"),
}
