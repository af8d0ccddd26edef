"""Stated sums are recomputed."""

import pytest

from watchkeeper.analysis.stated_arithmetic import sums, without_sums


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("12 x 40 = 480", True),
        ("12 x 40 = 490", False),
        ("so (1,496.5 - 1,202.9) / 1,202.9 = 24.4% more", True),
        ("so (1,496.5 - 1,202.9) / 1,202.9 = 26.4% more", False),
        ("$5 + $7.50 = $12.50", True),
        ("10 / 3 = 3.33", True),
        ("10 / 3 = 3.34", False),
        ("10 / 3 is about 3.34", True),
        ("7 - 9 = -2", True),
        ("so -(598 + 268) / 2 = -433", True),
        ("1 / 0 = 7", False),
        ("20% * 50 = 10", True),
    ],
)
def test_each_sum_is_right_or_not(said: str, right: bool) -> None:
    (found,) = sums(said)
    assert found.right is right, found


def test_dates_and_versions_are_no_sums() -> None:
    assert sums("On 2026-11-28 version 1.2-3 came out; x = 4.") == ()


def test_what_is_left_is_claimed() -> None:
    assert without_sums("It costs 2 + 2 = 4 dollars").split() == ["It", "costs", "dollars"]
