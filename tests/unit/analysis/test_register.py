"""Registers are read in seven languages, and an unknown language is refused."""

import pytest

from watchkeeper.analysis.register import LANGUAGES, read_register


def test_seven_languages_are_read() -> None:
    assert LANGUAGES == ("de", "es", "fr", "it", "ja", "ko", "ru")


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_empty_text_marks_nothing(language: str) -> None:
    assert read_register("", language).register == "unmarked"


def test_the_marks_are_shown_as_written() -> None:
    assert read_register("Ich sehe Ihre Karte.", "de").formal == ("Ihre",)


def test_a_language_without_a_table_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="known are: de, es"):
        read_register("hej", "sv")
