"""Which regular expressions are taken, and that what is taken does not run away."""

from __future__ import annotations

import pytest

from watchkeeper.analysis.pattern_cost import CostlyPattern, checked


@pytest.mark.parametrize(
    "pattern",
    [
        r"EMP-\d{6}",
        r"\bcase \d+",
        r"(?i)secret: \S+",
        r"\d{1,20}-\d{1,20}",
        r"(?:\d{1,3}\.){3}\d{1,3}",
        r"(?<!\w)K\d{3,8}(?!\w)",
        r"(?:ab){1,5}c",
        r"[A-Z]{2}\d{2}(?: ?\d{4}){4}",
    ],
)
def test_a_bounded_pattern_is_taken(pattern: str) -> None:
    assert checked(pattern).pattern == pattern


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        (r"(a+)+b", "upper bound"),
        (r"a*b", "upper bound"),
        (r"\w+@\w+", "upper bound"),
        (r"\d++-x", "upper bound"),
        (r"(a{1,50}){1,50}", "steps"),
        (r"(a|a){1,20}b", "steps"),
        (r"(a|b)\1", "refers back"),
        (r"x?", "empty text"),
        (r"[", "not a valid"),
        ("a" * 2_000, "characters"),
    ],
)
def test_a_pattern_that_could_run_away_is_refused_with_a_reason(pattern: str, why: str) -> None:
    with pytest.raises(CostlyPattern, match=why):
        checked(pattern)


@pytest.mark.parametrize("pattern", [r"a{1,40}a{1,40}b", r"(?:a|ab){1,3}x", r"\d{1,44}-\d{1,44}x", r"a\d+"])
def test_what_is_taken_ends_on_the_text_that_suits_it_worst(pattern: str) -> None:
    for text in ("a" * 20_000, "1" * 20_000, "1-" * 10_000, "ab" * 10_000):
        list(checked(pattern).finditer(text))
