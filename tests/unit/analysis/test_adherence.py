"""A clause that a program can see is checked; one with a condition, or about a meaning, is not."""

from __future__ import annotations

import pytest

from watchkeeper.analysis.adherence import check_of


@pytest.mark.parametrize(
    ("clause", "kept", "broken"),
    [
        ("Answer in at most 3 words.", "one two three", "one two three four"),
        ("Write under 3 words.", "one two", "one two three"),
        ("Answer in at least two sentences.", "One. Two!", "One costs 3.50 euros."),
        ("Answer in exactly one line.", "a", "a\nb"),
        ("Reply with JSON only.", '{"a": 1}', "```json\n{}\n```"),
        ("Never use emoji.", "Fine.", "Fine \U0001f600"),
        ("Do not use Markdown.", "Fine.", "**Fine**"),
        ("Avoid bullet points.", "Fine.", "- fine"),
        ('Always begin with "Dear customer".', "Dear customer, hello", "Hello"),
        ('End with "Thank you."', "It is done. Thank you!", "Thank you. Bye"),
        ('Never say "unfortunately".', "It is late.", "Unfortunately, it is late."),
        ('Mention "order desk" in the reply.', "The order desk says so.", "We say so."),
        ("Write in all caps.", "FINE", "Fine"),
    ],
)
def test_a_testable_clause_is_checked(clause: str, kept: str, broken: str) -> None:
    check = check_of(clause)
    assert check is not None
    assert check.holds(kept)
    assert not check.holds(broken)


@pytest.mark.parametrize(
    "clause",
    ["If the customer is angry, answer in at most 3 words.", "Be kind.", 'Use "a" or "b".', "Prefer JSON if asked."],
)
def test_what_a_program_cannot_see_is_not_tested(clause: str) -> None:
    assert check_of(clause) is None
