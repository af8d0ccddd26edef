"""Russian nouns in -те stand after a preposition; verbs of вы do not."""

from watchkeeper.analysis.register import read_register


def test_a_noun_after_a_preposition_is_not_a_verb() -> None:
    assert read_register("Найдёте это в новом отчёте на сайте.", "ru").formal == ("Найдёте",)


def test_a_participle_is_not_an_imperative() -> None:
    assert read_register("Начинающийся дождь, строка, начинающейся страницы.", "ru").evidence == ()
