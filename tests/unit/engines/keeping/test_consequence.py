"""Which costs are outliers is decided by a robust rule, and how often it flags an ordinary call is measured."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from watchkeeper.engines.keeping.consequence import Chooser, fence
from watchkeeper.engines.keeping.rules import Rules


def drawn(share: float, count: int = 20_000) -> int:
    unused: Any = None
    chooser = Chooser(unused, Rules(share=share), b"k" * 32)
    return sum(chooser.drawn(f"{number:032x}") for number in range(count))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_the_random_share_is_the_share(share: float) -> None:
    spread = 4 * (20_000 * share * (1 - share)) ** 0.5
    assert abs(drawn(share) - 20_000 * share) <= spread


def test_another_key_draws_others() -> None:
    unused: Any = None
    choosers = [Chooser(unused, Rules(share=0.1), key * 32) for key in (b"a", b"b")]
    picks = [{n for n in range(5_000) if chooser.drawn(f"{n:032x}")} for chooser in choosers]
    assert len(picks[0] & picks[1]) < 0.3 * len(picks[0])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("spread", [0.8, 1.5])
def test_about_a_third_of_a_percent_of_log_normal_costs_lie_above_the_fence(scale: float, spread: float) -> None:
    """Simulated: 200,000 log-normal costs; the exact share is 0.35%."""
    rng = Random(3)
    costs = sorted(scale * rng.lognormvariate(0, spread) for _ in range(200_000))
    limit = fence(costs[50_000], costs[100_000], costs[150_000], 1.5)
    assert 0.0025 < sum(cost > limit for cost in costs) / len(costs) < 0.0045


def test_equal_costs_have_no_outlier_below_twice_the_median() -> None:
    assert fence(0.01, 0.01, 0.01, 1.5) == 0.02
