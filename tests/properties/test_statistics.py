"""The promises of the statistics, kept over many simulated repeats and for any input.

All figures here are measured on simulated input from fixed seeds. A tolerance of four Monte-Carlo standard errors
leaves about one chance in 16,000 of a wrong alarm when a seed is changed.
"""

from __future__ import annotations

import math
import statistics
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.analysis import intervals, power
from watchkeeper.analysis.burnrate import WORKBOOK_PAIRS, Counts, Observation, WindowPair, burn_rate, evaluate
from watchkeeper.analysis.mcnemar import mcnemar_exact, score_interval
from watchkeeper.analysis.paired import compare, sign_flip
from watchkeeper.records.estimate import Estimate

pytestmark = pytest.mark.slow

counts = st.integers(0, 400)
scores = st.floats(-5, 5).map(lambda x: round(x, 3))


def slack(rate: float, repeats: int) -> float:
    return 4 * math.sqrt(rate * (1 - rate) / repeats)


def coverage(estimates: list[Estimate], truth: float) -> float:
    return statistics.fmean(not estimate.excludes(truth) for estimate in estimates)


def items(values: np.ndarray) -> dict[str, float]:
    return {str(i): float(x) for i, x in enumerate(values)}


# Coverage


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("n", [3, 30])
def test_t_intervals_cover_a_normal_mean_at_their_nominal_rate(n: int, confidence: float) -> None:
    samples = np.random.default_rng(n).normal(7, 3, (4000, n)).tolist()
    covered = coverage([intervals.mean(x, confidence=confidence) for x in samples], 7)
    assert covered == pytest.approx(confidence, abs=slack(confidence, 4000))


def test_wilson_intervals_cover_rates_at_their_nominal_rate_on_average() -> None:
    rng = np.random.default_rng(2)
    truths = rng.uniform(0.02, 0.98, 6000)
    hits = rng.binomial(60, truths)
    covered = np.mean([not intervals.wilson(int(k), 60).excludes(p) for k, p in zip(hits, truths, strict=True)])
    assert covered == pytest.approx(0.95, abs=slack(0.95, 6000))


def test_bootstrap_intervals_cover_a_skewed_mean_almost_at_their_nominal_rate() -> None:
    samples = np.random.default_rng(3).gamma(2.0, size=(400, 60)).tolist()
    rng = Random(3)
    covered = coverage([intervals.bootstrap(x, statistics.fmean, rng, draws=400) for x in samples], 2.0)
    assert covered == pytest.approx(0.95, abs=slack(0.95, 400))


