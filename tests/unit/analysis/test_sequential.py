"""The watch over scores that keep coming: wrong no oftener than alpha, however often one looks."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from watchkeeper.analysis.sequential import _FRACTIONS, Watch, start, values_needed
from watchkeeper.records.record import pack, unpack

ALPHA = 0.05


def ever_found(gain: float, discordance: float, runs: int, pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each run of binary pairs the first look at which "better" and "worse" are said; `pairs` where never."""
    drawn = np.random.default_rng(seed).random((runs, pairs))
    up = np.cumsum(drawn < (discordance + gain) / 2, axis=1)
    down = np.cumsum((drawn >= (discordance + gain) / 2) & (drawn < discordance), axis=1)
    found = []
    for won, lost in ((up, down), (down, up)):
        stakes = sum(np.exp(won * math.log1p(c) + lost * math.log1p(-c)) for c in _FRACTIONS) / len(_FRACTIONS)
        over = stakes >= 2 / ALPHA
        found.append(np.where(over.any(axis=1), over.argmax(axis=1), pairs))
    return found[0], found[1]


def test_the_simulation_bets_as_the_watch_does() -> None:
    watch = start(ALPHA).extend([1.0] * 30 + [-1.0] * 9 + [0.0] * 200)
    stake = sum((1 + c) ** 30 * (1 - c) ** 9 for c in _FRACTIONS) / len(_FRACTIONS)
    assert watch.evidence(0.0, above=True) == pytest.approx(math.log(stake))


def test_looking_after_every_pair_says_better_of_equal_sides_in_at_most_alpha_of_runs() -> None:
    better, worse = ever_found(0.0, 0.1, runs=2_000, pairs=1_000, seed=5)
    assert np.mean(better < 1_000) <= ALPHA / 2
    assert np.mean(np.minimum(better, worse) < 1_000) <= ALPHA


def test_a_fixed_test_peeked_at_after_every_pair_would_err_far_oftener() -> None:
    drawn = np.random.default_rng(6).normal(size=(1_000, 1_000)).cumsum(axis=1)
    z = np.abs(drawn[:, 20:]) / np.sqrt(np.arange(21, 1_001))
    assert np.mean((z > 1.96).any(axis=1)) > 0.3


def test_three_points_are_found_with_the_power_that_the_docstring_states() -> None:
    better, worse = ever_found(0.03, 0.1, runs=400, pairs=2_610, seed=7)
    assert 0.34 < np.mean(better < 870) < 0.50
    assert 0.77 < np.mean(better < 1_740) < 0.89
    assert np.mean(better < 2_610) > 0.92
    assert np.mean(worse < 2_610) <= ALPHA / 2


@pytest.mark.parametrize(("a", "b"), [(0.6, 0.6), (0.3, 3.0)])
def test_the_interval_holds_at_every_look_of_skewed_scores(a: float, b: float) -> None:
    rng, missed = np.random.default_rng(8), 0
    for _ in range(60):
        watch = start(0.1, low=0.0, high=1.0)
        for chunk in rng.beta(a, b, size=(6, 25)):
            watch = watch.extend(chunk)
            log_bar = math.log(2 / watch.alpha)
            # The interval excludes the mean exactly where a stake against it is above the bar.
            mean = a / (a + b)
            missed += max(watch.evidence(mean, above=True), watch.evidence(mean, above=False)) >= log_bar
    assert missed / 60 <= 0.1


def test_the_interval_is_what_the_stakes_do_not_refute() -> None:
    watch = start(low=0.0, high=1.0).extend([0.0, 1.0, 1.0, 0.25, 0.9] * 40)
    interval, bar = watch.interval, math.log(2 / 0.05)
    assert interval.value == pytest.approx(0.63)
    assert interval.low < 0.63 < interval.high
    assert watch.evidence(interval.low - 1e-6, above=True) >= bar > watch.evidence(interval.low + 1e-6, above=True)
    assert watch.evidence(interval.high + 1e-6, above=False) >= bar > watch.evidence(interval.high - 1e-6, above=False)


