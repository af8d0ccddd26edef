"""The saddlepoint tail agrees with counting every sign where that can be done."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from watchkeeper.analysis.mcnemar import mcnemar_exact
from watchkeeper.analysis.saddlepoint import sign_flip_tail


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_it_agrees_with_every_sign_counted(seed: int, share: float) -> None:
    rng = Random(seed)
    moved = [rng.gauss(0, 1) for _ in range(14)]
    observed = share * sum(map(abs, moved))
    sums = [sum(s * d for s, d in zip(signs, moved, strict=True)) for signs in product((1, -1), repeat=14)]
    exact = sum(abs(s) >= observed for s in sums) / len(sums)
    assert sign_flip_tail(moved, observed) == pytest.approx(exact, rel=0.35, abs=2 / len(sums))


def test_far_out_it_is_near_the_binomial() -> None:
    # Between two sums of whole numbers it falls between their tails.
    tail = sign_flip_tail([1.0] * 400, 159.0)
    assert mcnemar_exact(120, 280) / 1.3 < tail < mcnemar_exact(121, 279) * 1.3


def test_all_on_one_side_is_two_of_all_signs() -> None:
    assert sign_flip_tail([0.3] * 30, 9.0) == pytest.approx(2**-29)
    assert sign_flip_tail([0.3] * 5_000, 1_500.0) == 1e-300
    assert sign_flip_tail([], 0.0) == 1.0
