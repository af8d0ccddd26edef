"""Token buckets keep their rate whatever comes, and gates keep their order, their bounds and their count."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.limits import Gate, Lease, TokenBucket
from watchkeeper.engines.gateway.route_spec import LimitSpec


@given(
    st.floats(0.1, 10_000),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0.1, 50)), min_size=1, max_size=100),
)
def test_in_any_stretch_no_more_than_a_burst_and_the_rate(rate: float, asked: list[tuple[float, float]]) -> None:
    bucket, now_s = TokenBucket(rate, 0.0), 0.0
    taken: list[tuple[float, float]] = []
    for pause_s, amount in asked:
        now_s += pause_s
        amount = min(amount, bucket.burst)
        if bucket.take(amount, now_s) == 0:
            taken.append((now_s, amount))
    for first in range(len(taken)):
        total = 0.0
        for at, amount in taken[first:]:
            total += amount
            assert total <= bucket.burst + (at - taken[first][0]) * bucket.rate_s + 1e-6 * (1 + total)


@given(st.floats(0.1, 10_000), st.floats(0.1, 1e6))
def test_what_it_says_to_wait_is_enough(rate: float, amount: float) -> None:
    bucket = TokenBucket(rate, 0.0)
    bucket.take(bucket.burst, 0.0)
    wait_s = bucket.take(amount, 0.0)
    assert wait_s > 0
    assert bucket.take(amount, wait_s * (1 + 1e-9)) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = TokenBucket(60, 100.0)
    bucket.take(10, 100.0)
    assert bucket.take(1, 50.0) > 0


def test_a_wrong_guess_is_made_right() -> None:
    bucket = TokenBucket(600, 0.0)
    bucket.take(50, 0.0)
    bucket.correct(150, 0.0)
    assert bucket.level(0.0) == pytest.approx(-100)
    bucket.correct(-1000, 0.0)
    assert bucket.level(0.0) == bucket.burst


def gate(**limits: object) -> Gate:
    return Gate("up", LimitSpec(**limits), asyncio.get_running_loop().time)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_turns_are_given_in_the_order_of_coming() -> None:
    way, order = gate(max_concurrency=1, queue=10, queue_s=5), []

    async def one(number: int) -> None:
        lease = await way.enter(1)
        order.append(number)
        await asyncio.sleep(0)
        lease.release()

    await asyncio.gather(*(one(number) for number in range(8)))
    assert order == list(range(8)) and way.in_flight == way.queued == 0


@pytest.mark.anyio
async def test_a_turn_is_given_back_only_once() -> None:
    way = gate(max_concurrency=2)
    lease: Lease = await way.enter(1)
    lease.release()
    lease.release()
    assert way.in_flight == 0


@pytest.mark.anyio
async def test_a_full_queue_says_so_at_once_and_a_long_wait_in_time() -> None:
    way = gate(max_concurrency=1, queue=1, queue_s=0.05)
    held = await way.enter(1)
    waiting = asyncio.create_task(way.enter(1))
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as full:
        await way.enter(1)
    assert (full.value.status, full.value.code) == (503, "upstream_queue_full")
    with pytest.raises(Refusal) as late:
        await waiting
    assert late.value.code == "upstream_queue_timeout"
    held.release()
    assert (way.in_flight, way.queued, way.refused) == (0, 0, 2)


@pytest.mark.anyio
async def test_who_leaves_the_queue_or_just_got_a_turn_keeps_nothing() -> None:
    way = gate(max_concurrency=1, queue=10, queue_s=5)
    held = await way.enter(1)
    tasks = [asyncio.create_task(way.enter(1)) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    held.release()
    tasks[0].cancel()
    last = await tasks[2]
    last.release()
    assert (way.in_flight, way.queued) == (0, 0)


@pytest.mark.anyio
async def test_a_rate_lets_the_next_through_when_its_time_has_come() -> None:
    way = gate(requests_per_minute=1200, queue=10, queue_s=5)
    way._calls.take(way._calls.burst, way._clock_s())  # type: ignore[union-attr]
    for _ in range(3):
        (await way.enter(1)).release()
    assert way.in_flight == 0


@pytest.mark.anyio
async def test_wider_limits_let_in_at_once_who_waits() -> None:
    way = gate(max_concurrency=1, queue=10, queue_s=5)
    await way.enter(1)
    waiting = asyncio.create_task(way.enter(1))
    await asyncio.sleep(0)
    way.set(LimitSpec(max_concurrency=2))
    await waiting
    assert way.in_flight == 2
