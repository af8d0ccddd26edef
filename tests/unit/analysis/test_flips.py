"""Flips beyond chance are found, and a model that flips against itself as often is not called changed."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.flips import flips


def labels(rng: Random, cases: int, share: float, runs: int = 3) -> dict[str, list[str]]:
    return {f"c{n}": ["a" if rng.random() < share else "b" for _ in range(runs)] for n in range(cases)}


def test_equal_sides_are_called_different_at_the_stated_rate_however_much_they_flip() -> None:
    rng, found = Random(1), 0
    for _ in range(200):
        one = flips(labels(rng, 30, 0.7), labels(rng, 30, 0.7), draws=199)
        assert one is not None
        found += one.p_value < 0.05
    assert found / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_the_interval_covers_the_excess() -> None:
    """With shares 0.9 and 0.6 pairs differ across in 0.42, within in (0.18 + 0.48) / 2: an excess of 0.09."""
    rng, covered = Random(2), 0
    for _ in range(200):
        found = flips(labels(rng, 60, 0.9), labels(rng, 60, 0.6), draws=1)
        assert found is not None
        covered += found.excess.low <= 0.09 <= found.excess.high
    assert covered / 200 >= 0.91


def test_a_moved_label_is_found_and_its_cases_are_named() -> None:
    old = {f"c{n}": ["a", "a"] for n in range(20)}
    found = flips(old, {**old, **{f"c{n}": ["b", "b"] for n in range(10)}})
    assert found is not None
    assert found.p_value < 0.01
    assert found.excess.value == pytest.approx(0.5)
    assert set(found.most) <= {f"c{n}" for n in range(10)}


def test_steady_equal_sides_have_an_interval_that_is_not_empty() -> None:
    old = {f"c{n}": ["a", "a"] for n in range(20)}
    found = flips(old, old)
    assert found is not None
    assert found.p_value == 1
    assert found.excess.low < 0 < found.excess.high


def test_cases_with_one_answer_cannot_be_compared() -> None:
    assert flips({"c": ["a"]}, {"c": ["a", "a"]}) is None
