"""Every row of the generators' tables: a message in, variants out, and what was changed where."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from watchkeeper.analysis.splices import spliced
from watchkeeper.kinds.generator import Generator
from watchkeeper.kinds.variant import PARENT, last_text, splices_of
from watchkeeper.records.case import Case

CASES = Path(__file__).parents[2] / "cases" / "generators"
ROWS = [
    pytest.param(path.stem, row, id=f"{path.stem}: {row['name']}")
    for path in sorted(CASES.glob("*.yaml"))
    for row in yaml.safe_load(path.read_text(encoding="utf-8"))
]


def made(stem: str, row: dict[str, Any], seed: int = 1) -> tuple[Case, list[Case]]:
    """The row's case and its variants."""
    module = importlib.import_module(f"watchkeeper.capabilities.generators.{stem}")
    (kind,) = [
        each
        for name, each in vars(module).items()
        if isinstance(each, type) and each.__module__ == module.__name__ and not name.startswith("_")
    ]
    generator: Generator = msgspec.convert(row.get("with", {}), kind)
    content = row.get("content", row.get("text"))
    messages = json.dumps([{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}])
    case = Case(case_id="c", dataset="d", messages=messages, expected="yes")
    return case, list(generator.generate([case], Random(seed)))


@pytest.mark.parametrize(("stem", "row"), ROWS)
def test_the_variants_are_the_expected_ones(stem: str, row: dict[str, Any]) -> None:
    case, variants = made(stem, row)
    assert len(variants) == row["variants"]
    texts = [last_text(each) or "" for each in variants]
    for each, text in zip(variants, texts, strict=True):
        assert text != row["text"] and all(words in text for words in row.get("never", []))
        assert spliced(row["text"], splices_of(each)) == text
        assert {splice.kind for splice in splices_of(each)} <= set(row["kinds"])
        assert (each.attributes[PARENT], each.expected, each.cluster) == ("c", "yes", "c")
        assert json.loads(each.messages)[0] == json.loads(case.messages)[0]
        assert row.get("gone", "\0") not in text and (not row.get("only") or text in row["only"])
    assert len({each.case_id for each in variants}) == len(variants)
    assert [each.messages for each in made(stem, row)[1]] == [each.messages for each in variants]
