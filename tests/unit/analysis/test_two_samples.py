"""Shifts between samples are found, and equal samples are called different at the stated rate."""

from random import Random

import pytest

from watchkeeper.analysis.two_samples import by_cluster, shift


def test_equal_samples_err_at_the_stated_rate() -> None:
    rng = Random(10)
    alarms = 0
    for _ in range(1000):
        a, b = ([float(int(rng.expovariate(0.3))) for _ in range(30)] for _ in range(2))
        found = shift(a, b)
        alarms += found is not None and found.p_value < 0.05
    assert 0.025 <= alarms / 1000 <= 0.075


def test_a_shift_is_found_with_its_size() -> None:
    found = shift([float(x) for x in range(40)], [float(x + 20) for x in range(40)])
    assert found is not None
    assert found.p_value < 1e-4
    assert found.effect == pytest.approx(0.75, abs=0.01)


def test_outcomes_are_held_by_fishers_test() -> None:
    found = shift([0.0] * 20, [1.0] * 20)
    assert found is not None
    assert (found.method, found.effect) == ("Fisher's exact", 1.0)


def test_few_values_claim_nothing() -> None:
    found = shift([1.0, 2.0], [30.0, 40.0])
    assert found is not None
    assert found.p_value == 1


def test_a_cluster_is_one_value() -> None:
    assert by_cluster([1.0, 3.0, 9.0], ["a", "a", "b"]) == [2.0, 9.0]


def test_an_empty_side_is_not_compared() -> None:
    assert shift([], [1.0]) is None
