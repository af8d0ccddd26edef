"""Many rows go into the index column by column, and lie there as if they had gone in one by one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.conformance.samples import SAMPLES
from watchkeeper.adapters.store import duckdb_log
from watchkeeper.adapters.store.duckdb_columns import FROM_ROWS, insert_columns
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.rows import packed_row
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.select import Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.drop import Drop
from watchkeeper.records.record import unpack
from watchkeeper.records.span import Span, Usage

pytestmark = pytest.mark.anyio


async def all_of(log: DuckDBLog, table: str) -> list[bytes]:
    rows = await log.select(Select(table=table, since_ns=0, until_ns=FAR_NS))
    return sorted(bytes(row[0]) for row in rows.rows)


def many() -> list[Span]:
    return [
        Span(
            trace_id=f"{n // 3:032x}",
            span_id=f"{n:016x}",
            start_ns=1_780_000_000_000_000_000 + n,
            name=f"gespräch {n}",
            usage=Usage(input_tokens=n if n % 2 else None),
            stream=n % 5 == 0,
            attributes={"tier": "gold", "n": n} if n % 3 else {},
        )
        for n in range(2 * FROM_ROWS)
    ]


async def test_both_ways_in_give_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for name, from_rows in (("columns", 1), ("appender", 10**9)):
        monkeypatch.setattr(duckdb_log, "FROM_ROWS", from_rows)
        log = DuckDBLog.open(tmp_path / f"{name}.duckdb")
        records = SAMPLES.values()
        await log.append(Batch(records=(*many(), *records)))
        found.append([await all_of(log, table) for table in ("spans", "scores", "decisions", "sessions", "findings")])
        await log.close()
    assert found[0] == found[1]
    assert len(found[0][0]) >= 2 * FROM_ROWS


async def test_a_value_that_no_column_holds_does_not_hold_up_the_others(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    spans = many()
    spans[7] = msgspec.structs.replace(spans[7], name="half \ud800", usage=Usage(input_tokens=2**70))
    appended = await log.append(Batch(records=tuple(spans)))
    assert appended.written == {"spans": len(spans)}
    kept = {span.span_id: span for span in (unpack(Span, each) for each in await all_of(log, "spans"))}
    assert kept[spans[7].span_id].usage.input_tokens == 2**63 - 1
    await log.close()


async def test_rows_all_alike_go_in_too(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    row = packed_row(Drop(what="frame", reason="unreadable", count=1, first_ns=5, last_ns=5, door="index"))
    assert insert_columns(log._connection, "drops", [row] * 3)
    assert not insert_columns(log._connection, "drops", [["three" if value == 1 else value for value in row], row])
    assert log._connection.execute("SELECT count(*), sum(count) FROM drops").fetchall() == [(3, 3)]
    await log.close()
