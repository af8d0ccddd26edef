"""The tables hold a pair of patterns for each language, and none of them matches nothing."""

from watchkeeper.analysis.register_forms import FORMS


def test_no_pattern_matches_an_empty_stretch() -> None:
    assert all(form.search("") is None and form.search(" ") is None for pair in FORMS.values() for form in pair)
