"""Texts are cut into sentences of words, with positions of the text as given and without quotations and links."""

import unicodedata

from watchkeeper.analysis.address.words import composed, listed, sentences, unquoted


def test_a_sentence_knows_its_words_and_whether_it_asks() -> None:
    first, second = sentences("Kommst du? Ja, gern.")
    assert [word.low for word in first.words] == ["kommst", "du"]
    assert (first.question, second.question) == (True, False)
    assert [word.opens for word in second.words] == [True, True]


def test_a_short_form_does_not_end_a_sentence() -> None:
    assert len(list(sentences("M. Durand attend. Il part."))) == 2


def test_an_inverted_mark_begins_a_sentence() -> None:
    assert [sentence.question for sentence in sentences("Entonces, ¿viene?")] == [False, True]


def test_quotations_and_links_are_blanked_in_place() -> None:
    text = "Er sagt „du“ auf https://du.example und an du@du.example hier"
    bare = unquoted(text)
    assert len(bare) == len(text)
    words = [word.text for sentence in sentences(bare) for word in sentence.words]
    assert words == ["Er", "sagt", "auf", "und", "an", "hier"]


def test_a_text_that_is_one_quotation_is_read() -> None:
    assert unquoted("„Du bist da.“") == "„Du bist da.“"


def test_options_and_paths_are_not_words() -> None:
    assert [word.text for s in sentences(unquoted("nutze --dir oder /du/ihr")) for word in s.words] == ["nutze", "oder"]


def test_combining_marks_are_joined_and_places_kept() -> None:
    whole = "e\u0301l y ティ\u3099 가"
    text = unicodedata.normalize("NFD", whole)
    joined, places = composed(text)
    assert joined == unicodedata.normalize("NFC", text)
    assert text[places[joined.index("y")]] == "y"
    assert places[len(joined)] == len(text)


def test_a_mark_that_joins_nothing_keeps_its_own_place() -> None:
    joined, places = composed("너\u3099나")
    assert (joined, list(places)) == ("너\u3099나", [0, 1, 2, 3])


def test_a_composed_text_is_left_alone() -> None:
    joined, places = composed("él")
    assert (joined, list(places)) == ("él", [0, 1, 2])


def test_a_list_is_a_set_of_its_words() -> None:
    assert listed("a b  c") == {"a", "b", "c"}
