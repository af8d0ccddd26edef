"""A sentence is supported by what holds its words, numbers and names, and the place is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.support import MOST_SENTENCES, PARTLY_FROM, SUPPORTED_FROM, Chunks, sentences, support

LAMP = (
    "The Alder lamp belongs to the garden range. It can be returned within 30 days of delivery, in the box it came in. "
    "The shade is made of linen."
)
TENT = "The Fjord tent sleeps two people and a dog. It weighs 1,450 grams with its poles."


@pytest.mark.parametrize(
    ("sentence", "verdict"),
    [
        ("It can be returned within 30 days of delivery.", "supported"),
        ("The lamp can be returned within 30 days of delivery.", "supported"),
        ("It can be returned within 14 days of delivery.", "partly"),
        ("The Fjord tent weighs 1450 grams with its poles.", "supported"),
        ("The Fjord tent weighs 1,450 grams.", "supported"),
        ("Returns are accepted at any branch by the owner.", "unsupported"),
        ("", "unsupported"),
        ("?!", "unsupported"),
    ],
)
def test_each_sentence_gets_its_verdict(sentence: str, verdict: str) -> None:
    assert support(sentence, [LAMP, TENT]).verdict == verdict


def test_the_best_chunk_and_its_place_are_told() -> None:
    found = support("The tent weighs 1,450 grams with its poles.", [LAMP, TENT])
    assert found.chunk == 1
    assert "1,450 grams" in TENT[found.start : found.end]


def test_a_number_or_a_name_that_is_not_there_is_named() -> None:
    found = support("It can be returned within 14 days of delivery to Oslo.", [LAMP])
    assert found.missing == ("14", "Oslo")
    assert found.score < SUPPORTED_FROM


def test_without_chunks_nothing_is_supported() -> None:
    assert support("Anything at all.", []).score == 0.0
    assert support("Anything at all.", [""]).chunk is None


def test_two_sentences_of_a_chunk_may_hold_one_of_the_answer() -> None:
    found = support("The Alder lamp can be returned within 30 days of delivery.", [LAMP])
    assert found.verdict == "supported"


def test_a_word_that_every_chunk_has_weighs_less_than_a_rare_one() -> None:
    chunks = Chunks(["The lamp is blue.", "The lamp is green.", "The lamp is heavy.", "A dragonfly rests there."])
    assert chunks.support("The dragonfly.").score > chunks.support("The lamp flies.").score


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "no." Then he left.', ['He said "no."', "Then he left."]),
        ("- a line\n- another", ["- a line", "- another"]),
        ("3.14 is not two sentences", ["3.14 is not two sentences"]),
        ("これは文です。次の文です。", ["これは文です。", "次の文です。"]),
        ("  \n ", []),
    ],
)
def test_a_text_is_cut_after_its_sentences(text: str, pieces: list[str]) -> None:
    assert [each.text for each in sentences(text)] == pieces


def test_at_most_so_many_sentences_and_nothing_is_lost() -> None:
    text = "A short one. " * (MOST_SENTENCES + 50)
    found = sentences(text)
    assert len(found) == MOST_SENTENCES
    assert found[-1].end == len(text.rstrip())


@given(st.text(max_size=300))
def test_pieces_are_where_they_say(text: str) -> None:
    found = sentences(text)
    assert all(text[each.start : each.end] == each.text for each in found)
    assert "".join("".join(each.text for each in found).split()) == "".join(text.split())


@given(st.text(max_size=120), st.lists(st.text(max_size=120), max_size=4))
def test_a_score_lies_between_nothing_and_all(sentence: str, texts: list[str]) -> None:
    found = support(sentence, texts)
    assert 0.0 <= found.score <= 1.0 + 1e-9
    if found.chunk is not None:
        assert 0 <= found.start <= found.end <= len(texts[found.chunk])


def test_the_thresholds_are_in_order() -> None:
    assert 0 < PARTLY_FROM < SUPPORTED_FROM < 1
