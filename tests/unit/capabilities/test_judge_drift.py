"""The monitor names what moved, the judge or the system, and keeps quiet while neither did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.reading import DAY, NOW, LogReader
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.capabilities.monitors.judge_drift import JudgeDrift
from watchkeeper.kinds.monitor import Monitor, Window
from watchkeeper.records.finding import Finding
from watchkeeper.records.score import Score

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "monitors" / "judge_drift.yaml").read_text())
DAYS, CHANGE = 14, 8


def score(day: int, number: int, value: float, anchor: bool, version: str = "1") -> Score:
    at_ns = NOW - (DAYS - day) * DAY + number
    kind = "anchor" if anchor else "span"
    return Score(
        score_id=f"{kind}-{day}-{number}",
        subject_kind=kind,
        subject_id=f"anchor-{number}" if anchor else f"{day}-{number}",
        name="judge",
        at_ns=at_ns,
        event_ns=at_ns,
        value=value,
        scorer="judge",
        version=version,
    )


def day_of(day: int, plan: list[float], anchor: bool) -> list[Score]:
    """So many scores, with the share of ones of that day dealt to the same subjects each day."""
    count, before, after = int(plan[0]), plan[1], plan[2]
    ones = round(count * (after if day >= CHANGE else before))
    return [score(day, number, float(number < ones), anchor) for number in range(count)]


def scores(row: dict[str, Any]) -> list[Score]:
    days = range(DAYS)
    return [each for day in days for each in (*day_of(day, row["anchors"], True), *day_of(day, row["live"], False))]


async def look(kept: list[Score], **fields: Any) -> Finding | None:
    reader = LogReader(MemoryLog())
    await reader.add(kept)
    return await msgspec.convert(fields, JudgeDrift).check(Window(start_ns=0, end_ns=NOW), reader)


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    finding = await look(scores(row))
    assert (None if finding is None else finding.evidence["cause"]) == row["cause"]


@pytest.mark.anyio
async def test_a_finding_says_by_how_much_and_what_it_means() -> None:
    finding = await look(scores({"anchors": [100, 0.8, 0.6], "live": [200, 0.8, 0.6]}))
    assert finding is not None
    assert "Anchors shifted by -0.133" in finding.sentence
    assert "say nothing of the system" in finding.sentence
    assert finding.estimate.high < 0
    assert finding.subject == "judge:judge"


@pytest.mark.anyio
async def test_another_version_of_the_judge_begins_anew() -> None:
    row = {"anchors": [100, 0.8, 0.5], "live": [200, 0.8, 0.5]}
    kept = [
        msgspec.structs.replace(each, version="2") if each.event_ns >= NOW - (DAYS - CHANGE) * DAY else each
        for each in scores(row)
    ]
    assert await look(kept) is None


@pytest.mark.anyio
async def test_scores_on_another_scale_are_brought_to_it_and_outliers_counted() -> None:
    graded = [msgspec.structs.replace(each, value=1 + 4 * (each.value or 0)) for each in scores(ROWS[1])]
    graded.append(score(DAYS - 1, 9_999, 99.0, anchor=False))
    finding = await look(graded, low=1, high=5)
    assert finding is not None
    assert (finding.evidence["cause"], finding.evidence["scores_outside_the_scale"]) == ("ruler moved", 1)
    with pytest.raises(ValueError, match="below"):
        JudgeDrift(low=1.0, high=1.0)


def test_it_is_a_monitor() -> None:
    assert isinstance(JudgeDrift(), Monitor)
