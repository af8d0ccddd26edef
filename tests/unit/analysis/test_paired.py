"""Comparisons say better, worse, equivalent or not resolved, and the cautious thing at every border."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from scipy import stats

from watchkeeper.analysis.paired import compare, paired_difference, sign_flip
from watchkeeper.records.record import pack, unpack

Scores = dict[str, float]


def two_outcome(both: int, only_a: int, only_b: int, neither: int = 0) -> tuple[Scores, Scores]:
    a = [1.0] * (both + only_a) + [0.0] * (only_b + neither)
    b = [1.0] * both + [0.0] * only_a + [1.0] * only_b + [0.0] * neither
    return {str(i): x for i, x in enumerate(a)}, {str(i): x for i, x in enumerate(b)}


def graded(differences: list[float]) -> tuple[Scores, Scores]:
    return {str(i): 0.3 for i in range(len(differences))}, {str(i): 0.3 + d for i, d in enumerate(differences)}


def test_82_against_85_percent_of_100_items_is_not_resolved() -> None:
    result = compare(*two_outcome(both=78, only_a=4, only_b=7, neither=11))
    assert (result.mean_a, result.mean_b) == pytest.approx((0.82, 0.85))
    assert result.verdict == "not resolved"
    assert result.minimum_detectable_effect is not None
    assert result.minimum_detectable_effect > 0.09


def test_the_same_three_points_on_3000_items_are_better() -> None:
    result = compare(*two_outcome(both=2400, only_a=100, only_b=190, neither=310))
    assert result.verdict == "better"
    assert result.difference.low > 0
    assert result.method == "exact McNemar, Tango score interval"


def test_swapping_the_sides_swaps_the_verdict() -> None:
    a, b = two_outcome(both=10, only_a=2, only_b=18)
    assert (compare(a, b).verdict, compare(b, a).verdict) == ("better", "worse")


def test_when_test_and_interval_disagree_nothing_is_resolved() -> None:
    result = compare(*two_outcome(both=20, only_a=0, only_b=5))
    assert result.difference.low > 0
    assert result.p_value > 0.05
    assert result.verdict == "not resolved"


def test_equivalence_needs_a_margin() -> None:
    a, b = two_outcome(both=1000, only_a=5, only_b=5)
    assert compare(a, b).verdict == "not resolved"
    assert compare(a, b, margin=0.02).verdict == "equivalent"
    assert compare(a, b, margin=0.001).verdict == "not resolved"


def test_few_items_without_any_difference_are_not_equivalent() -> None:
    assert compare(*two_outcome(both=20, only_a=0, only_b=0), margin=0.03).verdict == "not resolved"
    assert compare(*graded([0.0] * 3), margin=0.03).verdict == "not resolved"


def test_differences_all_alike_keep_a_width_by_the_rule_of_three() -> None:
    difference = compare(*graded([0.2] * 10)).difference
    half = 0.2 * (1 - 0.05 ** (1 / 10))
    assert (difference.low, difference.high) == pytest.approx((0.2 - half, 0.2 + half))
    assert difference.method == "rule of three"


def test_many_graded_items_without_any_difference_are_equivalent() -> None:
    result = compare(*graded([0.0] * 500), margin=0.03)
    assert result.verdict == "equivalent"
    assert result.minimum_detectable_effect is None


def test_a_real_difference_within_the_margin_is_equivalent() -> None:
    a, b = two_outcome(both=5000, only_a=0, only_b=20)
    assert compare(a, b).verdict == "better"
    assert compare(a, b, margin=0.01).verdict == "equivalent"


def test_graded_scores_get_a_sign_flip_test_and_a_t_interval() -> None:
    differences = [0.1, 0.2, -0.05, 0.3, 0.15, 0.1, 0.25, 0.05]
    result = compare(*graded(differences))
    interval = stats.ttest_1samp(differences, 0).confidence_interval()
    assert (result.difference.low, result.difference.high) == pytest.approx((interval.low, interval.high))
    assert result.p_value == 6 / 2**8
    assert result.verdict == "better"
    assert result.method == "sign-flip permutation, t interval"
    assert (result.improved, result.worsened) == (7, 1)


def test_reruns_are_averaged_within_their_item_first() -> None:
    result = compare({"x": [1, 0, 1, 0], "y": 1}, {"x": [1, 1, 1, 1], "y": [1, 1]})
    assert (result.n, result.mean_a, result.mean_b) == (2, 0.75, 1.0)
    assert result.improved == 1


def test_items_scored_on_one_side_only_are_counted_and_left_out() -> None:
    result = compare({"x": 1, "y": 0, "z": 0}, {"x": 1, "w": 1})
    assert (result.n, result.unpaired_a, result.unpaired_b, result.mean_a) == (1, 2, 1, 1.0)


@pytest.mark.parametrize(("a", "b"), [({}, {}), ({"x": 1}, {"y": 1}), ({"x": 1}, {"x": 0}), ({"x": 0.5}, {"x": 0.1})])
def test_none_or_one_item_resolves_nothing(a: Scores, b: Scores) -> None:
    result = compare(a, b, margin=0.5)
    assert result.verdict == "not resolved"
    assert result.p_value == 1
    assert result.minimum_detectable_effect is None


def test_whole_clusters_are_flipped_and_counted() -> None:
    items = [f"{template}-{i}" for template in range(5) for i in range(40)]
    a = dict.fromkeys(items, 0.5)
    b = {item: 0.5 + (0.01 if item[0] != "0" else 0.3) for item in items}
    by_item = compare(a, b)
    by_template = compare(a, b, clusters={item: item[0] for item in items})
    assert by_item.verdict == "better"
    assert by_template.verdict == "not resolved"
    assert (by_template.n, by_template.difference.n) == (200, 5)
    assert by_template.p_value == 2 / 2**5
    assert by_template.method.endswith("over clusters (CR2)")


def test_paired_difference_over_clusters_is_wider_when_clusters_agree_within() -> None:
    a, b = [0.0] * 8, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.1]
    alone, clustered = paired_difference(a, b), paired_difference(a, b, list("ppqqrrss"))
    assert clustered.value == alone.value
    assert clustered.high - clustered.low > alone.high - alone.low


@pytest.mark.parametrize("n", [3, 8, 12])
def test_small_sign_flip_p_values_are_scipys_exact_ones(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.4, 1, n)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=math.inf, alternative="two-sided"
    )
    assert sign_flip(differences.tolist()) == pytest.approx(expected.pvalue)


def test_sampled_sign_flip_p_values_are_near_the_exact_one() -> None:
    differences = np.random.default_rng(4).normal(0.45, 1, 20)
    signs = 2 * ((np.arange(2**20)[:, None] >> np.arange(20)) & 1) - 1
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9)
    assert sign_flip(differences.tolist()) == pytest.approx(exact, abs=4 * math.sqrt(exact / 9_999))


def test_sampled_p_values_are_repeatable_and_never_zero() -> None:
    differences = [1.0 + i / 100 for i in range(60)]
    assert sign_flip(differences) == sign_flip(differences) == 2**-59
    mixed = [*differences, *(-d for d in differences[:50])]
    assert 0.01 < sign_flip(mixed) == sign_flip(mixed) < 0.3


@pytest.mark.parametrize("n", [300, 3_000])
def test_flips_by_table_and_by_range_agree_with_the_normal_limit(n: int) -> None:
    rng = Random(n)
    differences = [rng.gauss(0.08 * (300 / n) ** 0.5, 1) for _ in range(n)]
    z = abs(sum(differences)) / math.sqrt(sum(d * d for d in differences))
    assert sign_flip(differences) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.1, abs=0.01)


def test_what_cannot_be_worse_by_the_margin_is_non_inferior() -> None:
    a, b = two_outcome(both=300, only_a=20, only_b=32, neither=100)
    assert compare(a, b).verdict == "not resolved"
    assert compare(a, b, margin=0.02).verdict == "non-inferior"
    assert compare(b, a, margin=0.02).verdict == "not resolved"


def test_equal_graded_sides_are_called_better_in_at_most_half_of_alpha_of_tables() -> None:
    rng, better = Random(9), 0
    for _ in range(400):
        differences = [rng.expovariate(1) - rng.expovariate(1) for _ in range(40)]
        better += compare(*graded(differences)).verdict == "better"
    assert better / 400 < 0.025 + 3 * (0.025 * 0.975 / 400) ** 0.5


def test_one_item_a_cluster_is_no_clustering() -> None:
    a, b = two_outcome(both=20, only_a=1, only_b=9)
    assert compare(a, b, clusters={item: item for item in a}) == compare(a, b)


def test_the_bootstrap_interval_stands_in_for_t_where_it_is_asked_for() -> None:
    found = compare(*graded([0.01 * i for i in range(-10, 40)]), interval="bootstrap")
    assert "bootstrap-t" in found.method
    assert found.difference.low > 0


def test_items_that_did_not_move_are_no_evidence() -> None:
    assert sign_flip([]) == sign_flip([0.0, 0.0]) == 1
    assert sign_flip([0.3] * 5 + [0.0] * 50) == sign_flip([0.3] * 5) == 2 / 2**5


@pytest.mark.parametrize("score", [math.nan, math.inf, [], [0.5, math.nan]])
def test_a_score_that_is_no_number_is_refused_with_its_item(score: float | list[float]) -> None:
    with pytest.raises(ValueError, match="Item 'q7' has the score"):
        compare({"q7": score}, {"q7": 1.0})


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="margin must be above 0"):
        compare({"x": 1}, {"x": 1}, margin=0)
    with pytest.raises(ValueError, match="confidence must lie between"):
        compare({"x": 1}, {"x": 1}, confidence=0.4)
    with pytest.raises(ValueError, match="there are 1 and 2"):
        paired_difference([1.0], [1.0, 2.0])


def test_a_comparison_survives_the_codec() -> None:
    result = compare({"x": 0.5}, {"x": 0.4})
    assert unpack(type(result), pack(result)) == result


def test_a_few_that_fell_are_no_proof_that_nothing_matters() -> None:
    """Scores that fall by just the margin are called equivalent at most at the stated rate; with t it was 13%."""
    rng, wrong, trials = Random(4), 0, 400
    for _ in range(trials):
        a = [rng.choices((0.0, 0.5, 1.0), (5, 10, 85))[0] for _ in range(50)]
        b = [0.0 if rng.random() < 0.1 / 0.9 else score for score in a]
        sides = ({str(i): x for i, x in enumerate(side)} for side in (a, b))
        wrong += compare(*sides, margin=0.1).verdict in ("equivalent", "non-inferior")
    assert wrong / trials < 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


def test_the_interval_is_named_after_what_it_is() -> None:
    assert compare(*graded([0.1] * 30)).method.endswith("rule of three")
    assert "gain and loss" in compare(*graded([0.0] * 20 + [0.1, -0.2])).method
    assert compare(*graded([0.0] * 20 + [0.1, -0.2]), interval="t").method.endswith("t interval")
    assert "bootstrap-t" in compare(*graded([0.01 * 1.3**i for i in range(30)])).method


@pytest.mark.parametrize(("n", "known"), [(5, False), (6, True), (30, True)])
def test_fewer_than_six_items_show_no_effect_at_all(n: int, known: bool) -> None:
    found = compare(*graded([0.1 * (i % 3) + 0.05 for i in range(n)]))
    assert (found.minimum_detectable_effect is not None) is known


def test_a_single_item_that_moved_shows_no_small_effect() -> None:
    """With the standard error alone it would be 0.03: at least six of fifty have to move."""
    mde = compare(*graded([0.0] * 49 + [-0.5])).minimum_detectable_effect
    assert mde is not None
    assert mde > 6 * 0.5 / 50


def test_less_may_be_better() -> None:
    a, b = two_outcome(both=20, only_a=9, only_b=1)
    found = compare(a, b, margin=0.9, lower_is_better=True)
    assert compare(a, b, lower_is_better=True).verdict == "better"
    assert compare(b, a, lower_is_better=True).verdict == "worse"
    assert (found.improved, found.worsened) == (9, 1)
    assert found.difference.value < 0
    rising, falling = two_outcome(both=300, only_a=20, only_b=32, neither=100)
    assert compare(falling, rising, margin=0.02, lower_is_better=True).verdict == "non-inferior"
    assert compare(rising, falling, margin=0.02, lower_is_better=True).verdict == "not resolved"


def test_a_margin_is_held_for_all_claims_together() -> None:
    a, b = two_outcome(both=300, only_a=20, only_b=26, neither=100)
    alone, among = compare(a, b, margin=0.02), compare(a, b, margin=0.02, claims=20)
    assert (alone.verdict, alone.non_inferior) == ("non-inferior", True)
    assert (among.verdict, among.non_inferior) == ("not resolved", False)
    assert compare(a, b).non_inferior is None
