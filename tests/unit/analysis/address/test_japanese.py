"""Japanese is read from the end of the sentence; particles, laughter and drawn-out vowels do not hide it."""

import unicodedata

import pytest

from watchkeeper.analysis.register import read_register


@pytest.mark.parametrize(
    "text", ["そうですよね", "そうですけど…", "行きますか？", "すごいですねー！！", "知りませんでした（笑）"]
)
def test_polite_endings_show_through_what_follows(text: str) -> None:
    assert read_register(text, "ja").register == "formal"


@pytest.mark.parametrize("text", ["そうだよね", "行くけど…", "行くの？", "すごいねー！！", "知らなかった（笑）"])
def test_plain_endings_show_through_what_follows(text: str) -> None:
    assert read_register(text, "ja").register == "informal"


def test_a_clause_before_a_noun_has_no_say() -> None:
    assert read_register("昨日買った本です。", "ja").informal == ()


def test_decomposed_kana_are_read_with_their_places() -> None:
    text = unicodedata.normalize("NFD", "それで、ごはんです。")
    reading = read_register(text, "ja")
    assert reading.register == "formal"
    (mark,) = reading.evidence
    assert unicodedata.normalize("NFC", text[mark.start : mark.end]) == "です"
