"""Italian verbs in -are are read by their place, and capitals inside a sentence as the address."""

from watchkeeper.analysis.register import read_register


def test_the_same_form_is_asked_at_the_head_and_said_in_a_question() -> None:
    assert read_register("Parli più piano, per favore.", "it").register == "formal"
    assert read_register("Parli italiano?", "it").register == "informal"


def test_a_capital_inside_the_sentence_is_the_address() -> None:
    assert read_register("Volevo dirLe che il Suo ordine è pronto.", "it").strength == 1.0
    assert read_register("Volevo dirle che il suo ordine è pronto.", "it").strength < 1.0


def test_six_is_not_you_are() -> None:
    assert read_register("Ci vediamo alle sei.", "it").evidence == ()
