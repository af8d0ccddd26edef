"""A control that stopped is found and named; one that goes on, or was never sure, is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.reading import NOW, LogReader
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.capabilities.monitors.silent_control import SilentControl
from watchkeeper.kinds.monitor import Monitor, Window
from watchkeeper.records.decision import Decision
from watchkeeper.records.finding import Finding
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span, Usage

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "monitors" / "silent_control.yaml").read_text())
SLOT = 300 * 1_000_000_000
pytestmark = pytest.mark.anyio


def happened(runs: list[list[int]]) -> list[Record]:
    slots = [run[1:] for run in runs for _ in range(run[0])]
    begin = NOW // SLOT * SLOT - len(slots) * SLOT
    made: list[Record] = []
    for place, (calls, rulings, usage) in enumerate(slots):
        for n in range(calls):
            at, number = begin + place * SLOT + n * 1_000_000_000, place * 100 + n
            made.append(
                Span(
                    trace_id=f"{number + 1:032x}", span_id=f"{number + 1:016x}", start_ns=at, end_ns=at + 5,
                    name="chat", operation="chat", status="ok", revision=1, upstream="lab", response_model="m",
                    response_id="r", finish_reasons=("stop",), usage=Usage(output_tokens=3 if n < usage else None),
                )
            )  # fmt: skip
            if n < rulings:
                made.append(
                    Decision(verdict="allow", reason="fine", sentence="Fine.", decision_id=f"dec{number}",
                             policy="injection", instance="guard", at_ns=at)
                )  # fmt: skip
    return made


async def look(records: list[Record], **fields: Any) -> Finding | None:
    reader = LogReader(MemoryLog())
    await reader.add(records)
    return await msgspec.convert(fields, SilentControl).check(Window(start_ns=0, end_ns=NOW // SLOT * SLOT), reader)


async def test_it_is_a_monitor() -> None:
    assert isinstance(SilentControl(), Monitor)


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    finding = await look(happened(row["runs"]), **row.get("with", {}))
    assert (None if finding is None else finding.evidence["control"]) == row["found"]


async def test_a_finding_says_since_when_and_how_often_it_was_expected() -> None:
    finding = await look(happened([[300, 3, 3, 3], [60, 3, 0, 0]]))
    assert finding is not None
    assert finding.subject == "silent_control:policy:guard" or finding.subject == "silent_control:field:usage@lab"
    assert finding.evidence["calls"] == 180
    assert finding.evidence["expected"] == pytest.approx(180)
    assert finding.evidence["since_ns"] == NOW // SLOT * SLOT - 60 * SLOT
    assert finding.evidence["silent_too"]
    assert finding.estimate.value == 0
    assert finding.estimate.high < 0.05


async def test_a_scorer_whose_key_expired_is_found() -> None:
    calls = happened([[360, 3, 3, 3]])
    spans = [each for each in calls if isinstance(each, Span)]
    scores = [
        Score(score_id=f"s{n}", subject_kind="span", subject_id=span.span_id, name="grounded", scorer="judge",
              at_ns=span.start_ns, event_ns=span.start_ns, value=1.0)
        for n, span in enumerate(spans[: 300 * 3])
    ]  # fmt: skip
    assert await look([*calls, *scores[:0]]) is None
    finding = await look([*calls, *scores])
    assert finding is not None
    assert finding.evidence["control"] == "scorer:judge/grounded"


async def test_without_any_history_nothing_is_said() -> None:
    assert await look([]) is None
