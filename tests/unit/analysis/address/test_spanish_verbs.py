"""Spanish forms come from their stems: spelling, stem changes and irregular verbs."""

import pytest

from watchkeeper.analysis.address.spanish_verbs import forms

FORMS = {
    "you": "puedes sigues empieces tendrías hicieras dijeses",
    "usted": "quiere condujo saldrá",
    "let_usted": "pague busque recoja conozca construya cruce",
    "let_you": "cierra haz",
    "vos": "querés tenéis",
    "let_vos": "mirá venid",
}


@pytest.mark.parametrize("group", FORMS)
def test_each_form_is_in_its_group(group: str) -> None:
    assert set(FORMS[group].split()) - getattr(forms(), group) == set()


def test_verbs_with_their_own_imperative_have_no_regular_one() -> None:
    assert not forms().let_you & {"hace", "tiene", "puede", "dice"}
