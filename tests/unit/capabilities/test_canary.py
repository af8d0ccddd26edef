"""The canary keeps quiet while probes are answered as they were, and names what changed when they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from tests.reading import DAY, NOW, LogReader, S
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.capabilities.monitors.canary import Canary, streams_of
from watchkeeper.engines.monitoring.probes import accepted
from watchkeeper.kinds.monitor import Monitor, Window
from watchkeeper.records.finding import Finding
from watchkeeper.records.score import Score

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "monitors" / "canary.yaml").read_text())
START = NOW - 100 * DAY


def answer(probe: str, number: int, said: Any, *, version: str = "v1", model: str = "m-1") -> Score:
    """The `number`th answer of a probe; three belong to a round, a round is a day."""
    told = said if isinstance(said, dict) else {"label": said}
    at_ns = START + number // 3 * DAY + number % 3 * S
    return Score(
        score_id=f"{probe}-{number}",
        subject_kind="probe",
        subject_id=probe,
        name="probe",
        at_ns=at_ns,
        event_ns=at_ns,
        label=told["label"],
        value=float(told.get("length", len(told["label"]))),
        version=version,
        attributes={"form": told.get("form", "text/stop"), "round": number // 3, "model": model},
    )


def stream(probe: str, runs: list[Any]) -> list[Score]:
    said = [label for label, count in runs for _ in range(count)]
    return [answer(probe, number, label) for number, label in enumerate(said)]


async def look(scores: list[Score], **fields: Any) -> Finding | None:
    reader = LogReader(MemoryLog())
    await reader.add(scores)
    return await msgspec.convert(fields, Canary).check(Window(start_ns=0, end_ns=NOW), reader)


def test_it_is_a_monitor() -> None:
    assert isinstance(Canary(), Monitor)


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    scores = [score for probe, runs in row["probes"].items() for score in stream(probe, runs)]
    assert (await look(scores, **row["with"]) is not None) is row["found"]


@pytest.mark.anyio
async def test_a_finding_says_what_changed_and_by_how_much() -> None:
    later = [answer("colour", 120 + n, "azure", model="m-2") for n in range(30)]
    finding = await look([*stream("colour", [["blue", 120]]), *later, *stream("quiet", [["yes", 150]])], baseline=100)
    assert finding is not None
    assert (finding.evidence["probe"], finding.evidence["feature"]) == ("colour", "label")
    assert "'blue' in 20 of 50 answers since the baseline, where it was 100 of 100" in finding.sentence
    assert "calls itself 'm-2'; it was 'm-1'" in finding.sentence
    assert finding.estimate.high < 0


@pytest.mark.anyio
async def test_what_was_accepted_is_the_new_baseline() -> None:
    changed = stream("colour", [["blue", 120], ["azure", 150]])
    score, _ = accepted("colour", "ada", changed[135].event_ns)
    assert await look(changed, baseline=100) is not None
    assert await look([*changed, score], baseline=100) is None


@pytest.mark.anyio
async def test_another_question_begins_anew() -> None:
    later = [answer("colour", 120 + n, "azure", version="v2") for n in range(120)]
    assert await look([*stream("colour", [["blue", 120]]), *later], baseline=100) is None


def test_calls_that_failed_are_no_answers() -> None:
    failed = msgspec.structs.replace(answer("colour", 0, "x"), label=None, value=None)
    assert streams_of([failed]) == {}
