"""Aptitude and unreliability are told apart, with intervals that cover."""

from random import Random

import pytest

from watchkeeper.analysis.aptitude import aptitude, percentile


def test_percentiles_interpolate() -> None:
    assert percentile([0.0, 1.0], 0.9) == pytest.approx(0.9)
    assert percentile([3.0], 0.1) == 3.0
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)


def test_a_steady_and_a_wavering_system_of_one_average_differ_in_unreliability() -> None:
    steady, wavering = aptitude([[0.5] * 10] * 30), aptitude([[0.0] * 5 + [1.0] * 5] * 30)
    assert (steady.average.value, wavering.average.value) == (0.5, 0.5)
    assert (steady.unreliability.value, wavering.unreliability.value) == (0.0, 1.0)


def test_equal_sides_seldom_differ() -> None:
    rng = Random(6)
    apart = 0
    for _ in range(300):
        a, b = (aptitude([[rng.random() for _ in range(10)] for _ in range(25)]).unreliability for _ in range(2))
        apart += a.high < b.low or b.high < a.low
    assert apart / 300 <= 0.05


def test_a_task_with_one_run_is_left_out_and_counted() -> None:
    found = aptitude([[1.0], [1.0, 0.0], [0.5, 0.5]])
    assert (found.tasks, found.left_out) == (2, 1)
