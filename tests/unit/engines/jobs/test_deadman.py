"""A job that never started or stopped moving is unknown, and somebody is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.engines.jobs.scene import NS, Scene, request
from watchkeeper.engines.jobs.deadman import DeadMan
from watchkeeper.engines.jobs.shapes import SentProgress, SentResume
from watchkeeper.records.finding import Finding

pytestmark = pytest.mark.anyio


class Desk:
    """Keeps findings."""

    def __init__(self) -> None:
        self.filed: list[Finding] = []

    async def file(self, finding: Finding) -> None:
        self.filed.append(finding)


def watching(scene: Scene) -> tuple[DeadMan, Desk]:
    desk = Desk()
    return DeadMan(scene.desk, desk, scene.clock), desk


async def test_a_job_that_never_started_is_unknown_with_a_finding(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"request": request(), "start_within_s": 10})
    dead_man, desk = watching(scene)
    scene.clock.now_ns += 10 * NS
    assert await dead_man.look() == []
    scene.clock.now_ns += 1
    (finding,) = await dead_man.look()
    ended = await scene.desk.get(job.job_id)
    assert (ended.outcome, ended.stop_reason) == ("unknown", "never_started")
    assert (finding.subject, finding.evidence["reason"]) == (f"job:{job.job_id}", "never_started")
    assert desk.filed == [finding]
    assert await dead_man.look() == []


async def test_a_job_that_stopped_moving_is_unknown_and_one_that_tells_of_progress_is_not(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    still, moving = [await scene.submit({"request": request(), "stall_s": 10}) for _ in range(2)]
    for job in (still, moving):
        await scene.runner._take(job.job_id)
    scene.clock.now_ns += 8 * NS
    await scene.desk.note(moving.job_id, SentProgress(progress=0.2))
    scene.clock.now_ns += 3 * NS
    dead_man, _ = watching(scene)
    assert [finding.subject for finding in await dead_man.look()] == [f"job:{still.job_id}"]
    assert (await scene.desk.get(moving.job_id)).status == "running"


async def test_a_job_that_waits_for_a_person_is_never_overdue(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"steps": [{"name": "a", "ask": "May I?"}], "stall_s": 1, "start_within_s": 1})
    await scene.run(job.job_id)
    scene.clock.now_ns += 86_400 * NS
    dead_man, _ = watching(scene)
    assert await dead_man.look() == []
    await scene.desk.resume(job.job_id, SentResume(input="yes"))
    assert (await scene.run(job.job_id)).outcome == "completed-unverified"


async def test_a_runner_that_comes_back_late_does_not_end_a_job_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"request": request(), "stall_s": 1})
    state = await scene.runner._take(job.job_id)
    scene.clock.now_ns += 2 * NS
    await watching(scene)[0].look()
    from watchkeeper.engines.jobs.runner import Lost
    from watchkeeper.records.job import JobOutcome

    with pytest.raises(Lost):
        await scene.runner._end(state, JobOutcome.COMPLETED_UNVERIFIED, "completed", "late")
    assert (await scene.desk.get(job.job_id)).outcome == "unknown"
