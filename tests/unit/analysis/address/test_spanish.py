"""Spanish su and third persons weigh little; forms of tú and what usted is asked to do weigh in full."""

from watchkeeper.analysis.register import read_register


def test_su_with_somebody_named_is_not_the_address() -> None:
    assert read_register("Pedro vendió su coche.", "es").register == "unmarked"
    assert read_register("¿Cuál es su nombre?", "es").register == "formal"


def test_a_weak_formal_form_gives_way_to_a_clear_informal_one() -> None:
    reading = read_register("Tienes que pensar en sus pies.", "es")
    assert (reading.register, reading.strength < 1) == ("informal", True)


def test_imperatives_tell_by_the_class_of_their_verb() -> None:
    assert read_register("Llámame.", "es").register == "informal"
    assert read_register("Llámeme.", "es").register == "formal"
    assert read_register("Escríbeme.", "es").register == "informal"
    assert read_register("Escríbame.", "es").register == "formal"