def test_the_order_of_the_values_changes_nothing() -> None:
    values = [Random(3).choice([-1.0, -0.2, 0.0, 0.7, 1.0]) for _ in range(300)]
    one_by_one = start()
    for value in values:
        one_by_one = one_by_one.update(value)
    together = start().extend(sorted(values))
    assert one_by_one.tally == together.tally
    assert one_by_one.verdict == together.verdict
    assert unpack(Watch, pack(one_by_one)) == one_by_one


def test_each_verdict_has_its_evidence() -> None:
    watch = start(margin=0.1)
    assert watch.verdict == "not resolved"
    assert watch.extend([0.0] * 20).verdict == "not resolved"
    assert watch.extend([0.0] * 400).verdict == "equivalent"
    assert watch.extend([1.0] * 40).verdict == "better"
    assert watch.extend([-1.0] * 40).verdict == "worse"
    assert watch.extend([1.0] * 20 + [0.0] * 150 + [-1.0] * 9).verdict == "non-inferior"
    assert start().extend([0.0] * 10_000).verdict == "not resolved"


def test_values_between_two_marks_count_against_the_claim() -> None:
    exact, between = start().extend([0.5] * 50), start().extend([0.5005] * 50)
    assert between.evidence(0.0, above=True) == pytest.approx(exact.evidence(0.0, above=True))
    assert between.evidence(0.9, above=False) < exact.evidence(0.9, above=False)


def test_nothing_seen_is_everything_possible() -> None:
    interval = start().interval
    assert (interval.low, interval.high, interval.n) == (-1.0, 1.0, 0)
    assert math.isnan(interval.value)


def test_only_the_greatest_value_seen_leaves_the_interval_at_the_end() -> None:
    interval = start().extend([1.0] * 500).interval
    assert interval.high == 1.0
    assert 0.9 < interval.low < 1.0


@pytest.mark.parametrize("value", [1.5, math.nan, -math.inf])
def test_a_value_outside_the_range_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="between -1 and 1"):
        start().update(value)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [({"alpha": 0.0}, "alpha"), ({"alpha": 0.7}, "alpha"), ({"margin": 0.0}, "margin"), ({"low": 2.0}, "range")],
)
def test_a_watch_that_cannot_be_is_refused(arguments: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        start(**arguments)


@pytest.mark.parametrize(
    ("law", "mean", "above"),
    [
        ({-1.0: 0.24, 0.0: 0.62, 1.0: 0.14}, 0.0, False),
        ({-1.0: 0.16, 0.0: 0.68, 1.0: 0.16}, -0.1, True),
        ({-0.5: 0.5, 0.5: 0.1, 0.0: 0.4}, 0.0, False),
    ],
)
def test_the_planned_number_of_values_refutes_about_four_times_in_five(
    law: dict[float, float], mean: float, above: bool
) -> None:
    needed = values_needed(law, mean, above=above)
    assert needed is not None
    rng, goal, found, runs = Random(12), -math.log(ALPHA), 0, 200
    for _ in range(runs):
        watch = start(ALPHA).extend(rng.choices(list(law), list(law.values()), k=needed))
        found += watch.evidence(mean, above=above) >= goal
    assert 0.72 <= found / runs <= 0.97


@pytest.mark.parametrize(
    ("law", "mean", "above"),
    [({-1.0: 0.5, 1.0: 0.5}, 0.0, False), ({0.0: 1.0}, 0.0, True), ({0.5: 1.0}, -1.0, True), ({0.5: 1.0}, 1.0, False)],
)
def test_where_nothing_is_to_be_refuted_no_number_is_planned(law: dict[float, float], mean: float, above: bool) -> None:
    assert values_needed(law, mean, above=above) is None


def test_a_smaller_error_takes_more_values() -> None:
    law = {-1.0: 0.3, 1.0: 0.1, 0.0: 0.6}
    plans = [values_needed(law, 0.0, above=False, alpha=alpha) for alpha in (0.05, 0.01, 0.001)]
    assert plans == sorted(plans, key=lambda n: n or 0) and len(set(plans)) == 3
