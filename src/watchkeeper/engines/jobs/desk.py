"""Takes jobs, tells how they stand and changes them for people: submit, get, cancel, resume, note progress.

All state is in the Cells, one cell for a job, changed by compare-and-swap; each change is also a record in the journal.
The desk runs nothing: that is the runner's, which may be in another process or not there yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.jobs.effects import EffectLedger, cancelling
from watchkeeper.engines.jobs.hooks import hook_of
from watchkeeper.engines.jobs.shapes import SentJob, SentProgress, SentResume, checked, read
from watchkeeper.engines.jobs.state import OPEN, PREFIX, JobState, ended, moved, record_of
from watchkeeper.kinds.ports import Applied, Cells, Delete, Op, Put, Swap
from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import digest, new_id, new_trace_id
from watchkeeper.records.job import JobOutcome, Transport
from watchkeeper.records.record import Record, pack, unpack

_ATTEMPTS = 50
_log = logging.getLogger("watchkeeper.jobs")
Change = Callable[[JobState], JobState]


class Recorder(Protocol):
    """The journal as the desk uses it."""

    def append(self, record: Record) -> object:
        """Keep one record."""
        ...

    def write(
        self,
        payloads: Sequence[tuple[bytes, str, str, str]],
        records_of: Callable[[tuple[Body, ...]], Iterable[Record]],
    ) -> tuple[Body, ...]:
        """Keep payloads and the records that are made of their bodies, all or nothing."""
        ...


class Allowed(Record):
    """What the owner lets jobs do: hosts that webhooks may go to, and how many jobs may be open at once."""

    webhook_hosts: tuple[str, ...] = ()
    most_open: int = 1000


class JobDesk:
    """Jobs on one store of cells. `woken` is set whenever there may be something to run."""

    def __init__(
        self,
        cells: Cells,
        recorder: Recorder,
        effects: EffectLedger,
        house: str,
        clock_ns: Callable[[], int],
        allowed: Allowed,
        conditions: Callable[[SentJob], None],
    ) -> None:
        """`conditions` raises a 422 for postconditions that cannot be checked; `house` names the data directory."""
        self._cells, self._recorder, self._effects, self.house = cells, recorder, effects, house
        self._clock_ns, self._allowed, self._conditions = clock_ns, allowed, conditions
        self.submitted: dict[str, SentJob] = {}
        self.woken = asyncio.Event()
        self._changed: dict[str, asyncio.Event] = {}

    async def submit(self, body: bytes, identity: Identity, key: str | None) -> tuple[JobState, bool]:
        """Take a job; with an idempotency `key`, the same submission again gives the same job. Says whether it is new.

        Raises a 422 for a wrong job, a 429 when too many are open, `OSError` where it cannot be recorded.
        """
        sent = checked(read(body, SentJob))
        self._conditions(sent)
        self._check_hook(sent)
        now_ns = self._clock_ns()
        seen = digest(body)
        job_id = new_id("job", now_ns)
        if key is not None:
            job_id = "job_" + digest("\x1f".join((identity.tenant, identity.key or "", key)).encode())
            known = await self._find(job_id)
            if known is not None:
                return _again(known, seen), False
        await self._make_room()
        run = sent.run or identity.run or job_id
        identity = msgspec.structs.replace(identity, run=run)
        made: list[JobState] = []

        def records_of(bodies: tuple[Body, ...]) -> Iterable[Record]:
            made.append(_first(sent, job_id, seen, identity, bodies[0], self.house, now_ns))
            return [record_of(made[0])]

        self._recorder.write([(body, "request", "application/json", identity.owner)], records_of)
        state = made[0]
        ops: list[Op] = [
            Swap(key=PREFIX + job_id, expected=None, value=pack(state)),
            Put(key=OPEN + job_id, value=b"1"),
        ]
        answer = await self._cells.apply(ops)
        if not isinstance(answer, Applied):
            return _again(await self.get(job_id), seen), False
        self.submitted[job_id] = sent
        self.woken.set()
        return state, True

    async def get(self, job_id: str) -> JobState:
        """How a job stands; raises a 404 where there is none."""
        state = await self._find(job_id)
        if state is None:
            raise no_such_job(job_id)
        return state

    async def open_jobs(self) -> list[JobState]:
        """All jobs that have not ended."""
        found: list[JobState] = []
        cursor: str | None = None
        while True:
            page = await self._cells.scan(OPEN, cursor)
            for cell, _ in page.items:
                state = await self._find(cell.removeprefix(OPEN))
                if state is None or state.ended:
                    await self._cells.apply([Delete(key=cell)], urgent=False)
                else:
                    found.append(state)
            cursor = page.cursor
            if cursor is None:
                return found

    async def change(self, job_id: str, step: Change, ops: Sequence[Op] = ()) -> JobState:
        """Change a job by compare-and-swap, with `ops` in the same transaction; a change that changes nothing is none.

        `step` is asked again with the newer state when somebody was faster, and may raise to leave all as it is.
        """
        for _ in range(_ATTEMPTS):
            before = await self.get(job_id)
            after = step(before)
            if after is before:
                return before
            every = [Swap(key=PREFIX + job_id, expected=pack(before), value=pack(after)), *ops]
            if after.ended:
                every.append(Delete(key=OPEN + job_id))
            elif before.ended:
                every.append(Put(key=OPEN + job_id, value=b"1"))
            if after.revision != before.revision and (hook := hook_of(after)) is not None:
                every.append(hook)
            if isinstance(await self._cells.apply(every), Applied):
                self._told(after, after.revision != before.revision)
                return after
        raise Refusal(
            503, "job_contended", f"The job {job_id} is being changed by many at once. Ask again.", kind="unavailable",
            headers=((b"retry-after", b"1"),),
        )  # fmt: skip

    async def cancel(self, job_id: str, actor: str) -> JobState:
        """End a job: from the answer on, no effect of its run can be claimed. Raises a 409 for one that has ended."""
        state = await self.get(job_id)
        now_ns = self._clock_ns()

        def step(state: JobState) -> JobState:
            if state.outcome == JobOutcome.CANCELLED:
                return state
            if state.ended and state.outcome != JobOutcome.UNKNOWN:
                raise _has_ended(state)
            return ended(state, now_ns, JobOutcome.CANCELLED, "cancelled", f"Cancelled by {actor}.")

        mark = cancelling(state.identity.tenant, state.run, now_ns)
        return await self.change(job_id, step, [mark])

    async def resume(self, job_id: str, sent: SentResume) -> JobState:
        """Let a job go on that waits for an answer, or that ended unknown; raises a 409 for any other."""
        now_ns = self._clock_ns()

        def step(state: JobState) -> JobState:
            if state.status == Transport.WAITING and state.question is not None:
                if sent.input is None:
                    sentence = f"The job waits for an answer: {state.question[:300]!r}. Send it as input."
                    raise Refusal(422, "input_missing", sentence, param="input")
                return moved(
                    state, now_ns, "job.resumed", status=Transport.QUEUED, outcome=None, answer=sent.input,
                    question=None, message="An answer was given.", held=None,
                )  # fmt: skip
            if state.outcome == JobOutcome.UNKNOWN:
                retry = sent.on_unknown == "retry"
                return moved(
                    state, now_ns, "job.resumed", status=Transport.QUEUED, outcome=None, stop_reason=None,
                    retry_unknown=retry, message="Resumed by a person.", held=None, checks=(),
                )  # fmt: skip
            raise _not_waiting(state)

        state = await self.change(job_id, step)
        self.woken.set()
        return state

    async def note(self, job_id: str, sent: SentProgress) -> JobState:
        """Somebody outside says that a step goes on; raises a 409 for a job that has ended."""
        now_ns = self._clock_ns()

        def step(state: JobState) -> JobState:
            if state.ended:
                raise _has_ended(state)
            progress = state.progress if sent.progress is None else sent.progress
            return moved(state, now_ns, "job.progress", progress=progress, message=sent.message)

        return await self.change(job_id, step)

    async def changed(self, job_id: str, timeout_s: float) -> None:
        """Wait until this process changes a job, or for a while."""
        event = self._changed.setdefault(job_id, asyncio.Event())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(event.wait(), timeout_s)

    async def _find(self, job_id: str) -> JobState | None:
        value = await self._cells.get(PREFIX + job_id)
        return unpack(JobState, value) if isinstance(value, bytes) else None

    def _told(self, state: JobState, anew: bool) -> None:
        if anew:
            try:
                self._recorder.append(record_of(state))
            except OSError as error:
                _log.error("the new state of job %s could not be recorded: %s", state.job_id, error)
        event = self._changed.pop(state.job_id, None)
        if event is not None:
            event.set()
        if state.ended:
            self.submitted.pop(state.job_id, None)

    async def _make_room(self) -> None:
        page = await self._cells.scan(OPEN, None, self._allowed.most_open + 1)
        if len(page.items) > self._allowed.most_open:
            raise Refusal(
                429,
                "too_many_jobs",
                f"{self._allowed.most_open:,} jobs are open already. Wait for some to end, or raise jobs.most_open.",
                kind="unavailable",
                headers=((b"retry-after", b"30"),),
            )

    def _check_hook(self, sent: SentJob) -> None:
        from urllib.parse import urlsplit

        if sent.webhook is None:
            return
        host = (urlsplit(sent.webhook.url).hostname or "").lower()
        if host not in self._allowed.webhook_hosts:
            raise Refusal(
                422,
                "webhook_host_not_allowed",
                f"Webhooks may not go to {host[:100]!r}. The owner can allow the host under jobs.webhook_hosts.",
                param="webhook.url",
            )


def no_such_job(job_id: str) -> Refusal:
    """The answer about a job that is not there, or not for whom it is asked."""
    sentence = f"There is no job {job_id[:64]!r}. List them: GET /api/v1/jobs."
    return Refusal(404, "no_such_job", sentence, kind="not_found")


def _first(sent: SentJob, job_id: str, seen: str, identity: Identity, body: Body, house: str, now_ns: int) -> JobState:
    state = JobState(
        job_id=job_id,
        digest=seen,
        submitted_ns=now_ns,
        progress_ns=now_ns,
        trace_id=new_trace_id(),
        identity=identity,
        run=identity.run or job_id,
        body=body,
        house=house,
        start_within_s=sent.start_within_s,
        stall_s=sent.stall_s,
        require=sent.require,
        name=sent.name,
        webhook=None if sent.webhook is None else sent.webhook.url,
        step_names=tuple(step.name for step in sent.planned()),
        revision=-1,
    )
    return moved(state, now_ns, "job.queued")


def _again(state: JobState, seen: str) -> JobState:
    if state.digest != seen:
        raise Refusal(
            422,
            "idempotency_key_reused",
            f"This Idempotency-Key made the job {state.job_id} from another body. Give each job a key of its own.",
            param="Idempotency-Key",
            headers=((b"x-should-retry", b"false"),),
        )
    return state


def _has_ended(state: JobState) -> Refusal:
    return Refusal(
        409, "job_ended", f"The job {state.job_id} has ended: {state.outcome}. Nothing can change that.", kind="denied"
    )


def _not_waiting(state: JobState) -> Refusal:
    return Refusal(
        409,
        "job_not_waiting",
        f"The job {state.job_id} is {state.outcome or state.status}; only one that needs input, or whose outcome is "
        "unknown, is resumed.",
        kind="denied",
    )
