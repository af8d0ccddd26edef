"""The durable state of a job, as its cell holds it, and how it is told: as a record, as events, as an answer."""

from __future__ import annotations

from typing import Any

import msgspec

from watchkeeper.engines.gateway.keyed import Keyed
from watchkeeper.engines.gateway.presence import Holder
from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.job import Check, Job, JobOutcome, Transport
from watchkeeper.records.record import Record

PREFIX = "job/"
OPEN = "job-open/"
"""One marker for each job that has not ended, so that finding those takes no look at the others."""
MOST_EVENTS = 500


class StepState(Record):
    """What one step gave: a call its `reply` (where its bytes lie, or why they are not kept), a question its `text`, an
    effect its `receipt` (JSON text).
    """

    name: str
    kind: str
    status: str
    text: str | None = None
    reply: Keyed | None = None
    receipt: str | None = None
    effect_id: str | None = None


class Event(Record):
    """Something that a watcher of the job is told; `seq` counts from 1."""

    seq: int
    at_ns: int
    type: str
    step: str | None = None
    message: str | None = None
    progress: float | None = None


class JobState(Record):
    """A job. Times are unix nanoseconds; `progress_ns` is when it last moved.

    `digest` is of the submission, `body` where that lies; `held` is the process that runs it.
    """

    job_id: str
    digest: str
    submitted_ns: int
    progress_ns: int
    trace_id: str
    identity: Identity
    run: str
    body: Body
    house: str
    start_within_s: float
    stall_s: float
    require: str = "any"
    name: str | None = None
    webhook: str | None = None
    status: str = Transport.QUEUED
    outcome: str | None = None
    revision: int = 0
    step: int = 0
    step_names: tuple[str, ...] = ()
    results: tuple[StepState, ...] = ()
    checks: tuple[Check, ...] = ()
    events: tuple[Event, ...] = ()
    question: str | None = None
    answer: str | None = None
    retry_unknown: bool = False
    progress: float | None = None
    stop_reason: str | None = None
    message: str | None = None
    model: str | None = None
    cost_usd: float | None = None
    held: Holder | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will become of it by itself."""
        return self.status == Transport.ENDED

    @property
    def current(self) -> str | None:
        """The name of the step under way."""
        return self.step_names[self.step] if self.step < len(self.step_names) and not self.ended else None


def moved(state: JobState, now_ns: int, event: str, **changes: Any) -> JobState:
    """The next state of a job, with an event that tells of it."""
    after: JobState = msgspec.structs.replace(state, **changes, revision=state.revision + 1, progress_ns=now_ns)
    last = state.events[-1].seq if state.events else 0
    told = Event(
        seq=last + 1,
        at_ns=now_ns,
        type=event,
        step=after.current,
        message=after.message,
        progress=after.progress,
    )
    return msgspec.structs.replace(after, events=(*state.events, told)[-MOST_EVENTS:])


def ended(state: JobState, now_ns: int, outcome: JobOutcome, reason: str, message: str, **changes: Any) -> JobState:
    """A job that has come to its end, with what is known of its result and why it ended."""
    event = f"job.{outcome.value}"
    done = 1.0 if outcome in (JobOutcome.COMPLETED_VERIFIED, JobOutcome.COMPLETED_UNVERIFIED) else state.progress
    return moved(
        state, now_ns, event, **{"progress": done, **changes}, status=Transport.ENDED, outcome=outcome.value,
        stop_reason=reason, message=message, held=None, question=None,
    )  # fmt: skip


def record_of(state: JobState) -> Job:
    """The record of a job as it stands."""
    return Job(
        job_id=state.job_id,
        kind=state.name or "job",
        at_ns=state.progress_ns,
        status=state.status,
        outcome=state.outcome,
        revision=state.revision,
        progress=state.progress,
        message=state.message,
        submitted_ns=state.submitted_ns,
        identity=state.identity,
        step=state.current,
        steps=len(state.step_names),
        stop_reason=state.stop_reason,
        model=state.model,
        cost_usd=state.cost_usd,
        trace_id=state.trace_id,
        checks=told_checks(state),
        bodies=(state.body,),
    )


def told_checks(state: JobState, strict: bool = False) -> tuple[Check, ...]:
    """The checks as they may be told: why one did not hold may quote the output, which not everybody is to have."""
    if state.outcome == JobOutcome.COMPLETED_VERIFIED or not (strict or state.require == "verified"):
        return state.checks
    return tuple(msgspec.structs.replace(check, explanation="", label=None) for check in state.checks)


def shown(state: JobState, strict: bool = False) -> dict[str, Any]:
    """A job as the API answers it, without its output; `strict` is for who takes nothing but verified output."""
    return {
        "id": state.job_id,
        "object": "job",
        "name": state.name,
        "status": state.status,
        "outcome": state.outcome,
        "verified": state.outcome == JobOutcome.COMPLETED_VERIFIED,
        "require": state.require,
        "stop_reason": state.stop_reason,
        "message": state.message,
        "progress": state.progress,
        "step": state.current,
        "steps": [_step(state, number) for number in range(len(state.step_names))],
        "question": state.question,
        "checks": [msgspec.to_builtins(check) for check in told_checks(state, strict)],
        "model": state.model,
        "cost_usd": state.cost_usd,
        "run": state.run,
        "trace_id": state.trace_id,
        "trace_url": f"/ui/traces/{state.trace_id}",
        "submitted_ns": state.submitted_ns,
        "progress_ns": state.progress_ns,
        "revision": state.revision,
    }


def told(state: JobState, event: Event) -> dict[str, Any]:
    """An event as watchers and webhooks are told of it: never with any output of a model."""
    latest = bool(state.events) and state.events[-1].seq == event.seq
    return {
        "id": state.job_id,
        "seq": event.seq,
        "type": event.type,
        "at_ns": event.at_ns,
        "status": state.status if latest else None,
        "outcome": state.outcome if latest else None,
        "step": event.step,
        "progress": event.progress,
        "message": event.message,
        "trace_id": state.trace_id,
    }


def _step(state: JobState, number: int) -> dict[str, Any]:
    name = state.step_names[number]
    for result in state.results:
        if result.name == name:
            return {
                "name": name,
                "kind": result.kind,
                "status": result.status,
                "span_id": None if result.reply is None else result.reply.span_id,
                "http_status": None if result.reply is None else result.reply.status,
                "effect_id": result.effect_id,
                "receipt": None if result.receipt is None else msgspec.Raw(result.receipt.encode()),
            }
    waiting = "running" if state.current == name and state.status != Transport.QUEUED else "planned"
    return {"name": name, "status": "not reached" if state.ended else waiting}
