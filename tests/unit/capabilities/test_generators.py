"""Every generator does what each row of its table says, gives the same for the same source, and names the parent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from watchkeeper.compose.discovery import discover
from watchkeeper.kinds.generator import Generator
from watchkeeper.records.case import Case

TABLES = Path(__file__).parents[2] / "cases" / "generators"
KNOWN = discover("generators")
ROWS = [
    pytest.param(path.stem, row, id=f"{path.stem}: {row['name']}")
    for path in sorted(TABLES.glob("*.yaml"))
    for row in yaml.safe_load(path.read_text(encoding="utf-8"))
]


def case(text: str) -> Case:
    system = {"role": "system", "content": "You are the desk."}
    return Case(case_id="d/1", dataset="d", messages=json.dumps([system, {"role": "user", "content": text}]))


def made(stem: str, parameters: dict[str, Any], text: str, seed: int = 7) -> list[Case]:
    return list(msgspec.convert(parameters, KNOWN[stem]).generate([case(text)], Random(seed)))


@pytest.mark.parametrize(("stem", "row"), ROWS)
def test_each_row_holds(stem: str, row: dict[str, Any]) -> None:
    found = made(stem, row["with"], row["text"])
    assert len(found) == row["made"]
    for each in found:
        messages = json.loads(each.messages)
        text = messages[-1]["content"]
        assert messages[0] == {"role": "system", "content": "You are the desk."}
        assert all(word in text for word in row.get("keeps", ()))
        assert not any(word in text for word in row.get("lacks", ()))
        assert re.search(row.get("matches", ""), text)
        if row.get("same") == "words":
            assert text.split() == row["text"].split()
        if row.get("same") == "letters":
            assert text.casefold() == row["text"].casefold()
        if "turns" in row:
            assert [message["content"] for message in messages[1:]] == row["turns"]


@pytest.mark.parametrize("stem", sorted(KNOWN))
def test_the_same_source_gives_the_same_cases_and_each_names_its_parent(stem: str) -> None:
    text = "I want to pay 1,234.50 to {name} before 2026-03-05. Can you please help me today?"
    once, again = made(stem, {}, text), made(stem, {}, text)
    assert once == again
    assert once
    assert len({each.case_id for each in once}) == len(once)
    for each in once:
        assert each.attributes["parent"] == "d/1"
        assert each.cluster == "d/1"
        assert each.attributes["transformation"]
        assert each.origin is not None
        assert each.origin.startswith(f"generator:{stem}/")


@pytest.mark.parametrize("stem", sorted(KNOWN))
def test_what_is_not_a_plain_question_is_left_out(stem: str) -> None:
    cases = [Case(case_id="d/2", dataset="d", messages=text) for text in ("[]", "{}", "not json", '[{"role": "user"}]')]
    generator = KNOWN[stem]()
    assert isinstance(generator, Generator)
    assert list(generator.generate(cases, Random(1))) == []


@pytest.mark.parametrize(
    ("stem", "parameters"), [("names", {"cultures": ["martian"]}), ("numbers", {"locales": ["xx"]})]
)
def test_an_unknown_table_is_refused_with_those_that_there_are(stem: str, parameters: dict[str, Any]) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match="known are"):
        made(stem, parameters, "text")
