"""A job runs step after step, survives its process, and is verified only when what it declared held."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.engines.jobs.scene import Scene, request, wish
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.jobs.calling import Reply
from watchkeeper.engines.jobs.effects import Settlement
from watchkeeper.engines.jobs.shapes import SentProgress, SentResume
from watchkeeper.records.job import Job

pytestmark = pytest.mark.anyio


def error(status: int, code: str, kind: str = "watchkeeper_unavailable") -> Reply:
    return Reply(status, "application/json", b"{}", code, kind, "It did not go.", None)


@pytest.mark.parametrize(
    ("postconditions", "outcome"),
    [
        ([{"scorer": "s", "name": "said"}], "completed-verified"),
        ([{"scorer": "s", "name": "missing"}], "completed-unverified"),
        ([{"scorer": "s", "name": "said"}, {"scorer": "s", "name": "missing"}], "completed-unverified"),
        ([], "completed-unverified"),
    ],
)
async def test_verified_means_that_all_that_was_declared_held(
    tmp_path: Path, postconditions: list[dict[str, str]], outcome: str
) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"request": request(), "postconditions": postconditions})
    assert (job.status, job.outcome) == ("queued", None)
    ended = await scene.run(job.job_id)
    assert (ended.status, ended.outcome, len(ended.checks)) == ("ended", outcome, len(postconditions))
    assert (ended.model, ended.cost_usd, ended.stop_reason) == ("alpha-1", 0.5, "completed")
    assert [each.status for each in scene.records(Job)] == ["queued", "running", "running", "ended"]


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (error(403, "budget_exceeded", "watchkeeper_denied"), "refused"),
        (error(409, "idempotency_unknown"), "unknown"),
        (error(409, "idempotency_reply_not_kept"), "unknown"),
        (error(404, "model_not_found", "watchkeeper_not_found"), "failed"),
    ],
)
async def test_an_error_of_the_gateway_says_what_the_outcome_is(tmp_path: Path, reply: Reply, outcome: str) -> None:
    scene = Scene(tmp_path, lambda step, body: reply)
    ended = await scene.run((await scene.submit({"request": request()})).job_id)
    assert (ended.outcome, ended.stop_reason) == (outcome, reply.code)


async def test_a_model_that_declines_refuses_the_job(tmp_path: Path) -> None:
    from tests.unit.engines.jobs.scene import said

    reply = Reply(200, "application/json", said("", "content_filter"), None, None, "", None)
    scene = Scene(tmp_path, lambda step, body: reply)
    ended = await scene.run((await scene.submit({"request": request()})).job_id)
    assert (ended.outcome, ended.stop_reason) == ("refused", "content_filter")


async def test_a_step_uses_the_output_of_a_former_one(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    messages = [{"role": "user", "content": {"$output": "draft"}}]
    steps = [{"name": "draft", "request": request()}, {"name": "review", "request": request(messages=messages)}]
    ended = await scene.run((await scene.submit({"steps": steps})).job_id)
    assert ended.outcome == "completed-unverified"
    assert scene.caller.calls[1][1]["messages"][0]["content"] == "said in draft"
    assert ended.cost_usd == 1.0


async def test_a_job_that_asks_waits_over_a_restart_and_goes_on_with_the_answer(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    steps = [
        {"name": "draft", "request": request()},
        {"name": "approve", "ask": "May I send it?"},
        {"name": "send", "request": request(user={"$output": "approve"})},
    ]
    job = await scene.submit({"steps": steps})
    waiting = await scene.run(job.job_id)
    assert (waiting.status, waiting.outcome, waiting.question) == ("waiting", "needs-input", "May I send it?")
    later = scene.restarted()
    with pytest.raises(Refusal) as caught:
        await later.desk.resume(job.job_id, SentResume())
    assert caught.value.code == "input_missing"
    await later.desk.resume(job.job_id, SentResume(input="yes"))
    ended = await later.run(job.job_id)
    assert ended.outcome == "completed-unverified"
    assert later.caller.calls == [("send", {**request()["body"], "user": "yes"})]


async def test_a_job_whose_process_died_is_taken_on_and_calls_nothing_twice(tmp_path: Path) -> None:
    held = asyncio.Event()

    def answer(step: str, body: Any) -> str:
        if step == "second" and not held.is_set():
            raise asyncio.CancelledError
        return f"said in {step}"

    scene = Scene(tmp_path, answer)
    steps = [{"name": "first", "request": request()}, {"name": "second", "request": request()}]
    job = await scene.submit({"steps": steps})
    with pytest.raises(asyncio.CancelledError):
        await scene.runner._run(job.job_id)
    assert (await scene.desk.get(job.job_id)).status == "running"
    held.set()
    later = scene.restarted()
    await later.runner._look()
    await asyncio.gather(*later.runner._tasks.values())
    ended = await later.desk.get(job.job_id)
    assert ended.outcome == "completed-unverified"
    assert [step for step, _ in later.caller.calls] == ["second"]


async def test_a_job_of_another_house_is_left_alone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"request": request()})
    value = scene.cells.cells[f"job/{job.job_id}"]
    from watchkeeper.engines.jobs.state import JobState
    from watchkeeper.records.record import pack, unpack

    assert isinstance(value, bytes)
    foreign = msgspec.structs.replace(unpack(JobState, value), house="elsewhere")
    scene.cells.cells[f"job/{job.job_id}"] = pack(foreign)
    await scene.runner._look()
    assert scene.runner._tasks == {}


async def test_an_unknown_job_goes_on_only_when_a_person_says_so(tmp_path: Path) -> None:
    replies: list[Reply | str] = [error(409, "idempotency_unknown"), "said"]
    scene = Scene(tmp_path, lambda step, body: replies.pop(0))
    job = await scene.submit({"request": request()})
    assert (await scene.run(job.job_id)).outcome == "unknown"
    resumed = await scene.desk.resume(job.job_id, SentResume(on_unknown="retry"))
    assert (resumed.status, resumed.outcome, resumed.retry_unknown) == ("queued", None, True)
    assert (await scene.run(job.job_id)).outcome == "completed-unverified"
    with pytest.raises(Refusal) as caught:
        await scene.desk.resume(job.job_id, SentResume())
    assert caught.value.code == "job_not_waiting"


async def test_a_step_waits_for_the_receipt_of_its_effect(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    steps = [{"name": "refund", "effect": {"tool": "refund", "object": "order 7"}}]
    job = await scene.submit({"steps": steps, "postconditions": [{"effect": "refund"}], "run": "run-1"})
    running = asyncio.create_task(scene.run(job.job_id))
    await asyncio.sleep(0.05)
    assert not running.done()
    await scene.effects.claim(wish())
    await scene.effects.settle(
        Settlement(effect_id=wish().effect_id, status="done", actor="t", claim="claim-one", receipt='{"id": 7}')
    )
    ended = await running
    assert (ended.outcome, ended.results[0].receipt) == ("completed-verified", '{"id": 7}')


async def test_a_cancelled_job_has_no_later_effect_and_no_other_end(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"request": request(), "run": "run-1"})
    await scene.desk.cancel(job.job_id, "key:1")
    await scene.desk.cancel(job.job_id, "key:1")
    with pytest.raises(Refusal) as caught:
        await scene.effects.claim(wish())
    assert caught.value.code == "run_cancelled"
    assert (await scene.run(job.job_id)).outcome == "cancelled"
    assert scene.caller.calls == []
    with pytest.raises(Refusal) as again:
        await scene.desk.note(job.job_id, SentProgress(progress=0.5))
    assert again.value.code == "job_ended"


async def test_a_job_that_is_cancelled_during_its_call_stays_cancelled(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    def answer(step: str, body: Any) -> str:
        return "said"

    job = await scene.submit({"request": request()})
    original = scene.caller.call

    async def cancelled_meanwhile(*given: Any) -> Reply:
        await scene.desk.cancel(job.job_id, "local")
        return await original(*given)

    scene.caller.call = cancelled_meanwhile  # type: ignore[method-assign]
    assert (await scene.run(job.job_id)).outcome == "cancelled"


async def test_a_job_that_has_completed_cannot_be_cancelled(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"request": request()})
    await scene.run(job.job_id)
    with pytest.raises(Refusal) as caught:
        await scene.desk.cancel(job.job_id, "local")
    assert (caught.value.status, caught.value.code) == (409, "job_ended")


async def test_a_key_that_was_revoked_ends_its_jobs(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"request": request()})
    scene.key_problem = "The key k lets nobody in any more."
    ended = await scene.run(job.job_id)
    assert (ended.outcome, ended.stop_reason) == ("refused", "key_gone")


async def test_the_same_submission_under_a_key_is_the_same_job(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first = await scene.submit({"request": request()}, "k")
    assert (await scene.submit({"request": request()}, "k")).job_id == first.job_id
    with pytest.raises(Refusal) as caught:
        await scene.submit({"request": request(max_tokens=3)}, "k")
    assert (caught.value.status, caught.value.code) == (422, "idempotency_key_reused")
    assert len(await scene.desk.open_jobs()) == 1


async def test_a_submission_from_which_something_was_taken_out_is_not_carried_out_after_a_restart(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)
    job = await scene.submit({"request": request()})
    from watchkeeper.engines.jobs.state import JobState
    from watchkeeper.records.record import pack, unpack

    value = scene.cells.cells[f"job/{job.job_id}"]
    assert isinstance(value, bytes)
    state = unpack(JobState, value)
    body = msgspec.structs.replace(state.body, redactions=1)
    scene.cells.cells[f"job/{job.job_id}"] = pack(msgspec.structs.replace(state, body=body))
    later = scene.restarted()
    ended = await later.run(job.job_id)
    assert (ended.outcome, ended.stop_reason) == ("failed", "submission_not_kept")
    assert later.caller.calls == []


async def test_more_jobs_than_may_be_open_are_turned_away(tmp_path: Path) -> None:
    from watchkeeper.engines.jobs.desk import Allowed

    scene = Scene(tmp_path, allowed=Allowed(most_open=2))
    await scene.submit({"request": request()})
    await scene.submit({"request": request()})
    await scene.submit({"request": request()})
    with pytest.raises(Refusal) as caught:
        await scene.submit({"request": request()})
    assert caught.value.status == 429
