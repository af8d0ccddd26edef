"""Plans agree with published sizes and with exact power."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from scipy import stats

from watchkeeper.analysis import power


def test_three_points_from_82_to_85_take_2402_independent_items_an_arm() -> None:
    assert power.two_proportions_sample_size(0.82, 0.85) == 2402


@pytest.mark.parametrize(("discordance", "items"), [(0.10, 870), (0.15, 1306)])
def test_three_points_take_far_fewer_items_when_paired(discordance: float, items: int) -> None:
    assert power.paired_binary_sample_size(0.03, discordance) == items


@pytest.mark.parametrize(("difference", "discordance"), [(0.03, 0.1), (-0.03, 0.15), (0.1, 0.2), (0.05, 0.08)])
def test_the_plan_for_the_exact_test_has_the_promised_power(difference: float, discordance: float) -> None:
    n = power.paired_binary_sample_size(difference, discordance, exact_test=True)
    assert 0.78 <= power.paired_binary_power(n, difference, discordance) <= 0.87


def test_exact_power_without_a_difference_is_the_size_and_at_most_alpha() -> None:
    assert 0.02 < power.paired_binary_power(900, 0.0, 0.1) <= 0.05


def test_exact_power_is_the_sum_over_all_outcomes() -> None:
    n, up, down = 25, 0.3, 0.1
    total = 0.0
    for k in range(n + 1):
        for x in range(k + 1):
            if stats.binomtest(x, k).pvalue <= 0.05 if k else False:
                total += stats.multinomial.pmf([x, k - x, n - k], n, [up, down, 1 - up - down])
    assert power.paired_binary_power(n, up - down, up + down) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("discordance", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("exact_test", [False, True])
def test_the_smallest_effect_is_the_one_whose_plan_is_n(discordance: float, exact_test: bool) -> None:
    n = power.paired_binary_sample_size(0.04, discordance, exact_test=exact_test)
    effect = power.paired_binary_mde(n, discordance, exact_test=exact_test)
    assert effect == pytest.approx(0.04, rel=2e-3)


def test_fewer_than_six_items_can_show_nothing_in_the_exact_test() -> None:
    assert power.paired_binary_mde(5, 0.5, exact_test=True) is None
    assert power.paired_binary_mde(6, 0.5, exact_test=True) is not None
    assert power.paired_binary_mde(0, 0.5) is None


def test_a_hundred_items_that_all_agree_could_still_hide_seven_points() -> None:
    assert power.paired_binary_mde(100, 0.0, exact_test=True) == pytest.approx(0.078, abs=0.001)


@pytest.mark.parametrize("n", [5, 20, 200])
def test_the_paired_effect_is_found_with_the_promised_power(n: int) -> None:
    effect = power.paired_mde(2.0, n)
    assert effect is not None
    shift, limit = effect / 2.0 * n**0.5, stats.t.ppf(0.975, n - 1)
    achieved = 1 - stats.nct.cdf(limit, n - 1, shift) + stats.nct.cdf(-limit, n - 1, shift)
    assert achieved == pytest.approx(0.8, abs=0.03)


def test_the_paired_plan_is_the_smallest_that_suffices() -> None:
    n = power.paired_sample_size(0.5, 2.0)
    enough, short = power.paired_mde(2.0, n), power.paired_mde(2.0, n - 1)
    assert enough is not None and short is not None
    assert enough <= 0.5 < short


@pytest.mark.parametrize(("sd", "n"), [(2.0, 0), (2.0, 1), (0.0, 50)])
def test_unknown_spread_leaves_the_effect_unknown(sd: float, n: int) -> None:
    assert power.paired_mde(sd, n) is None


def test_the_independent_effect_inverts_its_plan() -> None:
    assert power.two_proportions_mde(0.82, 2402) == pytest.approx(0.03, abs=1e-5)
    assert power.two_proportions_mde(0.99, 10) is None
    assert power.two_proportions_mde(1.0, 10_000) is None


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: power.paired_binary_sample_size(0.2, 0.1), "discordance, which was 0.1"),
    (lambda: power.paired_binary_sample_size(0.0, 0.1), "difference must be above 0"),
    (lambda: power.paired_binary_power(10, 0.2, 0.1), "got 10, 0.2 and 0.1"),
    (lambda: power.two_proportions_sample_size(82, 85), "Write 82 percent as 0.82"),
    (lambda: power.two_proportions_sample_size(0.8, 0.8), "must be above 0"),
    (lambda: power.paired_sample_size(0.1, 0.0), "sd must be above 0"),
    (lambda: power.paired_mde(1.0, 10, alpha=5), "were 5 and 0.8"),
    (lambda: power.paired_sample_size(1e-9, 1e9), "larger effect"),
]


@pytest.mark.parametrize(("call", "sentence"), REFUSED, ids=[sentence for _, sentence in REFUSED])
def test_impossible_plans_are_refused(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.mark.parametrize(("n", "discordance"), [(6, 0.0), (20, 0.1), (50, 0.3), (100, 0.1)])
def test_what_few_items_could_show_has_just_the_power(n: int, discordance: float) -> None:
    mde = power.paired_binary_mde(n, discordance, exact_test=True)
    assert mde is not None
    assert power.paired_binary_power(n, mde, max(mde, discordance)) == pytest.approx(0.8, abs=0.005)
