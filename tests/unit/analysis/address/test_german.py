"""German Sie inside a sentence is the address; at its head it may be they or she."""

from watchkeeper.analysis.register import read_register


def test_sie_at_the_head_weighs_less_once_somebody_may_have_been_named() -> None:
    first = read_register("Sie können jetzt zahlen.", "de")
    later = read_register("Die Gäste sind da. Sie können jetzt zahlen.", "de")
    assert (first.register, later.register) == ("formal", "unmarked")
    assert later.evidence[0].weight < 0.5


def test_ihr_with_a_plural_verb_is_informal_and_with_a_noun_is_not() -> None:
    assert read_register("Wenn ihr wollt, könnt ihr kommen.", "de").register == "informal"
    assert read_register("Sie hat ihr Auto verkauft.", "de").register == "unmarked"
    assert read_register("Wir haben Ihr Auto repariert.", "de").register == "formal"
