"""The report on behaviour: what it tells of two versions, and what it says it cannot."""

from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from tests.reading import NOW
from tests.replying import Call, composed, recorded, saying
from watchkeeper.analysis.consumers import Consumer
from watchkeeper.capabilities.reports.behaviour import BehaviourReport
from watchkeeper.kinds.report import Report, Scope
from watchkeeper.records.document import Bars, Document, Facts, Table, Text

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "reports" / "behaviour.yaml").read_text())
MODELS = "versions:model:old..model:new"


def calls_of(rng: Random, row: dict[str, Any]) -> list[Call]:
    """As many calls of the old and of the new version, in turns."""
    found = []
    for number in range(row["calls"]):
        for model, fenced in (("old", 0.1), ("new", row["fenced"])):
            said = saying(rng, fenced=fenced)
            failed = said.startswith("```") if row["breaks"] else None
            found.append(Call(model, said, f"{model}-{number % row['users']}", failed))
    return found


def text_of(document: Document) -> str:
    return " ".join(each.text for each in document.blocks if isinstance(each, Text))


def facts_of(document: Document) -> dict[str, Any]:
    return dict(next(each for each in document.blocks if isinstance(each, Facts)).items)


def table(document: Document, column: str) -> Table | None:
    return next((each for each in document.blocks if isinstance(each, Table) and column in each.columns), None)


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    log = await recorded(calls_of(Random(4), row), row["kept"])
    document = await BehaviourReport().compose(Scope(subject=MODELS, now_ns=NOW), log)
    facts = facts_of(document)
    assert row["says"] in text_of(document)
    assert facts["consumers that break"] == row["broken"]
    assert facts["replies in A"] == (row["calls"] if row["kept"] else 0)
    assert facts["not kept in A"] == (0 if row["kept"] else row["calls"])
    assert facts["independent in A"] == (row["users"] if row["kept"] else 0)


@pytest.mark.anyio
async def test_what_a_declared_consumer_reads_ranks_first_and_has_a_bar_with_its_interval() -> None:
    log = await recorded(calls_of(Random(5), ROWS[0]))
    reader = Consumer(name="ledger import", regex=r"^Total: \d+\n?\Z", reads=("format.fences",), weight=4)
    document = await BehaviourReport(consumers=(reader,)).compose(Scope(subject=MODELS, now_ns=NOW), log)
    features, readers = table(document, "feature"), table(document, "consumer")
    assert features is not None and readers is not None
    assert features.rows[0][0] == "format.fences" and "ledger import" in str(features.rows[0][-1])
    known = {row[0]: (row[1], row[6]) for row in readers.rows}
    assert known == {"ledger: read total": ("traces", "breaks"), "ledger import": ("settings", "breaks")}
    assert "format.fences" in str(next(row for row in readers.rows if row[1] == "traces")[-1])
    bars = next(each for each in document.blocks if isinstance(each, Bars))
    assert bars.bars[0].low < bars.bars[0].value < bars.bars[0].high and not bars.bars[0].faint


@pytest.mark.anyio
async def test_compositions_are_named_by_their_first_digits_and_their_layers_are_told_apart() -> None:
    old, new = composed(model="m", system="aa"), composed(model="m", system="bb")
    rng = Random(6)
    calls = [
        Call("m", saying(rng), f"{which.digest}-{n}", manifest=which.digest) for n in range(9) for which in (old, new)
    ]
    log = await recorded(calls, manifests=(old, new))
    subject = f"versions:manifest:{old.digest[:9]}..manifest:{new.digest[:9]}"
    document = await BehaviourReport().compose(Scope(subject=subject, now_ns=NOW), log)
    layers = table(document, "layer")
    assert layers is not None and layers.rows == (("system", "aa", "bb"),)
    assert facts_of(document)["A"] == old.digest[:12]


@pytest.mark.anyio
async def test_equal_versions_are_told_apart_in_at_most_five_percent() -> None:
    rng, alarms = Random(7), 0
    for _ in range(60):
        calls = [Call(model, saying(rng), f"{model}{n}") for n in range(25) for model in ("old", "new")]
        document = await BehaviourReport().compose(Scope(subject=MODELS, now_ns=NOW), await recorded(calls))
        alarms += "would have been seen" not in text_of(document)
    assert alarms / 60 <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


@pytest.mark.anyio
async def test_calls_that_failed_are_no_replies() -> None:
    log = await recorded([Call("old", "x", "u", status="error"), Call("new", "y", "u")])
    facts = facts_of(await BehaviourReport().compose(Scope(subject=MODELS, now_ns=NOW), log))
    assert (facts["replies in A"], facts["replies in B"]) == (0, 1)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("subject", "says"),
    [
        ("last:7d", "versions:A..B"),
        ("versions:model:a..model:a", "both versions"),
        ("versions:a..b", "names no version"),
        ("versions:manifest:0123456789..model:a", "no composition is recorded"),
    ],
)
async def test_another_subject_is_refused(subject: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        await BehaviourReport().compose(Scope(subject=subject, now_ns=NOW), await recorded([]))


def test_it_is_a_report() -> None:
    assert isinstance(BehaviourReport(), Report)
