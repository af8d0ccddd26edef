"""French words that only look like the address are left out."""

import pytest

from watchkeeper.analysis.register import read_register


@pytest.mark.parametrize(
    "text", ["Le rendez-vous est pris.", "Elle s'est tue, il s'est tu.", "Un ton grave.", "Assez."]
)
def test_look_alikes_mark_nothing(text: str) -> None:
    assert read_register(text, "fr").evidence == ()


def test_an_imperative_with_a_pronoun_is_read() -> None:
    assert read_register("Envoie-moi le dossier.", "fr").register == "informal"
    assert read_register("Envoyez-moi le dossier.", "fr").register == "formal"
