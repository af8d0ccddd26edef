"""Calls count at the upstream that was asked last, by model, with their errors and the last success, over both logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reading import NOW, LogReader
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.upstream_calls import UpstreamCalls
from watchkeeper.records.span import Operation, Span, Status


def span(number: int, upstream: str | None, status: str = Status.OK, operation: str = Operation.CHAT) -> Span:
    return Span(
        trace_id=f"{number + 1:032x}", span_id=f"{number + 1:016x}", name="x", operation=operation, status=status,
        start_ns=NOW + number, end_ns=NOW + number + 10, revision=1, request_model="m", upstream=upstream,
    )  # fmt: skip


SPANS = [
    span(0, "a"),
    span(1, "a"),
    span(2, "a", Status.ERROR),
    span(3, "b", Status.ERROR),
    span(4, None),
    span(5, "a", operation=Operation.TOOL),
]


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "duckdb"])
async def test_calls_and_errors_by_upstream(kind: str, tmp_path: Path) -> None:
    log = MemoryLog() if kind == "memory" else DuckDBLog.open(tmp_path / "log.duckdb")
    try:
        await log.append(Batch(records=tuple(SPANS)))
        a, b = (await LogReader(log).ask(UpstreamCalls())).items
        assert (a["upstream"], a["model"], a["calls"], a["errors"], a["p50_ns"]) == ("a", "m", 3, 1, 10)
        assert (a["last_ns"], a["last_ok_ns"]) == (NOW + 2, NOW + 1)
        assert (b["upstream"], b["calls"], b["errors"], b["last_ok_ns"]) == ("b", 1, 1, None)
        assert (await LogReader(log).ask(UpstreamCalls(model="other"))).items == ()
    finally:
        if isinstance(log, DuckDBLog):
            await log.close()
