"""Work ends with all done, at a cap or when somebody stops it, and keeps what was done."""

from __future__ import annotations

import asyncio

import pytest

from watchkeeper.engines.experiments.asking import CapReached
from watchkeeper.engines.experiments.working import STOPPED, work_through

pytestmark = pytest.mark.anyio


async def test_everything_is_done_in_the_order_of_the_things_and_no_more_at_a_time_than_wanted() -> None:
    now = most = 0

    async def twice(number: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001 * (7 - number))
        now -= 1
        return 2 * number

    done = await work_through(range(7), twice, 3, asyncio.Event())
    assert (done.each, done.ended_by, done.stopped) == ([0, 2, 4, 6, 8, 10, 12], None, False)
    assert most == 3


async def test_what_hangs_is_left_when_somebody_stops_and_what_was_done_is_kept() -> None:
    stopping, cancelled = asyncio.Event(), []

    async def hang_at_two(number: int) -> int:
        if number < 2:
            return number
        stopping.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    done = await work_through(range(5), hang_at_two, 2, stopping)
    assert (done.each, done.ended_by, done.stopped) == ([0, 1], STOPPED, True)
    assert cancelled


async def test_a_cap_ends_it_with_its_sentence_after_what_is_under_way() -> None:
    async def capped(number: int) -> int:
        if number == 3:
            raise CapReached("no money left")
        await asyncio.sleep(0.001)
        return number

    done = await work_through(range(9), capped, 2, asyncio.Event())
    assert (done.ended_by, done.stopped) == ("no money left", False)
    assert done.each[:3] == [0, 1, 2]
    assert len(done.each) < 8


async def test_another_failure_is_raised_and_nothing_goes_on_behind_it() -> None:
    begun: list[int] = []

    async def broken(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ZeroDivisionError
        await asyncio.sleep(0.001)
        return number

    with pytest.raises(ZeroDivisionError):
        await work_through(range(100), broken, 2, asyncio.Event())
    before = len(begun)
    await asyncio.sleep(0.01)
    assert len(begun) == before < 100


async def test_nothing_to_do_is_done_and_stopped_before_the_start_is_stopped() -> None:
    async def same(number: int) -> int:
        return number

    stopping = asyncio.Event()
    assert (await work_through([], same, 4, stopping)).ended_by is None
    stopping.set()
    assert (await work_through(range(3), same, 4, stopping)).stopped
