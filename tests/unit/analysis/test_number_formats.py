"""What a format writes it also reads as its own, and nobody else's numbers are called right."""

from __future__ import annotations

import datetime as dt

import pytest

from watchkeeper.analysis.number_formats import FORMATS, dated, format_of, grouped, own_digits, written_in


@pytest.mark.parametrize("locale", sorted(FORMATS))
def test_what_a_locale_writes_is_read_as_its_own(locale: str) -> None:
    form = FORMATS[locale]
    number = own_digits(grouped("1234567", form) + form.point + "25", form)
    day = own_digits(dated(dt.date(2026, 11, 23), form), form)
    found = written_in(f"x {number} y {day} z", form)
    assert found.wrong == ()
    assert len(found.right) == 2


@pytest.mark.parametrize("locale", ["de", "en-US", "en-GB", "fr", "de-CH"])
@pytest.mark.parametrize("other", ["de", "en-US", "fr", "de-CH"])
def test_another_ones_groups_and_decimals_are_wrong(locale: str, other: str) -> None:
    same = FORMATS[locale][:2] == FORMATS[other][:2]
    number = grouped("1234567", FORMATS[other]) + FORMATS[other].point + "25"
    found = written_in(f"x {number} y", FORMATS[locale])
    assert (found.right if same else found.wrong) != ()
    assert (found.wrong if same else found.right) == ()


def test_a_locale_is_found_by_its_tag_or_its_language() -> None:
    assert format_of("de_CH") == FORMATS["de-CH"]
    assert format_of("DE-at") == FORMATS["de"]
    assert format_of("en-AU") == FORMATS["en-GB"]
    english = format_of("en")
    assert english is not None and english.date == ""
    assert format_of("tlh") is None
