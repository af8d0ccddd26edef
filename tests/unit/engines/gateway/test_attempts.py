"""Upstreams that misbehave, and what the gateway makes of each: real servers on loopback, one fault a test."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.unit.engines.gateway.misbehaving import (
    closes,
    error,
    event,
    hangs,
    http,
    misbehaving,
    raw,
    refusing_url,
    reply,
    says,
    streams,
    words,
)
from tests.unit.engines.gateway.routed import WELL, WELL_STREAM, attempts, rescues, two
from tests.unit.engines.gateway.stage import PlainChain, chat, stage

pytestmark = pytest.mark.anyio


async def test_a_refused_connection_falls_back_and_says_so() -> None:
    async with two(refusing_url()) as (scene, _, other):
        answer = await scene.ask()
        assert answer.status == 200
        assert (await answer.json())["choices"][0]["message"]["content"] == "From the backup."
        assert answer.headers["x-watchkeeper-upstream"] == "two"
        assert answer.headers["x-watchkeeper-rescues"] == "fallback;n=1;to=two;reason=upstream_unreachable"
        assert other.heard[0]["model"] == "beta"
        span = scene.recorder.finished
        assert (span.upstream, span.status) == ("two", "ok")
        assert rescues(span) == [("fallback", "upstream_unreachable")]
        assert attempts(span) == [("one", "upstream_unreachable", 502), ("two", None, 200)]
        assert scene.recorder.body(span, "sent.2") is not None
        text = scene.gateway.measures.render().decode()
        assert 'watchkeeper_rescues_total{kind="fallback"} 1.0' in text
        assert "watchkeeper_rescues_per_success 1.0" in text


@pytest.mark.parametrize("status", [401, 404, 429, 500, 502, 503, 504, 529])
async def test_an_error_status_falls_back(status: int) -> None:
    async with two((error(status),)) as (scene, _, _):
        answer = await scene.ask()
        assert answer.status == 200
        assert rescues(scene.recorder.finished) == [("fallback", str(status))]


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_mistake_of_the_caller_is_not_asked_again(status: int) -> None:
    async with two((error(status),), retries=3) as (scene, one, other):
        answer = await scene.ask()
        assert answer.status == status
        assert one is not None and (len(one.heard), len(other.heard)) == (1, 0)
        assert "x-watchkeeper-rescues" not in answer.headers


async def test_without_a_route_nothing_is_tried_twice() -> None:
    async with misbehaving(error(500)) as lone, stage(upstream={"base_url": lone.url}) as scene:
        answer = await scene.ask()
        assert answer.status == 500 and len(lone.heard) == 1
        assert answer.headers["x-watchkeeper-upstream"] == "main"


async def test_a_retry_is_made_counted_and_told() -> None:
    async with two((error(503), error(503), says(reply())), retries=2) as (scene, one, other):
        answer = await scene.ask()
        assert answer.status == 200
        assert answer.headers["x-watchkeeper-rescues"] == "retry;n=2;reason=503"
        assert one is not None and (len(one.heard), len(other.heard)) == (3, 0)
        assert scene.recorder.finished.attributes["watchkeeper.rescues"] == 2


async def test_should_retry_false_of_the_provider_goes_before_the_settings() -> None:
    async with two((error(503, x_should_retry="false"),), retries=3) as (scene, one, _):
        answer = await scene.ask()
        assert one is not None and len(one.heard) == 1
        assert answer.headers["x-watchkeeper-rescues"].startswith("fallback")


@pytest.mark.parametrize("hint", ["1000000000", "-5", "nan", "inf", "soon", "1e400", "9" * 300])
async def test_an_absurd_hint_is_ignored_and_counted(hint: str) -> None:
    async with two((error(429, retry_after=hint), says(reply())), retries=1) as (scene, one, _):
        answer = await scene.ask()
        assert answer.status == 200
        assert one is not None and len(one.heard) == 2
        assert scene.gateway.board.absurd_hints["one"] == 1


async def test_a_long_but_honest_hint_is_not_waited_for() -> None:
    async with two((error(429, retry_after="3600"),), retries=3) as (scene, one, other):
        answer = await scene.ask()
        assert answer.status == 200
        assert one is not None and (len(one.heard), len(other.heard)) == (1, 1)
        await scene.ask()
        assert len(one.heard) == 1, "an upstream that asked to be left alone is left alone"


async def test_a_hanging_upstream_is_not_asked_again_blindly() -> None:
    async with two((hangs,), attempt_s=0.1) as (scene, _, other):
        answer = await scene.ask()
        assert answer.status == 504
        assert (await answer.json())["error"]["code"] == "upstream_timeout"
        assert other.heard == []


async def test_a_hanging_upstream_falls_back_where_the_route_says_so() -> None:
    async with two((hangs,), attempt_s=0.1, repeat="any") as (scene, _, other):
        answer = await scene.ask()
        assert answer.status == 200 and len(other.heard) == 1
        assert scene.recorder.finished.attributes["watchkeeper.attempts.unmetered"] == 1


async def test_a_deadline_holds_over_all_attempts() -> None:
    async with two((hangs,), (hangs,), deadline_s=0.3, repeat="any", retries=3, rescues=9) as (scene, one, other):
        answer = await scene.ask()
        assert answer.status == 504
        assert one is not None and len(one.heard) + len(other.heard) <= 2


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\x01\x02 nothing of HTTP\r\n\r\n", b"HTTP/9.9 banana\r\n\r\n", http(200, b"<html>no JSON</html>")],
)
async def test_garbage_may_have_been_charged_and_is_repeated_only_where_the_route_says_so(garbage: bytes) -> None:
    async with two((raw(garbage),)) as (scene, _, other):
        answer = await scene.ask()
        assert answer.status in (200, 502) and other.heard == []
        assert scene.recorder.finished.status == "error"
    async with two((raw(garbage),), repeat="any") as (scene, _, other):
        answer = await scene.ask()
        assert (await answer.json())["model"] == "beta" and len(other.heard) == 1


async def test_a_body_shorter_than_its_length_is_broken() -> None:
    short = http(200, json.dumps(reply()).encode()[:40], length=400)
    async with two((raw(short),)) as (scene, _, other):
        answer = await scene.ask()
        assert answer.status == 502 and other.heard == []
        assert scene.recorder.finished.error_type == "upstream_disconnected"
    async with two((raw(short),), repeat="any") as (scene, _, other):
        assert (await scene.ask()).status == 200 and len(other.heard) == 1


async def test_what_follows_on_a_body_longer_than_its_length_reaches_nobody() -> None:
    whole = json.dumps(reply()).encode()
    async with two((raw(http(200, whole + b"SMUGGLED", length=len(whole))), WELL)) as (scene, _, _):
        for _ in range(2):
            answer = await scene.ask()
            assert answer.status in (200, 502) and b"SMUGGLED" not in await answer.read()


async def test_a_200_with_an_error_inside_falls_back() -> None:
    inside = says({"error": {"message": "overloaded", "type": "overloaded_error", "code": 529}})
    async with two((inside,)) as (scene, _, _):
        answer = await scene.ask()
        assert (await answer.json())["model"] == "beta"
        assert rescues(scene.recorder.finished) == [("fallback", "529")]


async def test_a_200_with_a_mistake_of_the_caller_inside_is_passed_back() -> None:
    inside = {"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}
    async with two((says(inside),), retries=2) as (scene, _, other):
        answer = await scene.ask()
        assert (answer.status, await answer.json()) == (200, inside)
        assert other.heard == []


async def test_a_stream_whose_first_event_is_an_error_falls_back() -> None:
    broken = streams(b'data: {"error": {"message": "no", "type": "server_error"}}\n\n')
    async with two((broken,), (WELL_STREAM,)) as (scene, _, _):
        answer = await scene.ask(chat(stream=True))
        text = await answer.text()
        assert "From " in text and "[DONE]" in text and "server_error" not in text


@pytest.mark.parametrize("before", [(), (event(delta={"role": "assistant", "content": ""}),), (b": waiting\n\n",)])
async def test_a_stream_that_dies_before_its_first_token_falls_back(before: tuple[bytes, ...]) -> None:
    async with two((streams(*before, whole=False),), (WELL_STREAM,)) as (scene, _, other):
        answer = await scene.ask(chat(stream=True))
        text = await answer.text()
        assert "From " in text and text.count("[DONE]") == 1 and len(other.heard) == 1
        assert rescues(scene.recorder.finished)[0][0] == "fallback"


async def test_a_stream_that_ends_before_its_first_token_falls_back() -> None:
    async with two((streams(event(delta={"role": "assistant"})),), (WELL_STREAM,)) as (scene, _, other):
        answer = await scene.ask(chat(stream=True))
        assert "From " in await answer.text() and len(other.heard) == 1


async def test_a_stream_that_breaks_midway_ends_with_an_honest_error() -> None:
    async with two((streams(words("Once upon "), whole=False),), (WELL_STREAM,)) as (scene, _, other):
        answer = await scene.ask(chat(stream=True))
        text = await answer.text()
        assert "Once upon " in text and "upstream_disconnected" in text and "[DONE]" not in text
        assert other.heard == []
        assert scene.recorder.finished.error_type == "upstream_disconnected"


async def test_a_stream_that_stalls_midway_ends_with_an_honest_error() -> None:
    stalled = streams(words("Once upon "), whole=False, hang_s=5)
    async with two((stalled,), upstream={"idle_timeout_s": 0.1}) as (scene, _, _):
        answer = await scene.ask(chat(stream=True))
        text = await answer.text()
        assert "Once upon " in text and "upstream_timeout" in text and "fell silent" in text


async def test_a_broken_stream_is_continued_where_the_route_says_so_and_marked() -> None:
    chain = PlainChain()
    async with two(
        (streams(words("Once upon "), whole=False),), (WELL_STREAM,), on_broken_stream="continue", chain=chain
    ) as (scene, _, other):
        answer = await scene.ask(chat(stream=True))
        text = await answer.text()
        assert "Once upon " in text and "the backup." in text and text.endswith("data: [DONE]\n\n")
        assert ": watchkeeper continued; to=two; model=beta; reason=upstream_disconnected\n\n" in text
        assert other.heard[0]["messages"][-2] == {"role": "assistant", "content": "Once upon "}
        span = scene.recorder.finished
        assert span.status == "ok" and rescues(span) == [("continued", "upstream_disconnected")]
        assert span.upstream == "two"
        assert span.attributes["watchkeeper.attempts.unmetered"] == 1
        (settled,) = chain.settled
        reserved = chain.asked[0].bound
        assert reserved is not None and reserved.nano_usd is not None and settled[2] is not None
        assert 15e-6 < settled[2].usd <= reserved.nano_usd / 1e9


async def test_half_a_tool_call_is_not_continued() -> None:
    half = event(delta={"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a'}}]})
    async with two((streams(half, whole=False),), (WELL_STREAM,), on_broken_stream="continue") as (scene, _, other):
        text = await (await scene.ask(chat(stream=True))).text()
        assert "upstream_disconnected" in text and other.heard == []


async def test_a_continued_stream_that_breaks_too_ends_with_an_error() -> None:
    async with two(
        (streams(words("Once "), whole=False),),
        (streams(words("upon "), whole=False),),
        on_broken_stream="continue",
    ) as (scene, one, other):
        text = await (await scene.ask(chat(stream=True))).text()
        assert "Once " in text and "upon " in text and "upstream_disconnected" in text and "[DONE]" not in text
        assert one is not None and (len(one.heard), len(other.heard)) == (1, 1)


async def test_a_429_in_the_middle_of_a_stream_is_told_once_and_spins_nothing() -> None:
    planted = b'data: {"error": {"message": "slow down", "type": "rate_limit_error", "code": 429}}\n\n'
    async with two((streams(words("Once "), planted),), retries=5, rescues=9) as (scene, one, other):
        before = time.process_time()
        text = await (await scene.ask(chat(stream=True))).text()
        assert time.process_time() - before < 2
        assert text.count("slow down") == 1
        assert one is not None and (len(one.heard), len(other.heard)) == (1, 0)
        assert scene.recorder.finished.error_type == "429"


async def test_zero_hints_without_end_do_not_spin() -> None:
    stubborn = error(429, retry_after="0")
    async with two((stubborn,), (stubborn,), retries=10, rescues=6) as (scene, one, other):
        answer = await scene.ask()
        assert answer.status == 429
        assert one is not None and len(one.heard) + len(other.heard) <= 7
        assert scene.recorder.finished.attributes["watchkeeper.rescues"] <= 6


async def test_a_keep_alive_connection_that_closes_as_it_is_used_may_have_carried_the_call() -> None:
    async with two((says(reply()), closes)) as (scene, one, other):
        assert (await scene.ask()).status == 200
        second = await scene.ask()
        assert second.status == 502 and other.heard == []
        assert one is not None and len(one.heard) == 2, "the upstream did read the second request"


async def test_an_idle_connection_that_was_closed_is_not_used_again() -> None:
    async with two((raw(http(200, json.dumps(reply()).encode())),)) as (scene, one, _):
        for _ in range(5):
            assert (await scene.ask()).status == 200
            await asyncio.sleep(0.01)
        assert one is not None and one.connections == 5


async def test_the_reservation_covers_the_dearest_target() -> None:
    chain = PlainChain()
    async with two((WELL,), chain=chain) as (scene, _, _):
        await scene.ask(chat(model="alpha"))
        plain = chain.asked[0].bound
        assert plain is not None and plain.output_tokens == 50
    chain = PlainChain()
    async with two((WELL,), chain=chain, repeat="any", rescues=2) as (scene, _, _):
        await scene.ask(chat(model="alpha"))
        covering = chain.asked[0].bound
        assert covering is not None and plain is not None
        assert (covering.output_tokens, covering.nano_usd) == (150, 3 * (plain.nano_usd or 0))


async def test_what_a_failed_attempt_cost_is_not_lost() -> None:
    charged = says({"error": {"message": "died", "type": "server_error"}, "usage": reply()["usage"], "choices": []})
    chain = PlainChain()
    async with two((charged,), repeat="any", chain=chain) as (scene, _, _):
        answer = await scene.ask()
        assert answer.status == 200
        span = scene.recorder.finished
        assert (span.usage.input_tokens, span.usage.output_tokens) == (24, 6)
        assert span.cost_usd == pytest.approx(30e-6)
        (settled,) = chain.settled
        assert settled[1].output_tokens == 6 and settled[2] is not None


async def test_a_call_that_no_upstream_took_gives_its_reservation_back() -> None:
    chain = PlainChain()
    async with two(refusing_url(), (error(503),), chain=chain) as (scene, _, _):
        assert (await scene.ask()).status == 503
        assert len(chain.released) == 1 and chain.settled == []


async def test_a_retry_of_the_callers_own_client_is_counted_too() -> None:
    async with two((says(reply()),)) as (scene, _, _):
        answer = await scene.ask(x_stainless_retry_count="2")
        assert answer.headers["x-watchkeeper-rescues"] == "client_retry;n=1"
        assert rescues(scene.recorder.finished) == [("client_retry", None)]


async def test_switched_off_is_off() -> None:
    for off in ({"rescues": 0, "retries": 5}, {"retry_statuses": (), "fallback_statuses": (), "retries": 5}):
        async with two((error(503),), **off) as (scene, one, other):
            assert (await scene.ask()).status == 503
            assert one is not None and (len(one.heard), len(other.heard)) == (1, 0)


async def test_a_caller_may_name_one_target_of_a_route_and_nothing_beyond_what_it_serves() -> None:
    async with two((error(503),)) as (scene, _, other):
        answer = await scene.ask(x_watchkeeper_upstream="two")
        assert answer.status == 200 and answer.headers.getall("x-watchkeeper-upstream") == ["two"]
        answer = await scene.ask(x_watchkeeper_upstream="one")
        assert answer.status == 503 and len(other.heard) == 1
        assert (await scene.ask(x_watchkeeper_upstream="nobody")).status == 404
    only = {"models": ("cheap-*",)}
    async with stage(upstream=only) as scene:
        assert (await scene.ask(chat(model="dear"), x_watchkeeper_upstream="main")).status == 404
        assert (await scene.ask(chat(model="cheap-1"), x_watchkeeper_upstream="main")).status == 200
