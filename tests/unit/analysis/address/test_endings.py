"""Sentences are cut at marks of either width, and end at their last letter."""

from watchkeeper.analysis.address.endings import endings


def test_full_width_marks_and_lines_end_sentences() -> None:
    cut = list(endings("行く。来る？\n見る！", frozenset()))
    assert [sentence.text for sentence in cut] == ["行く", "来る", "見る"]
    assert [sentence.question for sentence in cut] == [False, True, False]
    assert [sentence.start for sentence in cut] == [0, 3, 7]


def test_what_trails_is_not_part_of_it() -> None:
    (sentence,) = endings("괜찮아 ㅋㅋ ~ ^^", frozenset("ㅋ"))
    assert sentence.text == "괜찮아"


def test_a_trailing_comma_leaves_a_sentence_open() -> None:
    assert [sentence.open for sentence in endings("없어,\n없다", frozenset())] == [True, False]


def test_a_full_stop_inside_a_number_ends_nothing() -> None:
    assert [sentence.text for sentence in endings("版本 2.5 です", frozenset())] == ["版本 2.5 です"]


def test_marks_carry_the_place_in_the_text() -> None:
    text = "はい。行きます。"
    last = list(endings(text, frozenset()))[-1]
    mark = last.mark(2, "formal", 1.0, "ending")
    assert text[mark.start : mark.end] == mark.form == "ます"
