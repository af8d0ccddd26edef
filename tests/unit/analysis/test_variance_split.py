"""The variance of reruns is split between items and reruns, and the split says what to add."""

from __future__ import annotations

import numpy as np
import pytest

from watchkeeper.analysis.variance_split import split


def table(rng: np.random.Generator, items: int, reruns: int, between: float, within: float) -> dict[str, list[float]]:
    centres = rng.normal(0, between**0.5, items)
    return {str(i): rng.normal(centre, within**0.5, reruns).tolist() for i, centre in enumerate(centres)}


def test_the_parts_are_those_that_were_planted() -> None:
    found = split(table(np.random.default_rng(1), 2_000, 5, between=1.0, within=3.0))
    assert found is not None
    assert found.variance_between_items == pytest.approx(1.0, rel=0.1)
    assert found.variance_between_reruns == pytest.approx(3.0, rel=0.1)
    assert found.items_share.low < 0.25 < found.items_share.high
    assert found.error_now == pytest.approx(((1 + 3 / 5) / 2_000) ** 0.5, rel=0.1)


@pytest.mark.parametrize(("between", "within", "more"), [(1.0, 0.1, "items"), (0.05, 4.0, "reruns")])
def test_it_says_what_helps(between: float, within: float, more: str) -> None:
    found = split(table(np.random.default_rng(2), 200, 4, between, within))
    assert found is not None
    assert found.more == more


def test_the_share_is_covered_at_nominal_for_binary_reruns() -> None:
    rng, held = np.random.default_rng(3), 0
    for seed in range(200):
        outcomes = rng.random((60, 4)) < rng.random((60, 1))
        found = split({str(i): row.astype(float).tolist() for i, row in enumerate(outcomes)}, seed=seed)
        assert found is not None
        held += found.items_share.low <= 1 / 3 <= found.items_share.high
    assert held / 200 > 0.95 - 3 * (0.05 * 0.95 / 200) ** 0.5


def test_reruns_of_unequal_number_are_used_whole() -> None:
    found = split({"a": [0.0, 1.0, 1.0], "b": [1.0], "c": [0.0, 0.0]})
    assert found is not None
    assert (found.items, found.reruns_per_item) == (3, 2.0)


def test_nothing_rerun_or_one_item_cannot_be_split() -> None:
    assert split({"a": [1.0], "b": [0.0]}) is None
    assert split({"a": [1.0, 0.0]}) is None


def test_no_spread_helps_nothing() -> None:
    found = split({"a": [1.0, 1.0], "b": [1.0, 1.0]})
    assert found is not None
    assert (found.more, found.items_share.value) == ("neither: no spread was seen", 0.0)
