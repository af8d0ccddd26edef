"""A refusal is known by its beginning, and a long text is none."""

from __future__ import annotations

import pytest

from watchkeeper.analysis.refusals import begins_as_refusal, refuses


@pytest.mark.parametrize(
    "text", ["I'm sorry, but no.", "  I cannot help.", "As an AI, I ...", "Unfortunately I can't."]
)
def test_the_usual_beginnings_are_known(text: str) -> None:
    assert begins_as_refusal(text)


@pytest.mark.parametrize("text", ["", "Sure, I can.", "He said: I'm sorry", "I'm sorry" + "x" * 2_000])
def test_other_texts_are_no_refusals(text: str) -> None:
    assert not begins_as_refusal(text)


def test_a_language_without_rules_is_refused_and_a_refusal_far_inside_is_none() -> None:
    with pytest.raises(ValueError, match="known are"):
        refuses("Jag kan inte", "sv")
    assert not refuses("You can return it. " * 10 + "I cannot help.", "en-GB")
    assert refuses("Leider kann ich das nicht beantworten.", "de_AT")
