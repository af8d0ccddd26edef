"""The dead man's watch: a job that never started, or stopped moving, counts as unknown, and somebody is told.

It runs apart from whoever runs jobs, for that may be what died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

from watchkeeper.engines.jobs.desk import JobDesk
from watchkeeper.engines.jobs.state import JobState, ended
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.finding import Finding
from watchkeeper.records.ids import new_id
from watchkeeper.records.job import JobOutcome, Transport

LOOK_EVERY_S = 5.0
VERSION = "1"
_log = logging.getLogger("watchkeeper.jobs")


class Desk(Protocol):
    """Where findings go."""

    async def file(self, finding: Finding) -> object:
        """Record a finding and open or extend its incident."""
        ...


class DeadMan:
    """Looks at all open jobs of its house, again and again."""

    def __init__(self, jobs: JobDesk, desk: Desk, clock_ns: Callable[[], int]) -> None:
        self._jobs, self._desk, self._clock_ns = jobs, desk, clock_ns

    async def run(self, stopping: asyncio.Event) -> None:
        """Look until told to stop."""
        while not stopping.is_set():
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 - cells or index out of reach come back; it looks again
                _log.warning("jobs could not be looked at: %s", error)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LOOK_EVERY_S)

    async def look(self) -> list[Finding]:
        """Make every overdue job unknown, and file a finding of each; a job that moved meanwhile is left alone."""
        found = []
        for state in await self._jobs.open_jobs():
            if state.house == self._jobs.house and (late := overdue(state, self._clock_ns())) is not None:
                finding = await self._file(state, late)
                if finding is not None:
                    found.append(finding)
        return found

    async def _file(self, state: JobState, late: tuple[str, float, float]) -> Finding | None:
        reason, seconds, limit_s = late
        now_ns = self._clock_ns()
        what = "was not started" if reason == "never_started" else "has not moved"
        sentence = f"Job {state.job_id} {what} for {seconds:,.0f} s (its limit is {limit_s:,.0f} s)."

        def step(now: JobState) -> JobState:
            if now.revision != state.revision:
                return now
            return ended(now, now_ns, JobOutcome.UNKNOWN, reason, sentence)

        after = await self._jobs.change(state.job_id, step)
        if after.stop_reason != reason or not after.ended:
            return None
        finding = Finding(
            finding_id=new_id("fnd", now_ns),
            monitor="dead_man",
            version=VERSION,
            subject=f"job:{state.job_id}",
            at_ns=now_ns,
            window_start_ns=state.progress_ns,
            window_end_ns=now_ns,
            severity="ticket",
            sentence=sentence + " What became of it is unknown: look at its trace, then resume or cancel it.",
            estimate=Estimate(
                value=seconds, low=seconds, high=seconds, n=1, method="time since it last moved, by the clock", unit="s"
            ),
            evidence={"trace_id": state.trace_id, "step": state.current, "limit_s": limit_s, "reason": reason},
        )
        await self._desk.file(finding)
        return finding


def overdue(state: JobState, now_ns: int) -> tuple[str, float, float] | None:
    """Why a job is overdue, by how many seconds since it moved, and its limit; None for one that is not.

    A job that waits for a person's answer is never overdue.
    """
    seconds = (now_ns - state.progress_ns) / 1e9
    if state.status == Transport.QUEUED and seconds > state.start_within_s:
        return "never_started", seconds, state.start_within_s
    if state.status == Transport.RUNNING and seconds > state.stall_s:
        return "stalled", seconds, state.stall_s
    return None
