"""Italian forms come from their stems: spelling, -isc- and irregular verbs."""

import pytest

from watchkeeper.analysis.address.italian_verbs import forms

FORMS = {
    "you": "puoi capisci prendi cercherai mangeresti bevevi",
    "shared": "paghi mangi pensi",
    "lei": "conosce berrebbe finisce chiese cadrà",
    "let_lei": "finisca tenga scelga",
    "let_tu": "aspetta prendi",
    "infinitives": "produrre",
}


@pytest.mark.parametrize("group", FORMS)
def test_each_form_is_in_its_group(group: str) -> None:
    assert set(FORMS[group].split()) - getattr(forms(), group) == set()
