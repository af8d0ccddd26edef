"""Sticky routes keep a session where it is, share by weight, and move little when a target leaves."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from watchkeeper.engines.gateway.sticky import ordered_by

NAMES, WEIGHTS = ["a", "b", "c"], [1.0, 2.0, 1.0]


def test_one_key_always_has_one_order() -> None:
    orders = {tuple(ordered_by(NAMES, WEIGHTS, "session-1", Random(seed))) for seed in range(50)}
    assert len(orders) == 1


@pytest.mark.parametrize("keyed", [True, False])
def test_the_first_place_is_shared_by_weight(keyed: bool) -> None:
    chance, n = Random(3), 4000
    firsts = Counter(ordered_by(NAMES, WEIGHTS, f"s{i}" if keyed else None, chance)[0] for i in range(n))
    assert [round(firsts[place] / n, 1) for place in range(3)] == pytest.approx([0.25, 0.5, 0.25], abs=0.05)


def test_when_a_target_leaves_only_its_own_keys_move() -> None:
    chance = Random(1)
    for number in range(500):
        key = f"s{number}"
        before = ordered_by(NAMES, WEIGHTS, key, chance)
        after = ordered_by(NAMES[:2], WEIGHTS[:2], key, chance)
        assert after == [place for place in before if place != 2]


def test_weight_nothing_comes_last() -> None:
    for number in range(100):
        assert ordered_by(NAMES, [0.0, 1.0, 0.0], f"s{number}", Random(1)) == [1, 0, 2]
