"""The unit_cost monitor finds that a good outcome costs more, says what moved, and keeps quiet while nothing does."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from tests.reading import HOUR, NOW, LogReader, outcome
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.capabilities.monitors.unit_cost import UnitCost
from watchkeeper.kinds.monitor import Window
from watchkeeper.queries.judgments import Outcomes
from watchkeeper.queries.question import Answer
from watchkeeper.records.finding import Finding
from watchkeeper.records.span import Cost, Operation, Span, Status, Usage

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "monitors" / "unit_cost.yaml").read_text())


class Hours:
    """What hours cost and brought, as the two questions answer them; hours are drawn beforehand: months are cheap."""

    def __init__(self, hours: dict[int, dict[str, float]]) -> None:
        self._hours = hours

    async def ask(self, question: Any) -> Answer:
        items = []
        for at, hour in self._hours.items():
            if not question.since <= at < question.until:
                continue
            if isinstance(question, Outcomes):
                items.append({"bucket": at, "good": hour["good"]})
            else:
                usd, tokens = hour["calls"] * hour["usd"], hour["calls"] * hour["tokens"]
                row = {"bucket": at, "calls": hour["calls"], "cost_usd": usd, "unpriced": 0}
                items.append(row | {"input_tokens": tokens / 2, "output_tokens": tokens / 2})
        return Answer(items=tuple(items))

    async def select(self, query: Any) -> Any:
        raise NotImplementedError


async def look(reader: Any, now_ns: int = NOW, **fields: Any) -> Finding | None:
    monitor = msgspec.convert(fields, UnitCost)
    return await monitor.check(Window(start_ns=0, end_ns=now_ns), reader)


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    end = NOW - HOUR - (NOW - HOUR) % HOUR
    hours = {at: row["after" if at >= end - 24 * HOUR else "before"] for at in range(end - 192 * HOUR, end, HOUR)}
    finding = await look(Hours(hours), **row.get("with", {}))
    assert (None if finding is None else finding.evidence["moved"]) == row["moved"]


@pytest.mark.anyio
async def test_a_changed_price_moves_the_cost_of_an_outcome_in_the_real_log() -> None:
    reader = LogReader(MemoryLog())
    end = NOW - HOUR - (NOW - HOUR) % HOUR
    spans, outcomes = [], []
    for number in range(36 * 4):
        at = end - 36 * HOUR + number * HOUR // 4 + 1
        price, source = (2e-6, "table of July") if at >= end - 12 * HOUR else (1e-6, "table of June")
        spans.append(
            Span(
                trace_id=f"{number + 1:032x}",
                span_id=f"{number + 1:016x}",
                name="chat",
                operation=Operation.CHAT,
                status=Status.OK,
                start_ns=at,
                end_ns=at + 1,
                revision=1,
                usage=Usage(input_tokens=800, output_tokens=200),
                cost=Cost(usd=1000 * price, source=source),
            )
        )
        outcomes.append(outcome(f"s{number}", at, number % 4 > 0))
    await reader.add(spans)
    await reader.add(outcomes)
    finding = await look(reader, window_hours=12, baseline_hours=24)
    assert finding is not None and finding.estimate.value == pytest.approx(2, rel=0.01)
    assert finding.evidence["moved"] == "dollars per token"
    assert "What moved is dollars per token: dollars per token x2.00" in finding.sentence


def unchanged(days: int, seed: int, price_from: int | None = None) -> dict[int, dict[str, float]]:
    """Hours with a daily rhythm, skewed prices and a coin for each outcome; the price doubles from a day on."""
    chance, hours = Random(seed), {}
    end = NOW - NOW % HOUR
    for number in range(days * 24):
        calls = sum(chance.random() < (0.3 if number % 24 < 8 else 0.8) for _ in range(50))
        usd = sum(chance.lognormvariate(-5, 0.8) for _ in range(calls)) / max(1, calls)
        if price_from is not None and number >= price_from * 24:
            usd *= 2
        good = sum(chance.random() < 0.6 for _ in range(calls))
        hours[end - (days * 24 - number) * HOUR] = {"calls": calls, "usd": usd, "tokens": 1000, "good": good}
    return hours


async def alarms(hours: dict[int, dict[str, float]], first_day: int) -> list[int]:
    start = min(hours)
    reader = Hours(hours)
    looks = range(start + first_day * 24 * HOUR, max(hours) + HOUR, 2 * HOUR)
    return [at for at in looks if await look(reader, at) is not None]


@pytest.mark.anyio
async def test_unchanged_weeks_are_quiet_and_a_doubled_price_is_found_within_a_day() -> None:
    loud = [seed for seed in range(6) if await alarms(unchanged(20, seed), 9)]
    assert len(loud) <= 1
    for seed in range(6, 9):
        hours = unchanged(12, seed, price_from=10)
        found = await alarms(hours, 10)
        assert found and found[0] <= min(hours) + (11 * 24 + 2) * HOUR
