"""Says whether what a job declared holds: each postcondition is asked, and one that cannot be judged does not hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from watchkeeper.analysis.replies import told
from watchkeeper.engines.jobs.effects import EffectLedger, Wish
from watchkeeper.engines.jobs.shapes import SentCondition, SentJob
from watchkeeper.engines.jobs.state import JobState
from watchkeeper.records.effect import Progress
from watchkeeper.records.job import Check
from watchkeeper.records.record import Record, as_json

REFUSED = frozenset({"content_filter", "refusal", "safety", "SAFETY"})


class Output(Record):
    """What one step gave, as scorers and later steps read it: text, tool calls as JSON text, why it ended, model."""

    text: str
    calls: str | None = None
    finish_reason: str | None = None
    model: str | None = None


Judge = Callable[[SentCondition, Output | None, JobState], Awaitable[Check]]
"""Asks a scorer or policy about an output; never raises."""


def output_of(body: bytes) -> Output:
    """What a whole reply says; a reply that is no JSON object is its own text."""
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Output(text=body.decode("utf-8", "replace"))
    if not isinstance(plain, dict):
        return Output(text=body.decode("utf-8", "replace"))
    said = told(plain)
    calls = [{"name": tool.name, "arguments": tool.arguments} for tool in said.tools]
    refused = next((reason for reason in said.finish_reasons if reason in REFUSED), None)
    return Output(
        text=said.text,
        calls=as_json(calls).decode() if calls else None,
        finish_reason=refused or (said.finish_reasons[0] if said.finish_reasons else None),
        model=said.model,
    )


async def verify(
    job: SentJob, state: JobState, outputs: Mapping[str, Output], effects: EffectLedger, judge: Judge
) -> Sequence[Check]:
    """All postconditions of a job, each with whether it held and why."""
    calls = [step.name for step in job.planned() if step.request is not None]
    checks = []
    for condition in job.postconditions:
        if condition.effect is not None:
            checks.append(await _receipt(job, condition, state, effects))
            continue
        step = condition.step or (calls[-1] if calls else None)
        checks.append(await judge(condition, outputs.get(step or ""), state))
    return checks


def wish_of(job: SentJob, state: JobState, step: str) -> Wish:
    """The four names of an effect that a job's step waits for, as its claimant gives them."""
    declared = next(each.effect for each in job.planned() if each.name == step)
    assert declared is not None
    return Wish(
        run=state.run,
        step=step,
        tool=declared.tool,
        object=declared.object,
        claim="",
        lease_ns=0,
        identity=state.identity,
    )


async def _receipt(job: SentJob, condition: SentCondition, state: JobState, effects: EffectLedger) -> Check:
    from watchkeeper.engines.gateway.errors import Refusal

    assert condition.effect is not None
    name = condition.name or f"effect:{condition.effect}"
    try:
        held = await effects.get(wish_of(job, state, condition.effect).effect_id)
    except Refusal:
        return Check(name=name, held=False, explanation="nobody has claimed this effect")
    status = held.effect.status
    receipt = held.effect.receipt
    if status == Progress.DONE:
        said = "it is done, and its receipt is on record" if receipt else "it is done; its claimant gave no receipt"
        return Check(name=name, held=True, explanation=said)
    unknown = status in (Progress.PLANNED, Progress.UNKNOWN)
    return Check(name=name, held=None if unknown else False, explanation=f"the effect is {status}")
