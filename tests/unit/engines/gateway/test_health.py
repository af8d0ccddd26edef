"""Breakers, limits and settings taken anew, in a gateway at work."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from tests.unit.engines.gateway.misbehaving import (
    error,
    hangs,
    misbehaving,
    refusing_url,
    reply,
    says,
    streams,
    words,
)
from tests.unit.engines.gateway.routed import alone, rescues, two
from tests.unit.engines.gateway.stage import chat, spec, stage
from watchkeeper.engines.gateway.route_spec import BreakerSpec, LimitSpec, RouteSpec, TargetSpec
from watchkeeper.engines.gateway.settings import SettingsError

pytestmark = pytest.mark.anyio


async def test_a_breaker_opens_steers_away_and_closes_again() -> None:
    sick = BreakerSpec(failures=2, open_s=0.1, successes=1)
    async with two((error(500), error(500), says(reply())), upstream={"breaker": sick}) as (scene, one, other):
        for _ in range(3):
            assert (await scene.ask()).status == 200
        assert one is not None and (len(one.heard), len(other.heard)) == (2, 3)
        assert rescues(scene.recorder.finished) == [("fallback", "circuit_open")]
        (state,) = [each for each in scene.gateway.board.states() if each.upstream == "one"]
        assert state.state == "open" and "2 failures in a row" in state.why
        await asyncio.sleep(0.12)
        answer = await scene.ask()
        assert answer.headers["x-watchkeeper-upstream"] == "one"
        (state,) = [each for each in scene.gateway.board.states() if each.upstream == "one"]
        assert state.state == "closed"


async def test_an_open_breaker_never_drops_a_call_that_has_no_other_way() -> None:
    sick = BreakerSpec(failures=1, open_s=60)
    async with two((error(500),), (error(500),), upstream={"breaker": sick}) as (scene, one, _):
        for _ in range(3):
            answer = await scene.ask()
            assert answer.status == 500 and "planted" in await answer.text()
        assert one is not None and len(one.heard) >= 1


async def test_alone_and_told_to_refuse_it_refuses_honestly() -> None:
    sick = BreakerSpec(failures=1, open_s=60, when_alone="refuse")
    async with misbehaving(error(500)) as lone, alone(lone, breaker=sick) as scene:
        assert (await scene.ask()).status == 500
        answer = await scene.ask()
        assert answer.status == 503 and int(answer.headers["retry-after"]) > 30
        assert (await answer.json())["error"]["code"] == "circuit_open"
        assert len(lone.heard) == 1


async def test_a_full_upstream_falls_back_and_a_full_one_alone_says_when() -> None:
    async def slow(writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.3)
        return await says(reply())(writer)

    tight = {"limits": LimitSpec(max_concurrency=1, queue=0)}
    async with two((slow,), upstream=tight) as (scene, _, other):
        answers = await asyncio.gather(*(scene.ask() for _ in range(4)))
        assert [each.status for each in answers] == [200] * 4
        assert len(other.heard) == 3
    async with misbehaving(slow) as lone:
        limits = LimitSpec(max_concurrency=1, queue=1, queue_s=0.05)
        async with alone(lone, limits=limits) as scene:
            answers = await asyncio.gather(*(scene.ask() for _ in range(3)))
            assert sorted(each.status for each in answers) == [200, 503, 503]
            codes = {(await each.json())["error"]["code"] for each in answers if each.status == 503}
            assert codes == {"upstream_queue_full", "upstream_queue_timeout"}
            assert all(int(each.headers["retry-after"]) >= 1 for each in answers if each.status == 503)


async def test_a_used_up_rate_is_a_429_that_says_when() -> None:
    limits = LimitSpec(requests_per_minute=6, queue=0)
    async with misbehaving(says(reply())) as lone, alone(lone, limits=limits) as scene:
        assert (await scene.ask()).status == 200
        answer = await scene.ask()
        assert answer.status == 429 and 1 <= int(answer.headers["retry-after"]) <= 20
        assert len(lone.heard) == 1


async def test_ten_calls_share_two_places_and_none_is_lost() -> None:
    most = 0
    now = 0

    async def counting(writer: asyncio.StreamWriter) -> bool:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        return await says(reply())(writer)

    async with misbehaving(counting) as lone:
        limits = LimitSpec(max_concurrency=2, queue=50, queue_s=5)
        async with alone(lone, limits=limits) as scene:
            answers = await asyncio.gather(*(scene.ask() for _ in range(10)))
            assert [each.status for each in answers] == [200] * 10
            assert most == 2
            assert scene.gateway.board.gate(spec(lone.url, name="lone")).in_flight == 0


async def test_a_client_that_leaves_while_it_waits_gives_its_turn_back() -> None:
    async with misbehaving(hangs) as lone:
        limits = LimitSpec(max_concurrency=1, queue=5, queue_s=5)
        async with alone(lone, limits=limits) as scene:
            gate = scene.gateway.board.gate(spec(lone.url, name="lone"))
            tasks = [asyncio.create_task(scene.ask()) for _ in range(3)]
            while gate.in_flight < 1 or gate.queued < 2:
                await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for _ in range(200):
                if gate.in_flight == gate.queued == 0:
                    break
                await asyncio.sleep(0.01)
            assert (gate.in_flight, gate.queued) == (0, 0)


async def test_a_call_that_nobody_answered_counts_against_its_upstream() -> None:
    async with stage(upstream={"base_url": refusing_url()}) as scene:
        for _ in range(5):
            assert (await scene.ask()).status == 502
        (state,) = scene.gateway.board.states()
        assert (state.state, state.attempts, state.failures) == ("open", 5, 5)
        assert (await scene.ask()).status == 502, "and it is tried all the same, for there is no other"


async def test_other_settings_are_taken_while_a_stream_runs() -> None:
    began = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> bool:
        began.set()
        return await streams(words("One ", "two ", "three"), hang_s=0.1)(writer)

    async with two((slow,)) as (scene, one, other):
        asked = asyncio.create_task(scene.ask(chat(stream=True)))
        await began.wait()
        settings = scene.gateway.settings
        kept = tuple(each for each in settings.upstreams if each.name != "one")
        route = RouteSpec(name="alpha", targets=(TargetSpec(upstream="two", model="beta"),))
        scene.gateway.reload(replace(settings, upstreams=kept, routes=(route,)), scene.chain)
        assert (await (await scene.ask()).json())["model"] == "beta"
        assert "three" in await (await asked).text()
        assert one is not None and (len(one.heard), len(other.heard)) == (1, 1)


async def test_settings_that_cannot_work_change_nothing() -> None:
    async with two((says(reply()),)) as (scene, _, _):
        bad = (RouteSpec(name="alpha", targets=(TargetSpec(upstream="nobody"),)),)
        with pytest.raises(SettingsError, match="nobody"):
            scene.gateway.reload(replace(scene.gateway.settings, routes=bad), scene.chain)
        assert (await scene.ask()).status == 200
