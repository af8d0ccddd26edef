"""pass^k agrees with a published table."""

from __future__ import annotations

import math

import numpy as np
import pytest

from watchkeeper.analysis.passk import pass_at_k, pass_hat_k

# Successes in 4 trials of each of 50 airline tasks by gpt-4o: tau-bench, sierra-research/tau-bench at
# 59a200c6d575d595120f1cb70fea53cef0632f6b, historical_trajectories. Licence: MIT, Copyright (c) 2024 Sierra.
AIRLINE = [int(c) for c in "01100111000142021140430040220122003443413241222144"]


@pytest.mark.parametrize(("k", "published"), [(1, 0.420), (2, 0.273), (3, 0.220), (4, 0.200)])
def test_the_published_airline_figures_come_out(k: int, published: float) -> None:
    estimate = pass_hat_k(AIRLINE, 4, k)
    assert round(estimate.value, 3) == published
    assert 0 <= estimate.low < published < estimate.high
    assert estimate.n == 50


def test_tasks_that_always_fail_leave_room_for_rare_success() -> None:
    estimate = pass_hat_k([0] * 20, 4, 2)
    assert (estimate.value, estimate.low) == (0, 0)
    assert 0.1 < estimate.high < 0.2


def test_no_task_says_nothing() -> None:
    estimate = pass_hat_k([], 4, 1)
    assert (estimate.low, estimate.high, estimate.n) == (0, 1, 0)


@pytest.mark.parametrize(("successes", "trials", "k"), [([5], 4, 1), ([1], 4, 5), ([1], 4, 0), ([-1], 4, 1)])
def test_impossible_counts_are_refused(successes: list[int], trials: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass\\^k needs"):
        pass_hat_k(successes, trials, k)


def test_pass_at_k_is_the_chance_of_one_success_in_k() -> None:
    # 3 of 5 good: of two drawn, both bad with C(2,2)/C(5,2) = 1/10.
    assert pass_at_k([3], 5, 2).value == pytest.approx(0.9)
    assert pass_at_k([5, 0], 5, 5).value == 0.5
    assert pass_at_k([1, 4], [2, 8], 1).value == pytest.approx(0.5)


@pytest.mark.parametrize(("a", "b", "k"), [(1, 1, 1), (1, 1, 4), (5, 1, 4)])
def test_intervals_over_twenty_tasks_cover_at_nominal(a: float, b: float, k: int) -> None:
    rng, held = np.random.default_rng(k), 0
    truth = math.prod((a + j) / (a + b + j) for j in range(k))
    for _ in range(400):
        estimate = pass_hat_k(rng.binomial(4, rng.beta(a, b, 20)).tolist(), 4, k)
        held += estimate.low <= truth <= estimate.high
    assert held / 400 > 0.95 - 3 * (0.05 * 0.95 / 400) ** 0.5


def test_tries_of_unequal_number_count_each_by_their_own() -> None:
    assert pass_hat_k([2, 1], [2, 4], 2).value == 0.5
    with pytest.raises(ValueError, match="1 <= k <= trials"):
        pass_hat_k([1, 1], [2, 1], 2)
