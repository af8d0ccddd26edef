"""A pace lets so much through a minute, evenly, first come first served, whatever the sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.engines.experiments.pacing import Pace

pytestmark = pytest.mark.anyio


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, pause: float) -> None:
        self.now += pause


@pytest.mark.parametrize("per_minute", [0, -1.0, float("nan")])
def test_a_rate_that_cannot_be_is_refused(per_minute: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Pace(per_minute)


@given(
    st.lists(st.floats(min_value=0.1, max_value=500), min_size=2, max_size=60), st.floats(min_value=1, max_value=6000)
)
def test_in_no_stretch_does_more_pass_than_the_rate_and_one_burst_allow(
    amounts: list[float], per_minute: float
) -> None:
    import anyio

    clock = Clock()
    pace = Pace(per_minute, monotonic=clock, sleep=clock.sleep)
    passed: list[tuple[float, float]] = []

    async def play() -> None:
        for amount in amounts:
            await pace.wait(amount)
            passed.append((clock.now, amount))

    anyio.run(play)
    for begin in range(len(passed)):
        units = 0.0
        for end in range(begin, len(passed) - 1):
            units += passed[end][1]
            stretch = passed[end + 1][0] - passed[begin][0]
            assert units <= per_minute / 60 * (stretch + 1.0) + 1e-6 * units + 1e-6


async def test_after_quiet_one_burst_passes_at_once() -> None:
    clock = Clock()
    pace = Pace(600, monotonic=clock, sleep=clock.sleep)
    await pace.wait()
    clock.now += 100
    assert [await pace.wait() for _ in range(11)] == [0.0] * 11
    assert await pace.wait() > 0


async def test_what_turns_out_to_be_more_is_waited_for_afterwards() -> None:
    clock = Clock()
    pace = Pace(60, burst_s=0, monotonic=clock, sleep=clock.sleep)
    await pace.wait()
    pace.correct(4)
    assert await pace.wait() == pytest.approx(5.0)
