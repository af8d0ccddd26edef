"""Silence is found, and what goes on is left alone, at the stated rate."""

from __future__ import annotations

import math
from random import Random

import pytest

from watchkeeper.analysis.silence import LEARN_BLOCKS, Slot, lower_bound, silence

ALPHA = 0.05


def stream(chance: Random, slots: int, calls: int, rate: float, until: int | None = None) -> list[Slot]:
    return [
        Slot(n, calls, sum(chance.random() < rate for _ in range(calls)) if until is None or n < until else 0)
        for n in range(slots)
    ]


def test_of_streams_in_which_nothing_changes_no_more_raise_an_alarm_than_stated() -> None:
    chance, alarms, streams = Random(7), 0, 200
    for _ in range(streams):
        slots = stream(chance, 400, 5, 0.3)
        alarms += any(silence(slots[:end], ALPHA) for end in range(40, 401, 8))
    assert alarms <= ALPHA * streams


def test_with_a_declared_rate_that_holds_exactly_the_rate_of_false_alarms_is_kept() -> None:
    chance, alarms, streams = Random(8), 0, 200
    for _ in range(streams):
        slots = stream(chance, 300, 4, 0.25)
        alarms += any(silence(slots[:end], ALPHA, declared=0.25) for end in range(1, 301, 6))
    assert alarms <= ALPHA * streams + 3 * math.sqrt(streams * ALPHA * (1 - ALPHA))


def test_a_control_that_stops_is_found_every_time() -> None:
    chance = Random(9)
    for _ in range(50):
        slots = stream(chance, 500, 5, 0.3, until=350)
        found = silence(slots, ALPHA)
        assert found is not None
        assert 345 <= found.since_ns <= 350
        assert found.expected == pytest.approx(found.opportunities * 0.3, rel=0.2)


def test_a_long_healthy_time_does_not_hide_a_silence() -> None:
    slots = [Slot(n, 3, 3) for n in range(20_000)] + [Slot(n, 3, 0) for n in range(20_000, 20_040)]
    assert silence(slots, 0.001) is not None


def test_before_there_is_enough_to_learn_from_nothing_is_said() -> None:
    short = [Slot(n, 3, 3) for n in range(10 + LEARN_BLOCKS - 1)] + [Slot(100 + n, 3, 0) for n in range(500)]
    assert silence(short[: 10 + LEARN_BLOCKS], ALPHA) is None
    assert silence([], ALPHA) is None
    assert silence([Slot(0, 100, 0)] * 100, ALPHA) is None


@pytest.mark.parametrize(("successes", "n", "error"), [(40, 40, 0.05), (35, 40, 0.01), (1, 10, 0.05)])
def test_the_lower_bound_is_where_so_many_successes_become_that_unlikely(successes: int, n: int, error: float) -> None:
    bound = lower_bound(successes, n, error)
    tail = sum(math.comb(n, k) * bound**k * (1 - bound) ** (n - k) for k in range(successes, n + 1))
    assert tail == pytest.approx(error, rel=1e-6)
    assert lower_bound(0, n, error) == 0.0
