"""Differences of which most are zero keep an honest width, and fair ones have that of Student's t."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.gains_and_losses import gain_loss_intervals, mostly_still
from watchkeeper.analysis.intervals import mean


def test_one_that_fell_of_twenty_says_little() -> None:
    """t gives -0.077 to 0.027: it knows only the one."""
    (found,) = gain_loss_intervals([0.0] * 19 + [-0.5], 1.0)
    assert found.value == pytest.approx(-0.025)
    assert found.low < -0.1
    assert found.high > 0.1


def test_differences_that_all_move_have_nearly_the_width_of_t() -> None:
    rng = Random(3)
    differences = [rng.gauss(0.1, 0.2) for _ in range(400)]
    (found,), student = gain_loss_intervals(differences, 2.0), mean(differences)
    assert found.value == pytest.approx(student.value)
    assert (found.low, found.high) == pytest.approx((student.low, student.high), abs=0.1 * (student.high - student.low))


def test_bounds_turn_round_with_the_sides() -> None:
    differences = [0.0] * 30 + [0.5] * 4 + [-1.0]
    (found,), (turned,) = gain_loss_intervals(differences, 1.0), gain_loss_intervals([-d for d in differences], 1.0)
    assert (found.low, found.high) == pytest.approx((-turned.high, -turned.low))


def test_clusters_are_what_is_counted() -> None:
    differences = ([0.0] * 4 + [-1.0] * 4) * 5
    (alone,) = gain_loss_intervals(differences, 1.0)
    (together,) = gain_loss_intervals(differences, 1.0, [i // 4 for i in range(40)])
    assert (alone.n, together.n) == (40, 10)
    assert together.high - together.low > alone.high - alone.low


def test_a_span_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="span"):
        gain_loss_intervals([0.0, 2.0], 1.0)


def test_still_is_where_fewer_than_half_moved() -> None:
    assert mostly_still([0.0, 0.0, 1.0])
    assert not mostly_still([0.0, 1.0])


@pytest.mark.parametrize(("n", "falls"), [(20, 0.1), (50, 0.05), (200, 0.02)])
def test_the_interval_covers_a_rare_fall(n: int, falls: float) -> None:
    """Scores of 1 and 0.5 that fall to 0 now and then: t covers in 33% to 90% of the samples."""
    rng, covered, trials = Random(n), 0, 400
    truth = -falls * (0.9 * 1 + 0.1 * 0.5)
    for _ in range(trials):
        scores = [1.0 if rng.random() < 0.9 else 0.5 for _ in range(n)]
        (found,) = gain_loss_intervals([-score if rng.random() < falls else 0.0 for score in scores], 1.0)
        covered += found.low <= truth <= found.high
    assert covered / trials > 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5
