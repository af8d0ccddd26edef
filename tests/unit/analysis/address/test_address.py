"""Each own sentence of each language is read as the table beside it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from watchkeeper.analysis.register import LANGUAGES, read_register

TABLES = sorted((Path(__file__).parents[3] / "cases" / "address").glob("*.yaml"))
ROWS = [
    (table.stem, label, text) for table in TABLES for label, text in yaml.safe_load(table.read_text(encoding="utf-8"))
]


def test_each_language_has_its_table() -> None:
    assert tuple(table.stem for table in TABLES) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_sentence_is_read_as_the_table_says(language: str) -> None:
    wrong = [
        (text, label, reading)
        for name, label, text in ROWS
        if name == language and (reading := read_register(text, language).register) != label
    ]
    assert wrong == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_table_is_one_sided(language: str) -> None:
    labels = [label for name, label, _ in ROWS if name == language]
    assert len(labels) >= 40
    assert set(labels) == {"formal", "informal", "mixed", "unmarked"}
