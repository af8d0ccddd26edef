"""Runs jobs: step after step, each call made once, whatever process dies in between; verifies at the end.

One process of a house runs a job. A job whose process is gone is taken on by the next one of the same house, which
finds each call under its own idempotency key: an ended one is read from the record, an unknown one ends the job as
unknown until a person says how to go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from watchkeeper.engines.gateway.keyed import reply_of
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.gateway.presence import Presence
from watchkeeper.engines.jobs.calling import DENIED, Caller, Reply
from watchkeeper.engines.jobs.desk import JobDesk
from watchkeeper.engines.jobs.effects import EffectLedger
from watchkeeper.engines.jobs.hooks import Hooks
from watchkeeper.engines.jobs.shapes import SentJob, SentStep, with_outputs
from watchkeeper.engines.jobs.state import JobState, StepState, ended, moved
from watchkeeper.engines.jobs.verifying import REFUSED, Judge, Output, output_of, verify, wish_of
from watchkeeper.records.body import Body
from watchkeeper.records.effect import Progress
from watchkeeper.records.job import JobOutcome, Transport

LOOK_EVERY_S = 0.5
SWEEP_EVERY_S = 3600.0
_log = logging.getLogger("watchkeeper.jobs")

KeyOf = Callable[[str | None], Awaitable[Key | None]]
"""The key with an id; raises `LookupError` when it lets nobody in any more."""


class Lost(Exception):
    """The job is another's now, or has ended: this process lets go of it."""


