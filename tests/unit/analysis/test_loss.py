"""A loss is three factors with their bounds, multiplied; unknown stays unknown."""

import math
from random import Random

import pytest

from watchkeeper.analysis.loss import declared_range, loss, observed_range, rate


def test_a_rate_has_an_interval_around_it() -> None:
    found = rate(25, 5.0)
    assert (found.value, found.n) == (5.0, 25)
    # The exact Poisson interval of 25 events is 16.18 to 36.90.
    assert found.low * 5 == pytest.approx(16.18, abs=0.05)
    assert found.high * 5 == pytest.approx(36.90, abs=0.05)


def test_no_events_may_still_be_some_and_no_time_is_unknown() -> None:
    none = rate(0, 10.0)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high * 10 == pytest.approx(3.69, abs=0.1)
    unknown = rate(3, 0.0)
    assert math.isnan(unknown.value)
    assert math.isinf(unknown.high)


def test_the_interval_of_a_rate_covers_as_it_says() -> None:
    chance, covered, rounds = Random(7), 0, 4_000
    for _ in range(rounds):
        events, at = 0, chance.expovariate(1.0)
        while at < 12.0:
            events, at = events + 1, at + chance.expovariate(1.0)
        found = rate(events, 12.0)
        covered += found.low <= 1.0 <= found.high
    assert 0.94 <= covered / rounds <= 0.98


def test_bounds_are_multiplied() -> None:
    whole = loss(rate(100, 10.0), observed_range([60.0, 90.0, 120.0], unit="s"), declared_range(1.0, 3.0, unit="USD"))
    assert whole.value == pytest.approx(10 * 90 * 2)
    assert whole.low == pytest.approx(rate(100, 10.0).low * 60 * 1)
    assert whole.high == pytest.approx(rate(100, 10.0).high * 120 * 3)
    assert (whole.unit, whole.n) == ("USD", 3)


def test_a_factor_that_is_unknown_makes_the_loss_unknown() -> None:
    whole = loss(rate(5, 1.0), observed_range([]), declared_range(1.0, 1.0))
    assert math.isnan(whole.value)
    assert (whole.low, whole.high) == (0.0, math.inf)
    free = loss(rate(5, 1.0), observed_range([]), declared_range(0.0, 0.0))
    assert math.isinf(free.high)


@pytest.mark.parametrize("wrong", [(-1, 1.0), (1, -1.0)])
def test_a_rate_that_cannot_be_is_refused(wrong: tuple[int, float]) -> None:
    with pytest.raises(ValueError, match="events >= 0"):
        rate(*wrong)


def test_a_range_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="from <= to"):
        declared_range(2.0, 1.0)
