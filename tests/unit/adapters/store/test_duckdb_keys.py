"""Keys that were forgotten are looked for in the table, so a row that comes again is found however old it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.adapters.store import duckdb_keys
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.kinds.ports import Batch
from watchkeeper.records.span import Span

pytestmark = pytest.mark.anyio
DAY_NS = 24 * 3600 * 1_000_000_000
START_NS = 1_700_000_000_000_000_000


def spans(first: int, count: int, day: int) -> Batch:
    return Batch(
        records=tuple(
            Span(trace_id=f"{n:032x}", span_id=f"{n:016x}", start_ns=START_NS + day * DAY_NS + n, name="chat")
            for n in range(first, first + count)
        )
    )


async def test_a_row_whose_key_was_forgotten_is_found_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = START_NS
    monkeypatch.setattr(duckdb_keys.time, "time_ns", lambda: now_ns)
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    size = 1 << 16
    for first in range(0, size + 100, 10_000):
        await log.append(spans(first, 10_000, 0))
    now_ns += 5 * DAY_NS
    for number in range(3):
        fresh = await log.append(spans(10 * size + number, 1, 5))
        assert fresh.written == {"spans": 1}
    known = log._keys._known["spans"]
    assert known.keys.count < size, "the first chunk is gone"
    assert known.since_ns > START_NS
    again = await log.append(spans(100, 50, 0))
    assert (again.written, again.duplicates) == ({}, 50)
    again = await log.append(spans(10 * size, 3, 5))
    assert (again.written, again.duplicates) == ({}, 3)
    await log.close()