class Runner:
    """Runs the jobs of a house. `start` inside the running loop; `stop` lets go of them, and they go on later."""

    def __init__(
        self,
        desk: JobDesk,
        effects: EffectLedger,
        presence: Presence,
        caller: Caller,
        judge: Judge,
        key_of: KeyOf,
        read: Callable[[Body], bytes],
        hooks: Hooks,
        clock_ns: Callable[[], int],
        at_once: int = 8,
        keep_effects_ns: int = 90 * 86_400 * 1_000_000_000,
    ) -> None:
        """`at_once` bounds the calls that are under way for jobs; `read` gives a payload's bytes from the disk."""
        self._desk, self._effects, self._presence, self._caller = desk, effects, presence, caller
        self._judge, self._key_of, self._read, self._hooks = judge, key_of, read, hooks
        self._clock_ns, self._slots = clock_ns, asyncio.Semaphore(at_once)
        self._keep_effects_ns = keep_effects_ns
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to look for jobs and to deliver webhooks."""
        self._loops = [
            asyncio.create_task(self._follow(self._look, LOOK_EVERY_S, self._desk.woken), name="jobs"),
            asyncio.create_task(self._follow(self._deliver, LOOK_EVERY_S), name="job webhooks"),
            asyncio.create_task(self._follow(self._forget, SWEEP_EVERY_S), name="old effects"),
        ]

    async def stop(self) -> None:
        """Let go of all jobs. Calls under way end as the gateway is closed."""
        for task in [*self._loops, *self._tasks.values()]:
            task.cancel()
        await asyncio.gather(*self._loops, *self._tasks.values(), return_exceptions=True)

    async def _follow(
        self, look: Callable[[], Awaitable[object]], pause_s: float, woken: asyncio.Event | None = None
    ) -> None:
        woken = woken or asyncio.Event()
        while True:
            woken.clear()
            try:
                await look()
            except Exception as error:  # noqa: BLE001 - cells out of reach come back; jobs wait meanwhile
                _log.warning("jobs could not be looked through: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), pause_s)

    async def _deliver(self) -> None:
        await self._hooks.round()

    async def _forget(self) -> None:
        await self._effects.forget(self._clock_ns() - self._keep_effects_ns)

    async def _look(self) -> None:
        """Take on what nobody runs, and let go of what was ended elsewhere."""
        seen = set()
        for state in await self._desk.open_jobs():
            seen.add(state.job_id)
            if state.house != self._presence.me.house or state.job_id in self._tasks:
                continue
            waits = state.status == Transport.QUEUED
            if waits or (state.held is not None and await self._presence.gone(state.held)):
                task = asyncio.create_task(self._run(state.job_id), name=f"job {state.job_id}")
                self._tasks[state.job_id] = task
                task.add_done_callback(partial(self._ended, state.job_id))
        for job_id in [job_id for job_id in self._tasks if job_id not in seen]:
            await self._let_go(job_id)

    def _ended(self, job_id: str, task: asyncio.Task[None]) -> None:
        del task
        self._tasks.pop(job_id, None)

    async def _let_go(self, job_id: str) -> None:
        """A job was ended (cancelled) while we run it: stop its call and its task."""
        state = await self._desk.get(job_id)
        task = self._tasks.get(job_id)
        if not state.ended or task is None:
            return
        with contextlib.suppress(LookupError):
            key = await self._key_of(state.identity.key)
            if state.step < len(state.step_names):
                self._caller.cancel(state, state.step_names[state.step], key)
        task.cancel()

    async def _run(self, job_id: str) -> None:
        try:
            state = await self._take(job_id)
            job = await self._submitted(state)
            outputs = await self._outputs(state)
            while state.step < len(state.step_names):
                step = job.planned()[state.step]
                went_on = await self._step(job, state, step, outputs)
                if went_on is None:
                    return
                state = went_on
            await self._finish(job, state, outputs)
        except Lost:
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the job must not be left as if it were running
            _log.exception("job %s could not go on", job_id)
            await self._fail(job_id, JobOutcome.UNKNOWN, "runner_fault", f"{type(error).__name__}: {error}"[:500])

    async def _take(self, job_id: str) -> JobState:
        now_ns, me = self._clock_ns(), self._presence.me
        before = await self._desk.get(job_id)

        def step(state: JobState) -> JobState:
            if state.ended or state.status == Transport.WAITING or state.held not in (None, before.held):
                raise Lost
            return moved(state, now_ns, "job.running", status=Transport.RUNNING, held=me, message=None)

        return await self._desk.change(job_id, step)

    async def _change(self, state: JobState, make: Callable[[JobState], JobState]) -> JobState:
        """Change a job that is ours; raises `Lost` when it is not any more."""

        def step(now: JobState) -> JobState:
            if now.ended or now.held is None or not self._presence.mine(now.held):
                raise Lost
            return make(now)

        return await self._desk.change(state.job_id, step)

    async def _submitted(self, state: JobState) -> SentJob:
        """What was submitted: from memory, or after a restart from the record."""
        known = self._desk.submitted.get(state.job_id)
        if known is not None:
            return known
        if state.body.redactions:
            await self._end(
                state, JobOutcome.FAILED, "submission_not_kept",
                "The server was started again, and sensitive values were taken out of the submission when it was "
                "recorded, so it cannot be carried out as it was meant. Submit it again.",
            )  # fmt: skip
            raise Lost
        try:
            data = await asyncio.to_thread(self._read, state.body)
            return msgspec.json.decode(data, type=SentJob)
        except (LookupError, ValueError, OSError) as error:
            said = f"The submission cannot be read from the record: {error}."
            await self._end(state, JobOutcome.FAILED, "submission_not_kept", said[:500])
            raise Lost from error

    async def _outputs(self, state: JobState) -> dict[str, Output]:
        """What the steps before gave, read from the record."""
        outputs: dict[str, Output] = {}
        for result in state.results:
            if result.reply is not None and result.reply.why is None:
                outputs[result.name] = output_of(await asyncio.to_thread(reply_of, result.reply, self._read))
            elif result.kind == "effect":
                outputs[result.name] = Output(text=result.receipt or "")
            else:
                outputs[result.name] = Output(text=result.text or "")
        return outputs

    async def _step(self, job: SentJob, state: JobState, step: SentStep, outputs: dict[str, Output]) -> JobState | None:
        """Carry out one step; returns the job's next state, None when it has stopped here."""
        if step.request is not None:
            return await self._call(state, step, outputs)
        if step.ask is not None:
            return await self._ask(state, step, outputs)
        return await self._wait(job, state, step, outputs)

    async def _call(self, state: JobState, step: SentStep, outputs: dict[str, Output]) -> JobState | None:
        assert step.request is not None
        try:
            key = await self._key_of(state.identity.key)
        except LookupError as error:
            await self._end(state, JobOutcome.REFUSED, "key_gone", str(error.args[0]))
            return None
        body = with_outputs(step.request.body, {name: each.text for name, each in outputs.items()})
        async with self._slots:
            reply = await self._caller.call(state, step.name, step.request, body, key)
        if reply.status >= 400:
            outcome = _outcome_of(reply)
            await self._end(state, outcome, reply.code or f"status_{reply.status}", reply.sentence)
            return None
        outputs[step.name] = output = output_of(reply.body)
        result = StepState(name=step.name, kind="call", status="done", reply=reply.keyed)
        cost = None if reply.keyed is None else reply.keyed.cost_usd
        model = output.model or (None if reply.keyed is None else reply.keyed.model)
        if output.finish_reason in REFUSED:
            said = f"The model declined ({output.finish_reason})."
            await self._end(
                state, JobOutcome.REFUSED, output.finish_reason or "refusal", said,
                results=(*state.results, result), model=model, cost_usd=_plus(state.cost_usd, cost, state),
            )  # fmt: skip
            return None
        return await self._next(state, result, model=model, cost_usd=_plus(state.cost_usd, cost, state))

    async def _ask(self, state: JobState, step: SentStep, outputs: dict[str, Output]) -> JobState | None:
        if state.answer is not None:
            outputs[step.name] = Output(text=state.answer)
            result = StepState(name=step.name, kind="ask", status="done", text=state.answer)
            return await self._next(state, result, answer=None)
        now_ns = self._clock_ns()
        await self._change(
            state,
            lambda each: moved(
                each, now_ns, "job.needs-input", status=Transport.WAITING, outcome=JobOutcome.NEEDS_INPUT.value,
                question=step.ask, message=step.ask, held=None,
            ),
        )  # fmt: skip
        return None

    async def _wait(self, job: SentJob, state: JobState, step: SentStep, outputs: dict[str, Output]) -> JobState | None:
        """Wait for an effect that somebody outside carries out under this job's run."""
        from watchkeeper.engines.gateway.errors import Refusal

        effect_id = wish_of(job, state, step.name).effect_id
        while True:
            try:
                effect = (await self._effects.get(effect_id)).effect
            except Refusal:
                effect = None
            if effect is not None and effect.status in (Progress.DONE, Progress.FAILED, Progress.UNDONE):
                break
            await asyncio.sleep(LOOK_EVERY_S)
        if effect.status != Progress.DONE:
            await self._end(state, JobOutcome.FAILED, f"effect_{effect.status}", f"The effect is {effect.status}.")
            return None
        result = StepState(name=step.name, kind="effect", status="done", receipt=effect.receipt, effect_id=effect_id)
        outputs[step.name] = Output(text=effect.receipt or "")
        return await self._next(state, result)

    async def _next(self, state: JobState, result: StepState, **changes: Any) -> JobState:
        now_ns = self._clock_ns()

        def step(each: JobState) -> JobState:
            progress = (each.step + 1) / len(each.step_names)
            return moved(
                each, now_ns, "job.step", step=each.step + 1, results=(*each.results, result), progress=progress,
                retry_unknown=False, message=f"{result.name} is done.", **changes,
            )  # fmt: skip

        return await self._change(state, step)

    async def _finish(self, job: SentJob, state: JobState, outputs: dict[str, Output]) -> None:
        checks = tuple(await verify(job, state, outputs, self._effects, self._judge))
        held = bool(checks) and all(check.held is True for check in checks)
        outcome = JobOutcome.COMPLETED_VERIFIED if held else JobOutcome.COMPLETED_UNVERIFIED
        await self._end(state, outcome, "completed", _said(checks), checks=checks)

    async def _end(self, state: JobState, outcome: JobOutcome, reason: str, message: str, **changes: Any) -> None:
        now_ns = self._clock_ns()
        await self._change(state, lambda each: ended(each, now_ns, outcome, reason, message, **changes))

    async def _fail(self, job_id: str, outcome: JobOutcome, reason: str, message: str) -> None:
        try:
            await self._end(await self._desk.get(job_id), outcome, reason, message)
        except Lost:
            return
        except Exception as error:  # noqa: BLE001 - the dead man's watch finds a job that stands still
            _log.error("the end of job %s could not be written: %s", job_id, error)


def _outcome_of(reply: Reply) -> JobOutcome:
    """What an error of a call makes of its job: refused by a rule, unknown where it may have been done, else failed."""
    if reply.code in ("idempotency_unknown", "idempotency_reply_not_kept"):
        return JobOutcome.UNKNOWN
    if reply.kind == DENIED:
        return JobOutcome.REFUSED
    if reply.keyed is not None and reply.keyed.state == "unknown":
        return JobOutcome.UNKNOWN
    return JobOutcome.FAILED


def _plus(before: float | None, cost: float | None, state: JobState) -> float | None:
    """The sum of costs; one that is unknown makes the sum unknown."""
    calls = [each for each in state.results if each.kind == "call"]
    if cost is None or (calls and before is None):
        return None
    return (before or 0.0) + cost


def _said(checks: Sequence[Any]) -> str:
    if not checks:
        return "All steps are done. The job declared no postconditions, so nothing says that its result is right."
    missed = [check.name for check in checks if check.held is not True]
    if not missed:
        return f"All steps are done, and all {len(checks)} postconditions held."
    return f"All steps are done; {len(missed)} of {len(checks)} postconditions did not hold: {', '.join(missed)}."
