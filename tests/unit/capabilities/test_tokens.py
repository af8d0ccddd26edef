"""The report on tokens: what it can say, and what it says it cannot."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from tests.prompting import Called, asked, recorded
from tests.reading import NOW
from watchkeeper.capabilities.reports.tokens import TokensReport
from watchkeeper.kinds.report import Report, Scope
from watchkeeper.lab.corpora import text_of
from watchkeeper.records.document import Document, Facts, Table

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "reports" / "tokens.yaml").read_text())


async def compose(calls: list[Called], kept: bool = True, subject: str = "last:1d") -> Document:
    return await TokensReport().compose(Scope(subject=subject, now_ns=NOW), await recorded(calls, kept))


def table(document: Document, column: str) -> Table | None:
    found = (each for each in document.blocks if isinstance(each, Table) and column in each.columns)
    return next(found, None)


def billed(kind: str, chance: Random) -> Called:
    """A bill of so many tokens a byte for the kind of text."""
    text = text_of(kind, chance, chance.randint(2, 10))
    rate = {"english prose": 0.22, "japanese prose": 0.4, "code": 0.3}[kind]
    return Called(asked(text), 8 + round(rate * len(text.encode())))


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    chance = Random(1)
    calls = [billed(kind, chance) for _ in range(row["calls"]) for kind in row["kinds"]]
    document = await compose(calls, row["kept"])
    errors = table(document, "billed / estimate")
    if row["margin"] == "none":
        assert errors is None
        facts = next(each for each in document.blocks if isinstance(each, Facts))
        assert dict(facts.items)["requests not kept or not readable"] == len(calls)
        return
    assert errors is not None
    whole = next(line for line in errors.rows if line[1] == "all")
    assert (whole[6] is not None) == (row["margin"] == "known")
    assert isinstance(whole[3], float) and abs(whole[3] - 1) < 0.05


@pytest.mark.anyio
async def test_a_clock_at_the_front_a_changed_count_and_hazards_are_listed() -> None:
    calls = []
    for number in range(6):
        system = f"It is 2026-11-20 12:{number:02d}. " + "Answer in one sentence. " * 10
        calls.append(Called(asked("Why? ", system=system), 100 + number, "s-1", cached=0))
    calls += [Called(asked(f"probe {each}"), 50 + each) for each in range(3)]
    calls += [Called(asked(f"probe {each}"), 60 + 3 * each) for each in range(3)]
    document = await compose(calls)
    places = table(document, "place")
    assert places is not None and places.rows[0][1:4] == ("messages[0].content", "timestamp", 5)
    verdicts = table(document, "verdict")
    assert verdicts is not None and verdicts.rows[0][:4] == ("m-1", "tokenizer", 3, 3)
    hazards = table(document, "hazard")
    assert hazards is not None
    assert {row[0] for row in hazards.rows} == {"volatile head", "trailing space"}


@pytest.mark.anyio
async def test_images_are_left_out_of_the_estimate() -> None:
    image = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}
    document = await compose([Called({"messages": [image]}, 1_000)])
    facts = next(each for each in document.blocks if isinstance(each, Facts))
    assert dict(facts.items)["estimated"] == 0 and dict(facts.items)["requests read"] == 1


@pytest.mark.anyio
async def test_another_subject_is_refused() -> None:
    with pytest.raises(ValueError, match="last:7d"):
        await compose([], subject="incident:x")


def test_it_is_a_report() -> None:
    assert isinstance(TokensReport(), Report)
