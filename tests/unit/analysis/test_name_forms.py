"""Names are written and found as their languages do."""

from __future__ import annotations

import re

import pytest

from watchkeeper.analysis.name_forms import CULTURES, FAMILY_FIRST, HONORIFICS, language_of, naming_in, written


@pytest.mark.parametrize("culture", sorted(CULTURES))
def test_the_two_orders_hold_the_same_names(culture: str) -> None:
    table = CULTURES[culture]
    given, family = table.given[0], table.family[0]
    usual, turned = (written(table, form, given, family) for form in ("usual", "turned"))  # type: ignore[arg-type]
    assert sorted(usual) == sorted(turned)
    assert (usual == turned) == (not family)
    assert "{" not in written(table, "honorific", given, family)


@pytest.mark.parametrize("language", sorted(HONORIFICS))
def test_every_pattern_of_address_compiles_and_none_matches_nothing(language: str) -> None:
    for pattern in HONORIFICS[language]:
        assert not pattern or not re.fullmatch(pattern, "")


def test_a_name_is_found_whatever_stands_between_its_parts() -> None:
    for text in ("佐藤翔太", "佐藤 翔太", "佐藤・翔太"):
        found = naming_in(f"こんにちは、{text}さん", "翔太", "佐藤", "ja-JP")
        assert found is not None and found.ordered is True and found.addressed is True
    assert naming_in("Hello", "Emma", "Clark", "en") is None
    assert naming_in("Hello", "", "", "en") is None


def test_a_language_without_a_table_leaves_the_address_open() -> None:
    found = naming_in("Hei Kari Nordmann", "Kari", "Nordmann", "nb")
    assert found is not None and (found.ordered, found.addressed) == (True, None)
    assert language_of("pt_BR") == "pt" and "nb" not in FAMILY_FIRST
