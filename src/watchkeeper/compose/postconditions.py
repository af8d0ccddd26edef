"""Builds the judge of jobs' postconditions: scorers and policies by id, with their parameters, over one output."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

from watchkeeper.compose.discovery import build
from watchkeeper.config import Capability, Config, ConfigError
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.jobs.effects import EffectLedger
from watchkeeper.engines.jobs.shapes import SentCondition, SentJob
from watchkeeper.engines.jobs.state import JobState
from watchkeeper.engines.jobs.verifying import Output
from watchkeeper.kinds.ports import Cells
from watchkeeper.kinds.scorer import Mark, Subject
from watchkeeper.records.case import Case
from watchkeeper.records.decision import Decision
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.ids import new_span_id
from watchkeeper.records.job import Check
from watchkeeper.records.record import as_json

SCORER_TIMEOUT_S = 60.0


class Judge:
    """Asks scorers and policies whether a postcondition holds; what cannot be judged has not held."""

    def __init__(
        self,
        config: Config,
        cells: Cells,
        record: Callable[[Decision], None],
        effects: EffectLedger,
    ) -> None:
        """`record` keeps the rulings of policies; scorers are given what `effects` knows of the job's run."""
        self._config, self._cells, self._record, self._effects = config, cells, record, effects

    def check(self, job: SentJob) -> None:
        """Whether all postconditions of a job can be asked; raises a 422 naming the one that cannot."""
        for number, each in enumerate(job.postconditions):
            try:
                self._build(each)
            except ConfigError as error:
                raise Refusal(
                    422, "invalid_field", str(error).partition(": ")[2] or str(error), param=f"postconditions[{number}]"
                ) from error

    async def __call__(self, condition: SentCondition, output: Output | None, state: JobState) -> Check:
        """Ask about one output; never raises."""
        name = condition.name or condition.scorer or condition.policy or "postcondition"
        if output is None:
            return Check(name=name, held=None, explanation="there is no output to judge")
        try:
            capability = self._build(condition)
            if condition.scorer is not None:
                return await self._score(name, condition, capability, output, state)
            return await self._rule(name, condition, capability, output, state)
        except TimeoutError:
            return Check(name=name, held=None, explanation=f"it took longer than {SCORER_TIMEOUT_S:.0f} s")
        except Exception as error:  # noqa: BLE001 - anybody's scorer may raise anything; then nothing was verified
            return Check(name=name, held=None, explanation=f"it failed: {type(error).__name__}: {error}"[:500])

    def _build(self, condition: SentCondition) -> Any:
        if condition.effect is not None:
            return None
        use = Capability(use=condition.scorer or condition.policy or "", parameters=dict(condition.parameters))
        made = build("scorers" if condition.scorer is not None else "policies", use, self._config)
        if condition.policy is not None and Stage.REPLY not in made.stages:
            raise ConfigError(
                f"postconditions: the policy {condition.policy!r} does not rule on replies; use a scorer."
            )
        return made

    async def _score(self, name: str, condition: SentCondition, scorer: Any, output: Output, state: JobState) -> Check:
        subject = Subject(
            kind="job",
            subject_id=state.job_id,
            output=output.text,
            calls=output.calls,
            evidence=await self._done(state),
            finish_reason=output.finish_reason,
            case=_case(condition, state),
        )
        async with asyncio.timeout(SCORER_TIMEOUT_S):
            given = await asyncio.to_thread(scorer.score, subject)
            marks: tuple[Mark, ...] = await given if inspect.isawaitable(given) else given
        return _judged(name, condition, marks, scorer.header.version)

    async def _done(self, state: JobState) -> str:
        """The effects of the job's run, as evidence for scorers."""
        held = await self._effects.of_run(state.identity.tenant, state.run)
        told = [{"tool": each.effect.tool, "status": each.effect.status, "object": each.effect.target} for each in held]
        return as_json({"effects": told}).decode()

    async def _rule(self, name: str, condition: SentCondition, policy: Any, output: Output, state: JobState) -> Check:
        link = Link(policy=policy, instance=name)
        event = Event(
            stage=Stage.REPLY,
            at_ns=time.time_ns(),
            trace_id=state.trace_id,
            span_id=new_span_id(),
            identity=state.identity,
            model=output.model,
            attributes={"output.text": output.text},
        )
        ruling = await Chain((link,), self._cells, self._record, time.time_ns).decide(event)
        version = policy.header.version
        if ruling.stop is not None:
            return Check(name=name, held=False, explanation=ruling.stop.sentence, version=version)
        failed = [each for each in ruling.decisions if each.reason in ("policy_failed", "facts_missing")]
        if failed:
            return Check(name=name, held=None, explanation=failed[0].sentence, version=version)
        return Check(name=name, held=True, explanation="the policy let the reply pass", version=version)


def _case(condition: SentCondition, state: JobState) -> Case | None:
    if condition.expected is None:
        return None
    return Case(
        case_id=state.job_id, dataset="job", messages="[]", expected=condition.expected, at_ns=state.submitted_ns
    )


def _judged(name: str, condition: SentCondition, marks: tuple[Mark, ...], version: str) -> Check:
    """Whether all marks reach what was asked; a mark without value or label says nothing, and so none has held."""
    if not marks:
        return Check(name=name, held=None, explanation="the scorer gave no score", version=version)
    for mark in marks:
        held = mark.label == condition.label if condition.label is not None else _reaches(mark, condition.at_least)
        if held is not True:
            why = mark.explanation or f"{mark.name} is {mark.label or mark.value}"
            return Check(
                name=name, held=held, explanation=why[:500], value=mark.value, label=mark.label, version=version
            )
    first = marks[0]
    said = first.explanation or f"{first.name} is {first.label or first.value}"
    return Check(name=name, held=True, explanation=said[:500], value=first.value, label=first.label, version=version)


def _reaches(mark: Mark, at_least: float) -> bool | None:
    return None if mark.value is None else mark.value >= at_least
