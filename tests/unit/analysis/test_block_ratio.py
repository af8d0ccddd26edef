"""Ratios of sums over blocks cover at their nominal rate, and unknown is told as unknown."""

from __future__ import annotations

import math
from random import Random

import pytest

from watchkeeper.analysis.block_ratio import Block, change_of, ratio_of


def drawn(chance: Random, n: int, ratio: float) -> list[Block]:
    """Blocks of some twenty units whose amounts come in storms."""
    blocks = []
    for _ in range(n):
        units = 10 + chance.randrange(20)
        blocks.append(Block(ratio * units * chance.expovariate(1.0), units))
    return blocks


def test_the_ratio_is_that_of_the_sums() -> None:
    assert ratio_of([Block(1, 10), Block(3, 10)]).value == pytest.approx(0.2)


def test_no_units_no_value() -> None:
    estimate = ratio_of([Block(1, 0)])
    assert math.isnan(estimate.value) and (estimate.low, estimate.high) == (0.0, math.inf)


def test_one_block_says_nothing_of_its_error() -> None:
    assert ratio_of([Block(1, 10)]).high == math.inf


def test_no_amounts_at_all_is_a_value_without_bounds() -> None:
    estimate = ratio_of([Block(0, 10)] * 5)
    assert estimate.value == 0 and estimate.high == math.inf


def test_the_interval_covers_at_about_its_nominal_rate() -> None:
    chance, n = Random(5), 600
    covered = sum(e.low <= 0.3 <= e.high for e in (ratio_of(drawn(chance, 36, 0.3)) for _ in range(n)))
    assert 0.90 <= covered / n <= 0.98


def test_equal_ratios_are_rarely_told_apart_and_a_doubled_one_mostly_is() -> None:
    chance, n = Random(6), 400
    same = [change_of(drawn(chance, 100, 0.3), drawn(chance, 24, 0.3)).times for _ in range(n)]
    assert sum(times.excludes(1) for times in same) / n <= 0.09
    twice = [change_of(drawn(chance, 100, 0.3), drawn(chance, 48, 0.6)).times for _ in range(100)]
    assert sum(times.low > 1 for times in twice) / 100 >= 0.9


def test_a_side_without_amounts_has_no_bounds() -> None:
    assert change_of([Block(0, 5)] * 3, [Block(1, 5), Block(2, 5)]).times.high == math.inf
