"""Korean is read from the last syllables and what closes them, composed or not."""

import unicodedata

import pytest

from watchkeeper.analysis.register import read_register


@pytest.mark.parametrize(("text", "register"), [("갑니다", "formal"), ("다닙니다", "formal"), ("다니다", "informal")])
def test_the_closing_consonant_tells_polite_from_plain(text: str, register: str) -> None:
    assert read_register(text, "ko").register == register


@pytest.mark.parametrize("text", ["같이 갈까", "국가"])
def test_a_noun_is_not_a_question(text: str) -> None:
    assert read_register(text, "ko").register == ("informal" if text.endswith("갈까") else "unmarked")


def test_decomposed_syllables_are_read_with_their_places() -> None:
    text = unicodedata.normalize("NFD", "네, 감사합니다.")
    reading = read_register(text, "ko")
    assert reading.register == "formal"
    assert unicodedata.normalize("NFC", text[reading.evidence[-1].start : reading.evidence[-1].end]) == "사합니다"
