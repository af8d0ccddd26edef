"""Registers are read in seven languages with strength, marks and places, in time that grows as the text does."""

import time

import pytest

from watchkeeper.analysis.register import LANGUAGES, read_register

HARD = (
    '"',
    "„",
    "(",
    "（",
    "¿",
    ".",
    "a'",
    "@",
    "\u0301",
    "e\u0301",
    "no se le ",
    "が",
    "お",
    "です",
    "다 ",
    "ihr ",
    "в том ",
)


def test_seven_languages_are_read() -> None:
    assert LANGUAGES == ("de", "es", "fr", "it", "ja", "ko", "ru")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", ["", " ", "...", "12345", "😀", "\u0301", "\n\n"])
def test_a_text_without_words_marks_nothing(language: str, text: str) -> None:
    reading = read_register(text, language)
    assert (reading.register, reading.strength, reading.evidence) == ("unmarked", 0.0, ())


def test_the_marks_are_shown_as_written_with_their_places() -> None:
    text = "Ich sehe Ihre Karte."
    reading = read_register(text, "de-AT")
    assert (reading.formal, reading.informal, reading.language) == (("Ihre",), (), "de")
    (mark,) = reading.evidence
    assert text[mark.start : mark.end] == mark.form


def test_both_registers_in_one_text_are_mixed_by_the_smaller_share() -> None:
    assert read_register("Haben Sie deine Karte?", "de").strength == 1.0
    assert read_register("Haben Sie Ihre Karte? Wo wohnen Sie? Und deine Frau?", "de").strength == 0.5


def test_a_weak_mark_alone_is_weaker_than_a_clear_one() -> None:
    weak, clear = read_register("Su nombre, por favor.", "es"), read_register("El nombre de usted.", "es")
    assert (weak.register, clear.register) == ("formal", "formal")
    assert weak.strength < clear.strength == 1.0


def test_a_long_text_about_somebody_is_not_an_address() -> None:
    assert read_register("Ana llegó con su hija. " * 200, "es").register == "unmarked"


def test_quoted_speech_is_left_out() -> None:
    assert read_register('Bitte sagen Sie ihm: "Du bist dran."', "de").register == "formal"


def test_a_language_without_rules_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="known are: de, es"):
        read_register("hej", "sv")


@pytest.mark.parametrize("language", LANGUAGES)
def test_time_grows_as_the_text_does(language: str) -> None:
    def taken(repeats: int) -> float:
        began = time.process_time()
        for piece in HARD:
            read_register(piece * repeats, language)
        return time.process_time() - began

    taken(200)
    short = min(taken(1_000) for _ in range(3))
    assert taken(8_000) < 24 * short  # eight times the text; a quadratic step would take sixty-four times as long
