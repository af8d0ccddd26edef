"""Whoever is erased is in no cell of a job or an effect; what was done stays done."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.engines.jobs.scene import Scene, request, wish
from watchkeeper.engines.jobs.effects import Settlement
from watchkeeper.engines.jobs.forgetting import forget_work
from watchkeeper.engines.recorder.belonging import Circle, Whose, redacted
from watchkeeper.records.identity import Identity
from watchkeeper.records.job import Job

pytestmark = pytest.mark.anyio
ADA, BOB = Identity(user="ada@example.org"), Identity(user="bob@example.org")


async def test_jobs_go_and_effects_keep_that_they_were_done(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    for who in (ADA, BOB):
        await scene.desk.submit(msgspec.json.encode({"request": request()}), who, None)
    claimed = wish(identity=ADA, object="account of ada")
    await scene.effects.claim(claimed)
    await scene.effects.settle(
        Settlement(
            effect_id=claimed.effect_id, status="done", actor="t", claim="claim-one", receipt='"ada@example.org"'
        )
    )
    assert await forget_work(scene.cells, Circle(Whose(user="ada@example.org")), "erased-1") == 2
    assert not [key for key, value in scene.cells.cells.items() if isinstance(value, bytes) and b"ada" in value]
    (left,) = await scene.desk.open_jobs()
    assert left.identity.user == BOB.user
    again = await scene.effects.claim(msgspec.structs.replace(claimed, claim="claim-two"))
    assert (again.granted, again.held.effect.status, again.held.effect.receipt) == (False, "done", None)


async def test_the_record_of_a_job_keeps_nothing_of_its_person(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.desk.submit(msgspec.json.encode({"request": request(), "name": "for ada"}), ADA, None)
    (job,) = scene.records(Job)
    assert Circle(Whose(user="ada@example.org")).holds(job)
    left = redacted(job, "erased-1")
    assert isinstance(left, Job)
    assert (left.identity.user, left.bodies, left.message) == ("erased-1", (), None)
    assert b"ada" not in msgspec.json.encode(left)
