"""The rescues monitor holds to an objective on rescues for each success, and keeps quiet within it."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from tests.reading import HOUR, NOW, LogReader
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.capabilities.monitors.rescues import Rescues
from watchkeeper.kinds.monitor import Window
from watchkeeper.queries.question import Answer
from watchkeeper.queries.rescues import KINDS
from watchkeeper.records.finding import Finding
from watchkeeper.records.span import Operation, Span, Status

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "monitors" / "rescues.yaml").read_text())
LOOK = HOUR // 2


def calls(group: dict[str, Any], prefix: int) -> list[Span]:
    """Finished calls at equal distances."""
    total, start = group["total"], NOW - round(group["hours"] * HOUR)
    length = NOW - start - round(group.get("until_hours", 0) * HOUR)
    made = []
    for number in range(total):
        rescues = group.get("rescues", {}) if (number + 1) % group.get("each", 1) == 0 else {}
        attributes = {f"watchkeeper.rescues.{kind}": count for kind, count in rescues.items()}
        if rescues:
            attributes["watchkeeper.rescues"] = sum(rescues.values())
        made.append(
            Span(
                trace_id=f"{prefix:016x}{number:016x}",
                span_id=f"{number:016x}",
                name="chat",
                operation=Operation.CHAT,
                status=Status.OK if group.get("ok", True) else Status.ERROR,
                start_ns=start + (2 * number + 1) * length // (2 * total),
                end_ns=NOW,
                revision=1,
                attributes=attributes,
            )
        )
    return made


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    reader = LogReader(MemoryLog())
    for number, group in enumerate(row["calls"]):
        await reader.add(calls(group, number + 1))
    monitor = msgspec.convert(row["with"], Rescues)
    finding = await monitor.check(Window(start_ns=0, end_ns=NOW), reader)
    assert (None if finding is None else finding.severity) == row["severity"]
    if finding is not None:
        assert finding.estimate.low > monitor.at_most


class Hours:
    """Counts by bucket, as the question answers them; the buckets are drawn beforehand, so that months are cheap."""

    def __init__(self, items: dict[int, tuple[int, int]], width: int) -> None:
        self._items, self._width = items, width

    async def ask(self, question: Any) -> Answer:
        assert question.width == self._width
        found = []
        for at in range(question.since, question.until, self._width):
            successes, rescues = self._items.get(at, (0, 0))
            kinds = dict.fromkeys(KINDS, 0) | {"retry": rescues}
            found.append(
                {
                    "bucket": at,
                    "calls": successes,
                    "successes": successes,
                    "rescued": rescues,
                    "rescues": rescues,
                    **kinds,
                }
            )
        return Answer(items=tuple(found))

    async def select(self, query: Any) -> Any:
        raise NotImplementedError


def stormy(ratio: float, days: int, seed: int, width: int) -> dict[int, tuple[int, int]]:
    """Calls at 60 an hour; rescues come in storms of five on average, so that one in `1/ratio` successes has one."""
    chance, items = Random(seed), {}
    start = NOW - days * 24 * HOUR
    start -= start % width
    for at in range(start, NOW, width):
        mean = 60 * width / HOUR
        successes = sum(chance.random() < mean / 40 for _ in range(40))
        storms = sum(chance.random() < mean * ratio / 5 / 10 for _ in range(10))
        rescues = sum(1 + int(chance.expovariate(1 / 4.5)) for _ in range(storms))
        items[at] = (successes, rescues)
    return items


async def found_in(ratio: float, days: int, seed: int, **fields: Any) -> list[Finding]:
    monitor = msgspec.convert({"at_most": 0.1, **fields}, Rescues)
    width = round(monitor.window_hours * HOUR / monitor.blocks)
    reader = Hours(stormy(ratio, days, seed, width), width)
    first = NOW - (days * 24 - 6) * HOUR
    looks = [await monitor.check(Window(start_ns=0, end_ns=at), reader) for at in range(first, NOW, LOOK)]
    return [finding for finding in looks if finding is not None]


@pytest.mark.anyio
async def test_a_month_at_half_of_the_objective_is_quiet() -> None:
    months = [await found_in(0.05, 10, seed) for seed in range(6)]
    assert sum(bool(month) for month in months) <= 1, "at most one of six stretches of ten days"


@pytest.mark.anyio
async def test_at_three_times_the_objective_it_is_found_within_a_day() -> None:
    assert all([await found_in(0.3, 1, seed) for seed in range(20, 26)])
