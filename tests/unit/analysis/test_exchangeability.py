"""Betting against "it is all the same": p-values are uniform while nothing changes, false alarms as rare as stated."""

from __future__ import annotations

from random import Random

import pytest
from scipy import stats

from watchkeeper.analysis.exchangeability import Bets, LabelRanks, NumberRanks, mean_of


def test_p_values_of_alike_labels_are_uniform() -> None:
    rng = Random(1)
    found = []
    for _ in range(60):
        ranks = LabelRanks()
        found += [ranks.p_value(rng.choices("abc", (8, 3, 1))[0], rng.random()) for _ in range(50)]
    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_p_values_of_alike_numbers_are_uniform_with_ties_too() -> None:
    rng = Random(2)
    found = []
    for _ in range(60):
        ranks = NumberRanks()
        found += [ranks.p_value(round(rng.expovariate(0.2)), rng.random()) for _ in range(50)]
    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_a_label_never_seen_is_strange_and_grows_familiar() -> None:
    ranks = LabelRanks()
    for _ in range(30):
        ranks.p_value("yes", 0.5)
    strange = [ranks.p_value("no", 0.5) for _ in range(40)]
    assert strange[0] == pytest.approx(0.5 / 31)
    assert strange[0] < strange[5] < strange[30]


def test_a_number_far_off_at_either_end_is_strange() -> None:
    ranks = NumberRanks()
    for value in range(99):
        ranks.p_value(value, 0.5)
    assert ranks.p_value(1_000, 0.5) < 0.02
    assert ranks.p_value(-1_000, 0.5) < 0.02
    assert ranks.p_value(49.5, 0.5) > 0.9


def test_a_stake_begins_at_one_and_its_shares_never_exceed_it() -> None:
    bets = Bets()
    assert bets.value == 1
    for _ in range(50):
        bets.begin()
    assert bets.value == pytest.approx(1)


def test_no_e_process_says_nothing() -> None:
    assert mean_of([]) == 1


@pytest.mark.slow
def test_a_quiet_stream_raises_an_alarm_no_more_often_than_stated() -> None:
    """2,000 streams of 90 rounds with 10 p-values each, at alpha 5%: the share that ever alarms."""
    rng, streams, alarms = Random(3), 2_000, 0
    for _ in range(streams):
        bets = Bets()
        for _ in range(90):
            bets.begin()
            for _ in range(10):
                bets.bet(rng.random())
            if bets.value >= 20:
                alarms += 1
                break
    assert alarms / streams <= 0.05


@pytest.mark.slow
def test_a_late_change_is_found_about_as_soon_as_an_early_one() -> None:
    rng = Random(4)
    delays = {}
    for change in (5, 80):
        found = []
        for _ in range(100):
            bets, ranks = Bets(), LabelRanks()
            for _ in range(30):
                ranks.p_value("yes", rng.random())
            for day in range(200):
                bets.begin()
                for _ in range(3):
                    label = "no" if day >= change and rng.random() < 0.7 else "yes"
                    bets.bet(ranks.p_value(label, rng.random()))
                if bets.value >= 100:
                    found.append(day - change)
                    break
        delays[change] = sorted(found)[len(found) // 2]
        assert len(found) == 100
    assert 0 <= delays[5] <= 8
    assert delays[80] <= 12
