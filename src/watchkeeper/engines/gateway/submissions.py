"""What callers may send to the record: scores, outcomes, feedback, sessions and events, in strict shapes.

Each shape is decoded with its types and limits, so that a wrong field is named in the answer, and turns into records.
An id that the caller supplies makes sending twice harmless; ids of other tenants than the default are kept apart by
their prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from watchkeeper.engines.decide.fold import normal, result_of, sketch_of
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.identity import Trace
from watchkeeper.records.drop import Drop
from watchkeeper.records.event import Bound, Event, Stage, ToolStep
from watchkeeper.records.identity import Identity, Source
from watchkeeper.records.ids import digest, is_span_id, is_trace_id, new_id, new_span_id
from watchkeeper.records.record import Record, Scalar
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session

Name = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=100_000)]
Moment = int | str
Attributes = Annotated[dict[Annotated[str, Meta(max_length=200)], Scalar], Meta(max_length=64)]
_EARLIEST_NS = 10**17
_LATEST_NS = 1 << 62
_MOST_AT_ONCE = 10_000


class Sent(Record, forbid_unknown_fields=True):
    """A body; a field that is not known is an error, because it is most often one that was misspelt."""


class SentScore(Sent):
    """A judgment: `value` or `label`, of a subject. Times are ISO 8601 with a zone or unix nanoseconds."""

    subject_kind: Literal["span", "trace", "session", "run", "case", "document"]
    subject_id: Name
    name: Name
    value: bool | float | None = None
    label: Annotated[str, Meta(max_length=1000)] | None = None
    explanation: Text | None = None
    scorer: Name = "person"
    version: Annotated[str, Meta(max_length=200)] = ""
    parameters: Annotated[str, Meta(max_length=200)] = ""
    trace_id: Name | None = None
    session: Name | None = None
    experiment_id: Name | None = None
    worth_usd: float | None = None
    propensity: Annotated[float, Meta(gt=0, le=1)] = 1.0
    attributes: Attributes = {}
    id: Name | None = None
    at: Moment | None = None


class SentOutcome(Sent):
    """How a session ended for its user; `value` is what that was worth in US dollars.

    Without an `id` a session has one outcome, and sending another restates it.
    """

    session: Name
    success: bool
    value: float | None = None
    explanation: Text | None = None
    trace_id: Name | None = None
    attributes: Attributes = {}
    id: Name | None = None
    at: Moment | None = None


class SentFeedback(Sent):
    """What a person did with the output of a span: took it as it was, edited it (`diff` says how), or rejected it."""

    span: Name
    verdict: Literal["accepted", "edited", "rejected"]
    diff: Text | None = None
    trace_id: Name | None = None
    session: Name | None = None
    attributes: Attributes = {}
    id: Name | None = None
    at: Moment | None = None


class SentSession(Sent):
    """A session as it is declared; a higher `version` replaces a lower one."""

    session: Name
    user: Name | None = None
    name: Name | None = None
    journey: Name | None = None
    version: Annotated[int, Meta(ge=0, lt=1 << 62)] | None = None
    at: Moment | None = None


class SentLoss(Sent):
    """What a program could not deliver, for the drop ledger: how many of what, why, and from when to when."""

    what: Annotated[str, Meta(min_length=1, max_length=40, pattern="^[a-z_]+$")]
    reason: Annotated[str, Meta(min_length=1, max_length=80, pattern="^[a-z_]+$")]
    count: Annotated[int, Meta(ge=1, lt=1 << 53)]
    first: Moment | None = None
    last: Moment | None = None
    detail: Annotated[str, Meta(max_length=300)] | None = None
    id: Name | None = None


class SentStep(Sent):
    """A tool call that was made before: digests of its arguments and, once it is known, of its result.

    `sketch` and `gist` let a loop be seen whose arguments or results differ a little each time; the SDK sends them.
    """

    tool: Name
    arguments: Name
    agent: Name | None = None
    result: Name | None = None
    call_id: Annotated[str, Meta(max_length=200)] = ""
    sketch: Annotated[str, Meta(max_length=2000)] = ""
    gist: Annotated[str, Meta(max_length=200)] = ""


class SentIdentity(Sent):
    """Whom an event belongs to, as far as key and headers do not say."""

    user: Name | None = None
    session: Name | None = None
    run: Name | None = None
    agent: Name | None = None


class SentUsage(Sent):
    """What a call came to use; `cost_usd` is what that cost, where it is known."""

    input_tokens: Annotated[int, Meta(ge=0)]
    output_tokens: Annotated[int, Meta(ge=0)]
    cost_usd: Annotated[float, Meta(ge=0)] | None = None


class SentEvent(Sent):
    """An event to rule on.

    A tool call is given by `tool` and either `steps`, the last of which is the pending call, or its plain `arguments`
    (and `result`), which are digested here. A "reply" with `usage` and the `span_id` of a "request" that was ruled on
    here settles what that request reserved.
    """

    stage: Literal["route", "request", "reply", "tool_call", "tool_result", "intake"]
    trace_id: str | None = None
    span_id: str | None = None
    model: Name | None = None
    tool: Name | None = None
    steps: Annotated[tuple[SentStep, ...], Meta(max_length=500)] = ()
    arguments: Any = msgspec.UNSET
    result: Any = msgspec.UNSET
    identity: SentIdentity = SentIdentity()
    bound: Bound | None = None
    usage: SentUsage | None = None
    attributes: Attributes = {}


S = TypeVar("S", bound=Sent)


def read(body: bytes, kind: type[S]) -> tuple[list[S], bool]:
    """Decode one object or a list of them; says whether it was a list.

    Raises a 400 for what is no JSON and a 422 that names the field for what has the wrong shape.
    """
    many = body.lstrip()[:1] == b"["
    try:
        if not many:
            return [msgspec.json.decode(body, type=kind)], False
        found = msgspec.json.decode(body, type=list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        raise _wrong_field(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(
            400, "invalid_json", f"The body is not valid JSON: {error}. Send one JSON object or a list."
        ) from error
    if len(found) > _MOST_AT_ONCE:
        raise Refusal(
            413, "too_many", f"The list has {len(found):,} items, at most {_MOST_AT_ONCE:,} are taken at once."
        )
    return found, True


def _wrong_field(problem: str) -> Refusal:
    reason, _, place = problem.partition(" - at `")
    field = ".".join(part for part in (place.rstrip("`").removeprefix("$").lstrip("."), _quoted(reason)) if part)
    where = f"The field {field!r} is wrong" if field else "The body is wrong"
    return Refusal(422, "invalid_field", f"{where}: {reason[0].lower()}{reason[1:]}.", param=field or None)


def _quoted(reason: str) -> str:
    parts = reason.split("`")
    return parts[1] if len(parts) > 2 and "field" in parts[0] else ""


def score_of(sent: SentScore, identity: Identity, now_ns: int) -> Score:
    """The record of a score; raises a 422 when it says nothing."""
    if sent.value is None and sent.label is None:
        raise Refusal(422, "invalid_field", "A score needs a value or a label; this one has neither.", param="value")
    event_ns = moment(sent.at, now_ns, "at")
    return Score(
        score_id=own_id(sent.id, identity) or new_id("scr", now_ns),
        subject_kind=sent.subject_kind,
        subject_id=sent.subject_id,
        name=sent.name,
        at_ns=now_ns,
        event_ns=event_ns,
        value=None if sent.value is None else float(sent.value),
        label=sent.label,
        explanation=sent.explanation,
        scorer=sent.scorer,
        version=sent.version,
        parameters=sent.parameters,
        trace_id=sent.subject_id if sent.subject_kind == "trace" else sent.trace_id,
        session=sent.session or (sent.subject_id if sent.subject_kind == "session" else identity.session),
        experiment_id=sent.experiment_id,
        worth_usd=sent.worth_usd,
        propensity=sent.propensity,
        attributes=_attributed(sent.attributes, identity),
    )


def outcome_of(sent: SentOutcome, identity: Identity, now_ns: int) -> Score:
    """The record of an outcome: a score named "outcome" of a session, 1.0 for success."""
    named = own_id(sent.id, identity)
    return Score(
        score_id=named or f"out_{digest(f'{identity.tenant}/{sent.session}'.encode())}",
        subject_kind="session",
        subject_id=sent.session,
        name="outcome",
        at_ns=now_ns,
        event_ns=moment(sent.at, now_ns, "at"),
        value=1.0 if sent.success else 0.0,
        explanation=sent.explanation,
        trace_id=sent.trace_id,
        session=sent.session,
        worth_usd=sent.value,
        attributes=_attributed(sent.attributes, identity),
    )


def feedback_of(sent: SentFeedback, identity: Identity, now_ns: int) -> Score:
    """The record of a feedback: a score named "feedback" of a span.

    The label is the verdict, the value whether the output was taken as it was; the diff stands in the explanation.
    """
    if not is_span_id(sent.span):
        raise not_an_id("span", sent.span, 16)
    return Score(
        score_id=own_id(sent.id, identity) or new_id("fbk", now_ns),
        subject_kind="span",
        subject_id=sent.span,
        name="feedback",
        at_ns=now_ns,
        event_ns=moment(sent.at, now_ns, "at"),
        value=1.0 if sent.verdict == "accepted" else 0.0,
        label=sent.verdict,
        explanation=sent.diff,
        trace_id=sent.trace_id,
        session=sent.session or identity.session,
        attributes=_attributed(sent.attributes, identity),
    )


def session_of(sent: SentSession, identity: Identity, now_ns: int) -> Session:
    """The record of a session; a later declaration without a version counts as a later state."""
    return Session(
        session_id=sent.session,
        at_ns=moment(sent.at, now_ns, "at"),
        version=now_ns if sent.version is None else sent.version,
        user=sent.user or identity.user,
        name=sent.name,
        journey=sent.journey,
    )


def event_of(sent: SentEvent, identity: Identity, trace: Trace, now_ns: int) -> Event:
    """The event to rule on. Key and headers come first in its identity; the body fills what they leave open."""
    if sent.trace_id is not None and not is_trace_id(sent.trace_id):
        raise not_an_id("trace_id", sent.trace_id, 32)
    if sent.span_id is not None and not is_span_id(sent.span_id):
        raise not_an_id("span_id", sent.span_id, 16)
    identity = with_claims(identity, sent.identity)
    steps = tuple(
        ToolStep(
            agent=s.agent or identity.agent,
            tool=s.tool,
            arguments=s.arguments,
            result=s.result,
            call_id=s.call_id,
            sketch=s.sketch,
            gist=s.gist,
        )
        for s in sent.steps
    )
    span_id = sent.span_id or new_span_id()
    if not steps and sent.tool is not None and sent.arguments is not msgspec.UNSET:
        result, gist = (None, "") if sent.result is msgspec.UNSET else result_of(sent.result)
        steps = (
            ToolStep(
                agent=identity.agent,
                tool=sent.tool,
                arguments=normal(sent.arguments),
                result=result,
                call_id=f"span:{span_id}",
                sketch=sketch_of(sent.arguments),
                gist=gist,
            ),
        )
    return Event(
        stage=Stage(sent.stage),
        at_ns=now_ns,
        trace_id=sent.trace_id or trace.trace_id,
        span_id=span_id,
        identity=identity,
        model=sent.model,
        tool=sent.tool,
        steps=steps,
        bound=sent.bound,
        attributes=sent.attributes,
    )


def moment(value: Moment | None, now_ns: int, field: str) -> int:
    """A time as unix nanoseconds: given so, or as ISO 8601 with a zone; None is now. Raises a 422 for anything else."""
    if value is None:
        return now_ns
    if isinstance(value, int):
        if _EARLIEST_NS <= value < _LATEST_NS:
            return value
        raise _wrong_time(field, value)
    try:
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise _wrong_time(field, value)
        return int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1_000
    except (ValueError, OverflowError, OSError) as error:
        raise _wrong_time(field, value) from error


def _wrong_time(field: str, value: Moment) -> Refusal:
    shown = str(value)[:50]
    return Refusal(
        422,
        "invalid_field",
        f"The field {field!r} is {shown!r}; a time is ISO 8601 with a zone (2026-01-31T12:00:00Z) or unix ns.",
        param=field,
    )


def not_an_id(field: str, value: str, digits: int) -> Refusal:
    """The 422 for an id that is none."""
    shown = value[:50]
    return Refusal(
        422,
        "invalid_field",
        f"The field {field!r} is {shown!r}; it should be {digits} lower-case hex digits.",
        param=field,
    )


def own_id(supplied: str | None, identity: Identity) -> str | None:
    """An id that a caller supplied; those of other tenants than the default are kept apart by their prefix."""
    if supplied is None or identity.tenant == "default":
        return supplied
    return f"{identity.tenant}:{supplied}"


def _attributed(given: dict[str, Scalar], identity: Identity) -> dict[str, Scalar]:
    """A sender's attributes with whose they are: by the key alone, so that nobody writes into another tenant's view."""
    plain = {name: value for name, value in given.items() if name not in ("watchkeeper.key", "watchkeeper.tenant")}
    if identity.key is None:
        return plain
    return plain | {"watchkeeper.key": identity.key, "watchkeeper.tenant": identity.tenant}


def with_claims(identity: Identity, claims: SentIdentity) -> Identity:
    """An identity with what a body says of it, where key and headers left it open."""
    said = {name: value for name, value in msgspec.structs.asdict(claims).items() if value is not None}
    new = {name: value for name, value in said.items() if getattr(identity, name) is None}
    if not new:
        return identity
    return msgspec.structs.replace(identity, **new, sources=identity.sources | dict.fromkeys(new, Source.BODY.value))


def loss_of(sent: SentLoss, identity: Identity, now_ns: int) -> Drop:
    """The entry of the drop ledger for what a program could not deliver."""
    first_ns = moment(sent.first, now_ns, "first")
    return Drop(
        what=sent.what,
        reason=sent.reason,
        count=sent.count,
        first_ns=first_ns,
        last_ns=max(first_ns, moment(sent.last, now_ns, "last")),
        door="sdk",
        detail=sent.detail,
        drop_id=own_id(sent.id, identity) or new_id("drp", now_ns),
    )


Maker = Callable[[Any, Identity, int], Record]
SHAPES: Mapping[str, tuple[type[Sent], Maker, str]] = {
    "/api/v1/scores": (SentScore, score_of, "score_id"),
    "/api/v1/outcomes": (SentOutcome, outcome_of, "score_id"),
    "/api/v1/feedback": (SentFeedback, feedback_of, "score_id"),
    "/api/v1/sessions": (SentSession, session_of, "session_id"),
    "/api/v1/losses": (SentLoss, loss_of, "drop_id"),
}
"""Each door's path with the shape of its bodies, what makes records of them, and where the record's id is."""
