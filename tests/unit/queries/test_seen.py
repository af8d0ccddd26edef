"""What spans name as agent, model, release or composition is told once, the last seen first, over both logs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reading import NOW, LogReader
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.seen import Seen, What
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Operation, Span


def span(number: int, model: str | None, agent: str | None, release: str | None, **fields: str) -> Span:
    return Span(
        **{
            "trace_id": f"{number + 1:032x}", "span_id": f"{number + 1:016x}", "name": "x", "operation": Operation.CHAT,
            "start_ns": NOW + number, "end_ns": NOW + number + 10, "revision": 1, "request_model": model,
            "identity": Identity(agent=agent), "attributes": {"service.version": release} if release else {}, **fields,
        }
    )  # fmt: skip


SPANS = (
    span(0, "old", "planner", "1.0"),
    span(1, "new", "planner", "2.0", manifest="d" * 64),
    span(2, "old", None, "1.0"),
    span(3, None, "mover", "3.0", operation=Operation.TOOL),
    span(4, "other", None, None),
)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "duckdb"])
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("agent", [("mover", 3), ("planner", 1)]),
        ("model", [("other", 4), ("old", 2), ("new", 1)]),
        ("release", [("1.0", 2), ("2.0", 1)]),
        ("manifest", [("d" * 64, 1)]),
    ],
)
async def test_values_by_when_they_were_last_seen(
    kind: str, what: What, told: list[tuple[str, int]], tmp_path: Path
) -> None:
    log = MemoryLog() if kind == "memory" else DuckDBLog.open(tmp_path / "log.duckdb")
    try:
        await log.append(Batch(records=SPANS))
        found = (await LogReader(log).ask(Seen(what=what))).items
        assert [(each["value"], each["last_ns"] - NOW) for each in found] == told
        assert (await LogReader(log).ask(Seen(what=what, until=NOW))).items == ()
    finally:
        if isinstance(log, DuckDBLog):
            await log.close()
