"""A judge held against labels and against itself: every count by hand, kappa by its definition and its coverage."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.agreement import Judged, audit, kappa, orders


def test_both_orders_are_counted_apart_and_together() -> None:
    judged = [
        Judged("1", "1", "1"),  # right in both
        Judged("1", "1", "2"),  # the one shown first, twice
        Judged("2", "1", "2"),  # the one shown first, twice
        Judged("2", "2", "1"),  # the one shown second, twice
        Judged("2", "1", "1"),  # wrong in both
        Judged("1", None, "1"),  # unreadable in one
    ]
    found = audit(judged, both=True)
    assert (found.pairs, found.unreadable) == (6, 1)
    assert found.right.value == pytest.approx(6 / 12)
    assert found.right_plain.value == pytest.approx(3 / 6)
    assert found.right_both is not None
    assert found.right_both.value == pytest.approx(1 / 6)
    assert found.consistent is not None
    assert (found.consistent.value, found.consistent.n) == (pytest.approx(2 / 6), 6)
    assert found.first_bias == pytest.approx((2 - 1) / 5)
    assert "1 verdicts could not be read" in found.notes[0]


def test_a_constant_judge_is_named() -> None:
    found = audit([Judged("1", "1"), Judged("2", "1")], both=False)
    assert "'1' every time" in found.notes[0]
    assert (found.right.value, found.consistent) == (0.5, None)


def test_no_judgments_cannot_be_audited() -> None:
    with pytest.raises(ValueError, match="no judgments"):
        audit([], both=True)


def test_kappa_of_the_textbook_table() -> None:
    """20 and 15 agree, 5 and 10 do not: observed 0.7, by chance 0.5, kappa 0.4."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    found = kappa(pairs)
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == pytest.approx((0.1511, 0.6489), abs=2e-3)


def test_kappa_of_one_word_is_not_defined() -> None:
    assert kappa([("1", "1")] * 5) is None
    assert kappa([]) is None


def test_perfect_agreement_is_one() -> None:
    found = kappa([("1", "1")] * 5 + [("2", "2")] * 5)
    assert found is not None
    assert (found.value, found.high) == (1, 1)


@pytest.mark.slow
def test_the_interval_of_kappa_covers_as_often_as_it_says() -> None:
    """100 pairs, right 80% of the time, labels even: the true kappa is 0.6."""
    rng, covered, trials = Random(8), 0, 2_000
    for _ in range(trials):
        labels = [rng.choice("12") for _ in range(100)]
        found = kappa([(label, label if rng.random() < 0.8 else "21"[int(label) - 1]) for label in labels])
        assert found is not None
        covered += found.low <= 0.6 <= found.high
    assert 0.93 < covered / trials < 0.97


def test_a_judge_that_is_never_wrong_may_yet_be() -> None:
    found = audit([Judged("1", "1", "1"), Judged("2", "2", "2")] * 10, both=True)
    assert found.kappa is not None
    assert (found.right.value, found.right.high, found.kappa.value, found.kappa.high) == (1, 1, 1, 1)
    assert found.right.low < 0.9
    assert found.kappa.low < 0.8


@pytest.mark.slow
def test_kappa_over_both_orders_counts_pairs_and_not_verdicts() -> None:
    """A judge whose two verdicts hang together: right in 80% of pairs, the same in both orders in nearly all."""
    rng, covered, alone, trials = Random(6), 0, 0, 1_000
    for _ in range(trials):
        judged, pairs = [], []
        for _ in range(100):
            label = rng.choice("12")
            said = label if rng.random() < 0.8 else "21"[int(label) - 1]
            judged.append(Judged(label, said, said))
            pairs += [(label, said)] * 2
        found, naive = audit(judged, both=True).kappa, kappa(pairs)
        assert found is not None and naive is not None
        covered += found.low <= 0.6 <= found.high
        alone += naive.low <= 0.6 <= naive.high
    assert covered / trials > 0.93
    assert alone / trials < 0.9


def test_orders_need_no_labels() -> None:
    found = orders([("1", "2"), ("1", "2"), ("2", "2"), (None, "1")])
    assert (found.consistent.value, found.first_bias) == (0.25, pytest.approx(2 / 3))
