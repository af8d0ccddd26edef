"""Webhooks are signed, sent again until they are taken, under one id, and never hold an output."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.unit.engines.jobs.scene import NS, Scene, request
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.jobs.hooks import MOST_TRIES
from watchkeeper.records.drop import Drop
from watchkeeper.sdk.webhook import verified_webhook

pytestmark = pytest.mark.anyio
HOOK = {"url": "https://hooks.test/jobs?token=s3cret"}


async def ended_with_hook(scene: Scene) -> str:
    job = await scene.submit({"request": request(), "webhook": HOOK})
    await scene.run(job.job_id)
    return job.job_id


async def test_the_end_of_a_job_is_told_once_signed_and_without_its_output(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job_id = await ended_with_hook(scene)
    assert await scene.hooks.round() == 1
    assert await scene.hooks.round() == 0
    ((url, headers, body),) = scene.delivered
    assert url == HOOK["url"]
    event = verified_webhook(headers, body, "secret", tolerance_s=1e12)
    assert (event["id"], event["outcome"], event["type"]) == (
        job_id,
        "completed-unverified",
        "job.completed-unverified",
    )
    assert b"said in request" not in body


async def test_what_was_not_taken_is_sent_again_under_the_same_id(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await ended_with_hook(scene)
    scene.refuse_hooks = 2
    for _ in range(3):
        await scene.hooks.round()
        scene.clock.now_ns += 3600 * NS
    assert len(scene.delivered) == 3
    assert len({headers["webhook-id"] for _, headers, _ in scene.delivered}) == 1
    assert await scene.hooks.round() == 0
    assert scene.hooks.counts == {"failed": 2, "delivered": 1}


async def test_a_delivery_that_a_dead_process_had_taken_on_is_made_by_another(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await ended_with_hook(scene)

    async def dies(*_: object) -> None:
        raise BaseExceptionGroup("the process ends", [KeyboardInterrupt()])

    scene.hooks._deliver = dies  # type: ignore[assignment]
    with pytest.raises(BaseExceptionGroup):
        await scene.hooks.round()
    scene.clock.now_ns += 3600 * NS
    later = scene.restarted()
    assert await later.hooks.round() == 1
    assert len(later.delivered) == 1


async def test_what_is_never_taken_is_given_up_and_counted_without_its_url(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await ended_with_hook(scene)
    scene.refuse_hooks = 1000
    for _ in range(MOST_TRIES + 3):
        await scene.hooks.round()
        scene.clock.now_ns += 2 * 3600 * NS
    assert len(scene.delivered) == MOST_TRIES
    (drop,) = scene.records(Drop)
    assert (drop.what, drop.reason) == ("webhook", "not_delivered")
    assert "s3cret" not in str(msgspec.to_builtins(drop))


async def test_a_question_is_told_too(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"steps": [{"name": "approve", "ask": "May I?"}], "webhook": HOOK})
    await scene.run(job.job_id)
    await scene.hooks.round()
    assert [msgspec.json.decode(body)["type"] for _, _, body in scene.delivered] == ["job.needs-input"]


async def test_a_host_that_the_owner_did_not_allow_is_refused(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    with pytest.raises(Refusal) as caught:
        await scene.submit({"request": request(), "webhook": {"url": "http://169.254.169.254/latest"}})
    assert (caught.value.status, caught.value.code) == (422, "webhook_host_not_allowed")
