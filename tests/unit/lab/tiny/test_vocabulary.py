"""Text to tokens and back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.engines.experiments.formats import SECOND, TOLD
from watchkeeper.lab.tiny.model import shipped
from watchkeeper.lab.tiny.vocabulary import ASSISTANT, END, SYSTEM, USER, Vocabulary

WORDS = Vocabulary(("answer", "an", '{"'))


def test_the_longest_piece_is_taken_first() -> None:
    assert [WORDS.text(each) for each in WORDS.encode('{"answeran')] == ['{"', "answer", "an"]


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126) | st.just("\n")))
def test_printable_text_comes_back_as_it_was(text: str) -> None:
    assert "".join(WORDS.text(each) for each in WORDS.encode(text)) == text


def test_what_is_not_known_becomes_a_question_mark_and_never_a_mark() -> None:
    assert "".join(WORDS.text(each) for each in WORDS.encode("é<end>")) == "?<end>"
    assert END not in WORDS.encode("<end>")


def test_a_conversation_has_its_roles_and_ends_where_the_model_speaks() -> None:
    said = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}, {"role": "assistant", "content": "z"}]
    x, y, z = (WORDS.encode(each)[0] for each in "xyz")
    assert WORDS.prompt(said) == [SYSTEM, x, USER, y, ASSISTANT, z, END, ASSISTANT]


def test_each_instruction_of_the_format_tax_is_one_token_of_the_shipped_model() -> None:
    vocabulary = shipped().vocabulary
    assert {len(vocabulary.encode(each)) for each in (*TOLD.values(), SECOND)} == {1}
