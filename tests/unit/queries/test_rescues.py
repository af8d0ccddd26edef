"""Rescues are counted for each success, over both logs, with those that a program tells of its own steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.reading import HOUR, NOW, LogReader
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.queries.rescues import Rescues
from watchkeeper.records.span import Operation, Span, Status


def span(number: int, at_ns: int, operation: str = Operation.CHAT, status: str = Status.OK, **kinds: int) -> Span:
    attributes: dict[str, Any] = {f"watchkeeper.rescues.{kind}": count for kind, count in kinds.items()}
    if kinds:
        attributes["watchkeeper.rescues"] = sum(kinds.values())
    return Span(
        trace_id=f"{number + 1:032x}", span_id=f"{number + 1:016x}", name="x", operation=operation, status=status,
        start_ns=at_ns, end_ns=at_ns + 1, revision=1, attributes=attributes,
    )  # fmt: skip


SPANS = [
    span(0, NOW),
    span(1, NOW, retry=2, fallback=1),
    span(2, NOW, status=Status.ERROR, retry=1),
    span(3, NOW, operation=Operation.TOOL),
    span(4, NOW, operation=Operation.AGENT, repair=1),
    span(5, NOW + 2 * HOUR),
]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "duckdb"])
async def test_what_successes_took(kind: str, tmp_path: Path) -> None:
    log = MemoryLog() if kind == "memory" else DuckDBLog.open(tmp_path / "log.duckdb")
    reader = LogReader(log)
    await reader.add(SPANS)
    (whole,) = (await reader.ask(Rescues())).items
    assert (whole["calls"], whole["successes"], whole["rescued"], whole["rescues"]) == (4, 3, 2, 5)
    assert (whole["retry"], whole["fallback"], whole["repair"], whole["default"]) == (3, 1, 1, 0)
    assert whole["rescues_per_success"] == pytest.approx(5 / 3)
    hours = (await reader.ask(Rescues(width=HOUR))).items
    assert [(hour["calls"], hour["rescues"]) for hour in hours] == [(3, 5), (1, 0)]
    await log.close()


@pytest.mark.anyio
async def test_without_calls_the_ratio_is_unknown() -> None:
    (whole,) = (await LogReader(MemoryLog()).ask(Rescues())).items
    assert whole["calls"] == 0 and whole["rescues_per_success"] is None