def _clustered_samples(repeats: int, clusters: int, size: int, seed: int) -> list[list[float]]:
    """Values whose correlation within a cluster is 0.5, with a mean of 1."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(rng.normal(0, 1, (repeats, clusters)), size, axis=1)
    return (1 + shared + rng.normal(0, 1, (repeats, clusters * size))).tolist()


def test_clustered_intervals_cover_where_plain_ones_fail() -> None:
    samples, names = _clustered_samples(2000, 25, 8, seed=4), [i // 8 for i in range(200)]
    covered = coverage([intervals.clustered(x, names) for x in samples], 1)
    assert covered == pytest.approx(0.95, abs=slack(0.95, 2000))
    assert coverage([intervals.mean(x) for x in samples], 1) < 0.75


@pytest.mark.parametrize(("up", "down", "n"), [(0.08, 0.05, 100), (0.02, 0.02, 200), (0.3, 0.1, 40)])
def test_score_intervals_cover_a_paired_difference_of_rates(up: float, down: float, n: int) -> None:
    draws = np.random.default_rng(n).multinomial(n, [down, up, 1 - up - down], size=3000)
    covered = coverage([score_interval(int(a), int(b), n) for a, b, _ in draws], up - down)
    assert covered == pytest.approx(0.95, abs=0.015)


# A/A: a change that changes nothing


@pytest.mark.parametrize(("n", "discordance"), [(30, 0.4), (100, 0.1), (300, 0.2)])
def test_two_equal_runs_are_called_different_in_at_most_one_of_twenty(n: int, discordance: float) -> None:
    rng = np.random.default_rng(n)
    wrong = 0
    for moved in rng.random((1500, n)) < discordance:
        a = rng.random(n) < 0.7
        result = compare(items(a), items(np.where(moved, rng.random(n) < 0.7, a)))
        wrong += result.verdict in {"better", "worse"}
    assert wrong / 1500 <= 0.05


def test_two_equal_graded_runs_are_called_different_in_at_most_one_of_twenty() -> None:
    rng = np.random.default_rng(6)
    wrong = sum(
        compare(items(rng.normal(0, 1, 10)), items(rng.normal(0, 1, 10))).verdict in {"better", "worse"}
        for _ in range(1200)
    )
    assert wrong / 1200 <= 0.05 + slack(0.05, 1200)


def test_sign_flip_p_values_are_uniform_when_nothing_changed() -> None:
    differences = np.random.default_rng(7).normal(0, 1, (1500, 10)).tolist()
    p_values = np.array([sign_flip(d) for d in differences])
    for level in (0.05, 0.2, 0.5, 0.8):
        assert np.mean(p_values <= level) == pytest.approx(level, abs=slack(level, 1500))


def test_sampled_sign_flip_p_values_are_uniform_when_nothing_changed() -> None:
    rng = Random(8)
    differences = np.random.default_rng(8).standard_t(4, (1200, 40)).tolist()
    p_values = np.array([sign_flip(d, rng=rng, draws=199) for d in differences])
    for level in (0.05, 0.2, 0.5, 0.8):
        assert np.mean(p_values <= level) == pytest.approx(level, abs=slack(level, 1200))


def test_a_difference_of_the_whole_margin_is_called_equivalent_in_at_most_one_of_twenty() -> None:
    draws = np.random.default_rng(9).multinomial(500, [0.05, 0.09, 0.86], size=2000)
    wrong = sum(
        score_interval(int(a), int(b), 500, confidence=0.9).high < 0.04 for a, b, _ in draws
    )  # the upper of the two one-sided tests, which is the one at stake
    assert wrong / 2000 <= 0.05 + slack(0.05, 2000)


# Power


def test_a_planted_three_point_gain_is_found_at_the_planned_n() -> None:
    n = power.paired_binary_sample_size(0.03, 0.10, exact_test=True)
    rng = np.random.default_rng(10)
    found = 0
    for a_only, b_only, _ in rng.multinomial(n, [0.035, 0.065, 0.9], size=1500):
        estimate = score_interval(int(a_only), int(b_only), n)
        found += mcnemar_exact(int(a_only), int(b_only)) < 0.05 and estimate.low > 0
    assert found / 1500 == pytest.approx(0.8, abs=slack(0.8, 1500))


def test_a_graded_effect_of_the_detectable_size_is_found_four_times_in_five() -> None:
    effect = power.paired_mde(1.0, 14)
    assert effect is not None
    rng = np.random.default_rng(11)
    found = sum(
        compare(items(np.zeros(14)), items(rng.normal(effect, 1.0, 14))).verdict == "better" for _ in range(300)
    )
    assert found / 300 == pytest.approx(0.8, abs=slack(0.8, 300))


# Burn-rate alerts over 30 days, asked every five minutes

BIN_S = 300


def first_alarms(
    rates: np.ndarray, per_hour: float, streams: int, pairs: tuple[WindowPair, ...], seed: int
) -> list[int]:
    """The first five-minute bin in which each stream raises an alert; -1 for none."""
    rng = np.random.default_rng(seed)
    total = rng.poisson(per_hour / 12, (streams, rates.size))
    bad = rng.binomial(total, rates)
    windows = [(pair, *(_rolled(x, s) for s in (pair.long_s, pair.short_s) for x in (bad, total))) for pair in pairs]
    possible = np.zeros(total.shape, dtype=bool)
    for pair, long_bad, long_total, short_bad, short_total in windows:
        limit = pair.factor * 0.03 * 0.999
        possible |= (long_bad >= limit * long_total) & (short_bad >= limit * short_total) & (short_bad > 0)
    alarms = []
    for s in range(streams):
        alarms.append(-1)
        for t in np.flatnonzero(possible[s]):
            observed = [
                Observation(
                    pair=pair,
                    long=Counts(bad=int(lb[s, t]), good=int(lt[s, t] - lb[s, t])),
                    short=Counts(bad=int(sb[s, t]), good=int(st_[s, t] - sb[s, t])),
                )
                for pair, lb, lt, sb, st_ in windows
            ]
            if evaluate(observed, 0.97).fired:
                alarms[-1] = int(t)
                break
    return alarms


def _rolled(events: np.ndarray, window_s: int) -> np.ndarray:
    sums = np.concatenate([np.zeros((events.shape[0], 1), dtype=int), events.cumsum(axis=1)], axis=1)
    ends = np.arange(1, events.shape[1] + 1)
    return sums[:, ends] - sums[:, np.maximum(0, ends - window_s // BIN_S)]


@pytest.mark.parametrize("per_hour", [2, 20, 200])
def test_a_stream_within_its_objective_stays_quiet_for_30_days(per_hour: float) -> None:
    alarms = first_alarms(np.full(30 * 288, 0.02), per_hour, 80, WORKBOOK_PAIRS, seed=12)
    assert statistics.fmean(t >= 0 for t in alarms) <= 0.05


@pytest.mark.parametrize(("per_hour", "median_h"), [(20, 36), (200, 20)])
def test_a_step_from_2_to_8_percent_is_found(per_hour: float, median_h: float) -> None:
    rates = np.where(np.arange(15 * 288) < 10 * 288, 0.02, 0.08)
    delays = [t - 10 * 288 for t in first_alarms(rates, per_hour, 40, WORKBOOK_PAIRS, seed=13)]
    assert min(delays) >= 0, "an alert before the step, or none at all"
    assert statistics.median(delays) * BIN_S / 3600 <= median_h


# For any input


@given(counts, counts, st.floats(0.5, 0.999))
def test_a_wilson_interval_holds_its_rate_and_stays_within_0_and_1(good: int, bad: int, confidence: float) -> None:
    estimate = intervals.wilson(good, good + bad, confidence=confidence)
    assert 0 <= estimate.low < estimate.high <= 1
    if good + bad:
        assert estimate.low <= estimate.value <= estimate.high


@given(counts, counts)
def test_the_exact_test_does_not_care_which_side_is_which(only_a: int, only_b: int) -> None:
    assert 0 <= mcnemar_exact(only_a, only_b) == mcnemar_exact(only_b, only_a) <= 1


@given(counts, counts, counts)
def test_a_score_interval_mirrors_when_the_sides_swap(only_a: int, only_b: int, rest: int) -> None:
    n = only_a + only_b + rest
    one, other = score_interval(only_a, only_b, n), score_interval(only_b, only_a, n)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    assert -1 <= one.low <= one.high <= 1
    if n:
        assert one.low <= one.value <= one.high


@given(st.lists(scores, min_size=2, max_size=40))
def test_clusters_of_one_give_the_plain_t_interval(values: list[float]) -> None:
    plain, clustered = intervals.mean(values), intervals.clustered(values, range(len(values)))
    assert (clustered.low, clustered.high) == pytest.approx((plain.low, plain.high), rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(scores, scores), max_size=14), st.one_of(st.none(), st.floats(0.01, 3)))
def test_swapping_the_sides_of_a_comparison_swaps_better_and_worse(
    pairs: list[tuple[float, float]], margin: float | None
) -> None:
    a, b = items(np.array([x for x, _ in pairs])), items(np.array([y for _, y in pairs]))
    forth, back = compare(a, b, margin), compare(b, a, margin)
    swapped = {"better": "worse", "worse": "better"}
    if "non-inferior" in (forth.verdict, back.verdict):  # one side only: the other may be worse by more than the margin
        assert {forth.verdict, back.verdict} <= {"non-inferior", "not resolved"}
    else:
        assert back.verdict == swapped.get(forth.verdict, forth.verdict)
    assert back.p_value == pytest.approx(forth.p_value)
    if forth.verdict in swapped:
        assert forth.difference.excludes(0)


@settings(deadline=None)
@given(st.lists(scores, max_size=12), st.floats(0.1, 10))
def test_a_sign_flip_test_does_not_care_about_scale_or_direction(differences: list[float], scale: float) -> None:
    p_value = sign_flip(differences)
    assert 0 < p_value <= 1
    assert sign_flip([-scale * d for d in differences]) == pytest.approx(p_value)


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0.5, 0.999))
def test_one_more_bad_event_never_lowers_the_burn_rate(bad: int, good: int, objective: float) -> None:
    total = bad + good
    before, after = burn_rate(bad, total, objective), burn_rate(bad + 1, total, objective)
    assert after.value > before.value
    assert after.low >= before.low
    assert after.high >= before.high
