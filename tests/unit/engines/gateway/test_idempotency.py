"""A call under an idempotency key is made once, whatever its client, its upstream or its process does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.unit.engines.gateway.misbehaving import Act, hangs, misbehaving, reply, says
from tests.unit.engines.gateway.once_scene import NS, code, once_scene
from tests.unit.engines.gateway.stage import (
    PlainChain,
    PlainRuling,
    chat,
    chunk,
    cut_connection,
    plain_reply,
    spec,
    streamed,
)
from watchkeeper.engines.gateway.attempt import MARK
from watchkeeper.engines.gateway.idempotency import IdempotencySettings
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.gateway.route_spec import RouteSpec, TargetSpec
from watchkeeper.records.decision import Decision
from watchkeeper.records.ids import new_span_id, new_trace_id
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Span, Status

pytestmark = pytest.mark.anyio
DONE = b"data: [DONE]\n\n"


def event(**changes: Any) -> bytes:
    return b"data: " + as_json(chunk(**changes)) + b"\n\n"


WORDS = (event(delta={"role": "assistant", "content": "Hel"}), event(delta={"content": "lo."}), event(finish="stop"))


def slowly(seconds: float) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await plain_reply(request)

    return answer


async def test_a_repeat_has_the_first_reply_and_the_upstream_is_asked_once(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        status, headers, body = await scene.ask("a")
        again = await scene.ask("a")
        assert (status, body) == (again[0], again[2]) == (200, body)
        assert "x-watchkeeper-idempotent" not in headers
        assert again[1].pop("x-watchkeeper-idempotent") == "replayed"
        kept = {name for name in headers if name.startswith(("x-", "content-", "openai-"))}
        assert {name: again[1][name] for name in kept} == {name: headers[name] for name in kept}
        assert len(scene.upstream.heard) == 1


async def test_the_stored_reply_is_the_payload_of_the_record_and_not_a_copy(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        _, _, body = await scene.ask("a")
        held = scene.held("a")
        assert held is not None and held.body is not None and held.body.name == "reply"
        assert scene.once._read(held.body) == body
        assert body not in scene.cells.cells[scene.once.cell_of(None, "a")]  # type: ignore[operator]


async def test_another_body_under_the_same_key_is_refused(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        await scene.ask("a")
        status, headers, body = await scene.ask("a", chat(max_tokens=7))
        assert (status, code(body), headers["x-should-retry"]) == (422, "idempotency_key_reused", "false")
        assert len(scene.upstream.heard) == 1


async def test_a_stream_is_given_again_as_a_stream(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        scene.upstream.answer = streamed(*WORDS, DONE)
        first = await scene.ask("a", chat(stream=True))
        again = await scene.ask("a", chat(stream=True))
        assert first[2] == again[2] == b"".join(WORDS) + DONE
        assert again[1]["content-type"] == "text/event-stream"
        assert len(scene.upstream.heard) == 1


async def test_a_stream_from_which_the_usage_was_taken_out_is_given_again_without_it(tmp_path: Path) -> None:
    usage = b"data: " + as_json({**chunk(), "choices": [], "usage": {"prompt_tokens": 3}}) + b"\n\n"
    async with once_scene(tmp_path, ask_usage=True) as scene:
        scene.upstream.answer = streamed(*WORDS, usage, DONE)
        first = await scene.ask("a", chat(stream=True))
        again = await scene.ask("a", chat(stream=True))
        assert first[2] == again[2] == b"".join(WORDS) + DONE
        held = scene.held("a")
        assert held is not None and held.hide_usage


async def test_a_repeat_while_the_first_is_under_way_has_its_reply(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        scene.upstream.answer = slowly(0.2)
        answers = await asyncio.gather(*(scene.ask("a") for _ in range(5)))
        assert {answer[2] for answer in answers} == {answers[0][2]}
        assert [answer[0] for answer in answers] == [200] * 5
        assert len(scene.upstream.heard) == 1


async def test_a_repeat_that_will_not_wait_is_told_to_come_back(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        scene.upstream.answer = slowly(0.3)
        first = asyncio.create_task(scene.ask("a"))
        while not scene.upstream.heard:
            await asyncio.sleep(0.01)
        status, headers, body = await scene.ask("a", prefer="wait=0")
        assert (status, code(body)) == (409, "idempotency_in_progress")
        assert int(headers["retry-after"]) > 0
        assert (await first)[0] == 200
        assert len(scene.upstream.heard) == 1


async def test_a_client_that_gives_up_finds_its_call_when_it_comes_back(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        scene.upstream.answer = slowly(0.5)
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                async with asyncio.timeout(0.1):
                    await scene.ask("a")
        status, _, _ = await scene.ask("a")
        assert status == 200
        assert len(scene.upstream.heard) == 1


async def test_what_the_upstream_turned_away_may_be_made_again(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        for refused in (400, 429, 503):

            async def answer(request: web.Request, status: int = refused) -> web.StreamResponse:
                return web.json_response({"error": {"message": "no", "type": "t"}}, status=status)

            scene.upstream.answer = answer
            assert (await scene.ask(f"key-{refused}"))[0] == refused
            scene.upstream.answer = plain_reply
            status, headers, _ = await scene.ask(f"key-{refused}")
            assert (status, "x-watchkeeper-idempotent" in headers) == (200, False)


async def test_a_call_that_a_policy_stopped_leaves_its_key_free(tmp_path: Path) -> None:
    stop = Decision(verdict="deny", reason="no", sentence="No.", decision_id="dec_1")
    chain = PlainChain(ruling=PlainRuling(decisions=(stop,), stop=stop))
    async with once_scene(tmp_path, chain=chain) as scene:
        assert (await scene.ask("a"))[0] == 403
        assert scene.held("a") is None
        chain.ruling = PlainRuling()
        assert (await scene.ask("a"))[0] == 200


async def test_an_upstream_that_failed_is_unknown_until_the_caller_says_retry(tmp_path: Path) -> None:
    async def failing(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "oops"}}, status=500)

    async with once_scene(tmp_path) as scene:
        scene.upstream.answer = failing
        assert (await scene.ask("a"))[0] == 500
        scene.upstream.answer = plain_reply
        status, headers, body = await scene.ask("a")
        assert (status, code(body)) == (409, "idempotency_unknown")
        assert headers["x-should-retry"] == "false"
        assert b"X-Watchkeeper-On-Unknown: retry" in body
        assert (await scene.ask("a", x_watchkeeper_on_unknown="retry"))[0] == 200
        assert (await scene.ask("a"))[1]["x-watchkeeper-idempotent"] == "replayed"
        assert len(scene.upstream.heard) == 2


@pytest.mark.parametrize(("first", "state"), [(hangs, "unknown"), (says({"error": {"message": "busy"}}, 503), None)])
async def test_a_rescued_call_spends_its_key_when_an_attempt_before_the_last_may_have_been_charged(
    tmp_path: Path, first: Act, state: str | None
) -> None:
    async with misbehaving(first) as one, misbehaving(says({"error": {"message": "busy"}}, 503)) as other:
        more = (spec(one.url, name="one"), spec(other.url, name="two"))
        targets = (TargetSpec(upstream="one"), TargetSpec(upstream="two"))
        route = RouteSpec(name="twice", targets=targets, retries=0, attempt_s=0.1, repeat="any")
        async with once_scene(tmp_path, more=more, routes=(route,)) as scene:
            assert (await scene.ask("a", chat(model="twice")))[0] == 503
            assert (len(one.heard), len(other.heard)) == (1, 1)
            held = scene.held("a")
            assert (None if held is None else held.state) == state
            status, _, said = await scene.ask("a", chat(model="twice"))
            if state == "unknown":
                assert (status, code(said), len(other.heard)) == (409, "idempotency_unknown", 1)
            else:
                assert (status, len(other.heard)) == (503, 2)


async def test_a_call_that_another_upstream_answered_is_given_again(tmp_path: Path) -> None:
    async with (
        misbehaving(says({"error": {"message": "busy"}}, 503)) as one,
        misbehaving(says(reply("From the backup.", "beta"))) as other,
    ):
        more = (spec(one.url, name="one"), spec(other.url, name="two"))
        targets = (TargetSpec(upstream="one"), TargetSpec(upstream="two", model="beta"))
        route = RouteSpec(name="twice", targets=targets, retries=0)
        async with once_scene(tmp_path, more=more, routes=(route,)) as scene:
            first, again = await scene.ask("a", chat(model="twice")), await scene.ask("a", chat(model="twice"))
            assert (first[0], first[2]) == (again[0], again[2]) == (200, first[2])
            assert again[1]["x-watchkeeper-idempotent"] == "replayed"
            assert (len(one.heard), len(other.heard)) == (1, 1)


async def test_a_stream_that_broke_midway_is_unknown(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        scene.upstream.answer = streamed(WORDS[0], then=cut_connection)
        await scene.ask("a", chat(stream=True))
        status, _, body = await scene.ask("a", chat(stream=True))
        assert (status, code(body)) == (409, "idempotency_unknown")
        assert len(scene.upstream.heard) == 1


async def test_after_a_crash_an_ended_call_is_given_again_from_the_record(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        _, _, body = await scene.ask("a")
        scene.crashed("a")
        status, headers, again = await scene.ask("a")
        assert (status, again) == (200, body)
        assert headers["x-watchkeeper-idempotent"] == "replayed"
        assert headers["content-type"].startswith("application/json")
        assert len(scene.upstream.heard) == 1


async def test_after_a_crash_a_call_that_was_asked_and_not_ended_is_unknown(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        await scene.ask("a")
        opened = Span(
            trace_id=new_trace_id(), span_id=new_span_id(), start_ns=1, name="chat", status=Status.OPEN,
            attributes={MARK: "idm_lost"},
        )  # fmt: skip
        scene.journal.append(opened)
        scene.crashed("a", attempt="idm_lost")
        status, _, body = await scene.ask("a")
        assert (status, code(body)) == (409, "idempotency_unknown")
        assert opened.span_id.encode() in body
        assert len(scene.upstream.heard) == 1


async def test_after_a_crash_a_call_that_was_never_asked_is_made(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        await scene.ask("a")
        scene.crashed("a", attempt="idm_never")
        assert (await scene.ask("a"))[0] == 200
        assert len(scene.upstream.heard) == 2


async def test_after_the_machine_went_down_what_is_not_on_record_is_unknown(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        await scene.ask("a")
        scene.crashed("a", attempt="idm_never", holder={"boot": "another"})
        status, _, body = await scene.ask("a")
        assert (status, code(body)) == (409, "idempotency_unknown")


async def test_a_call_of_another_house_is_unknown_once_its_process_is_gone(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        await scene.ask("a")
        scene.crashed("a", holder={"house": "elsewhere"})
        status, _, body = await scene.ask("a")
        assert (status, code(body)) == (409, "idempotency_unknown")
        assert b"lies with that gateway" in body


async def test_a_key_is_free_again_after_its_time_and_swept_away(tmp_path: Path) -> None:
    async with once_scene(tmp_path, settings=IdempotencySettings(keep_s=60.0, wait_s=1.0)) as scene:
        await scene.ask("a")
        scene.clock.now_ns += 60 * NS
        assert "x-watchkeeper-idempotent" not in (await scene.ask("a"))[1]
        assert len(scene.upstream.heard) == 2
        scene.clock.now_ns += 60 * NS
        assert await scene.once.sweep() == 1
        assert scene.held("a") is None


async def test_keys_of_two_callers_do_not_meet(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        one, other = (
            Key(key_id=name, name=name, salt=b"", hash=b"", created_ns=0, tenant=name) for name in ("one", "other")
        )
        cells = {scene.once.cell_of(key, "same") for key in (one, other, None)}
        assert len(cells) == 3


async def test_without_cells_the_call_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with once_scene(tmp_path) as scene:

        async def gone(key: str) -> int | bytes | None:
            raise RuntimeError("the cells are gone")

        monkeypatch.setattr(scene.cells, "get", gone)
        status, _, body = await scene.ask("a")
        assert (status, code(body)) == (503, "idempotency_unavailable")
        assert scene.upstream.heard == []


async def test_a_call_that_cannot_be_recorded_is_not_made_under_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with once_scene(tmp_path) as scene:

        def full(*_: Any) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(scene.journal, "write", full)
        monkeypatch.setattr(scene.journal, "append", full)
        monkeypatch.setattr(scene.journal, "put", full)
        status, _, _ = await scene.ask("a")
        assert status == 503
        assert scene.upstream.heard == []


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9"])
async def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    async with once_scene(tmp_path) as scene:
        status, _, body = await scene.ask(key)
        assert (status, code(body)) == (400, "idempotency_key_malformed")


async def test_calls_without_a_key_go_as_before(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        for _ in range(2):
            async with scene.client.post(f"{scene.url}/v1/chat/completions", json=chat()) as answer:
                assert answer.status == 200
        assert len(scene.upstream.heard) == 2
        assert not any(name.startswith("idempotency/") for name in scene.cells.cells)


async def test_a_gateway_that_is_closed_leaves_no_call_as_running(tmp_path: Path) -> None:
    async with once_scene(tmp_path) as scene:
        scene.upstream.answer = slowly(30)
        lost = asyncio.create_task(scene.ask("a"))
        while not scene.upstream.heard:
            await asyncio.sleep(0.01)
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        await scene.gateway.close()
        held = scene.held("a")
        assert held is not None and held.state == "unknown"
        await scene.gateway.start()
