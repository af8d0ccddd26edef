"""An answer is taken apart into what it answers and why."""

from watchkeeper.analysis.stated_reasons import reason_of, stated


def test_a_line_that_is_called_the_answer_is_the_answer() -> None:
    found = stated("Reasons:\n1. It is blue [3].\n- It is small. [2, 4]\n**Answer:** the lamp")
    assert found.answer == "the lamp"
    assert [(each.text, each.cites) for each in found.reasons] == [
        ("It is blue.", ("3",)),
        ("It is small.", ("2", "4")),
    ]


def test_text_without_such_a_line_is_both() -> None:
    found = stated("It is blue. It is small.")
    assert not found.apart
    assert len(found.reasons) == 2


def test_words_in_brackets_are_no_citation() -> None:
    assert reason_of("He said so [sic] and [laughs].").cites == ()


def test_a_range_is_each_of_its_numbers() -> None:
    assert reason_of("So it is [2-4].").cites == ("2", "3", "4")


def test_addresses_and_named_sources_are_cited() -> None:
    assert reason_of("So it is (source: handbook), see https://a.example/x.").cites == (
        "handbook",
        "https://a.example/x",
    )


def test_factors_are_read_with_their_values() -> None:
    assert stated("Factors: income = 12, age\nAnswer: no").factors == (("income", "12"), ("age", None))


def test_json_is_read_in_a_fence_too() -> None:
    found = stated('```json\n{"answer": 4, "steps": ["2 + 2 = 4"], "factors": ["two"]}\n```')
    assert (found.answer, found.reasons[0].text, found.factors) == ("4", "2 + 2 = 4", (("two", None),))
