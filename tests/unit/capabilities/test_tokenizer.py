"""The tokenizer monitor keeps quiet while the same texts cost the same, and tells a frame from a tokenizer."""

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from tests.prompting import Called, PromptLog, asked, recorded
from tests.reading import NOW, S
from watchkeeper.capabilities.monitors.tokenizer import Tokenizer
from watchkeeper.kinds.monitor import Monitor, Window
from watchkeeper.records.finding import Finding

WEEKS = 500
ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "monitors" / "tokenizer.yaml").read_text())


async def look(log: PromptLog, **fields: Any) -> Finding | None:
    return await msgspec.convert(fields, Tokenizer).check(Window(start_ns=0, end_ns=NOW), log)


def probing(probes: list[list[int]]) -> list[Called]:
    """The n-th calls of all probes after their n-1-th."""
    most = max(len(counts) for counts in probes)
    return [
        Called(asked(f"probe {number}"), counts[turn])
        for turn in range(most)
        for number, counts in enumerate(probes)
        if turn < len(counts)
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    finding = await look(await recorded(probing(row["probes"])))
    assert (None if finding is None else finding.evidence["kind"]) == row["kind"]


@pytest.mark.anyio
async def test_the_finding_says_since_when_by_how_much_and_which_texts() -> None:
    calls = probing([[100, 100, 120, 120], [200, 200, 240, 240], [50, 50, 60, 60], [1000, 1000, 1210, 1210]])
    finding = await look(await recorded(calls))
    assert finding is not None
    assert (finding.monitor, finding.subject, finding.severity) == ("tokenizer", "tokenizer:m-1", "ticket")
    assert finding.evidence["first_seen_ns"] == NOW - 8 * S
    assert finding.estimate.low < 1.2 < finding.estimate.high
    assert "tokenizer behind m-1 changed" in finding.sentence
    assert "1000 to 1210 tokens" in finding.evidence.values()


@pytest.mark.anyio
async def test_models_are_apart_and_one_may_be_chosen() -> None:
    odd = [call._replace(model="m-2") for call in probing([[100, 131], [200, 245], [50, 61]])]
    log = await recorded([*probing([[100, 100], [200, 200], [50, 50]]), *odd])
    found = await look(log)
    assert found is not None and found.evidence["model"] == "m-2"
    assert await look(log, model="m-1") is None


@pytest.mark.anyio
async def test_requests_that_were_not_kept_say_nothing() -> None:
    assert await look(await recorded(probing([[100, 131], [200, 245], [50, 61]]), kept=False)) is None


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_week_without_a_change_is_quiet_and_a_swap_is_found() -> None:
    chance = Random(42)
    false_alarms = swaps = frames = 0
    for _ in range(WEEKS):
        sizes = [chance.randint(20, 2_000) for _ in range(20)]

        def glitched(size: int) -> int:
            return size + chance.choice((-3, 5, 40)) if chance.random() < 0.01 else size

        same = [[glitched(size) for _ in range(4)] for size in sizes]
        false_alarms += await look(await recorded(probing(same))) is not None
        other = [[size, size, round(size * (1.03 + 0.1 * chance.random()))] for size in sizes]
        swapped = await look(await recorded(probing(other)))
        swaps += swapped is not None and swapped.evidence["kind"] == "tokenizer"
        framed = await look(await recorded(probing([[size, size, size + 7] for size in sizes])))
        frames += framed is not None and framed.evidence["kind"] == "frame"
    assert (false_alarms, swaps, frames) == (0, WEEKS, WEEKS)


def test_it_is_a_monitor() -> None:
    assert isinstance(Tokenizer(), Monitor)
