"""What the DuckDB Log does beyond what every Log does: files, restarts, crashes, damage, many at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from watchkeeper.adapters.store.duckdb_file import ROW_GROUP_ROWS, remove_file
from watchkeeper.adapters.store.duckdb_keys import NEAR_NS
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.errors import IndexBusy, IndexUnreadable, StoreClosed
from watchkeeper.kinds.ports import Batch, Watermark
from watchkeeper.queries.explorer import Spans
from watchkeeper.queries.select import Aggregate, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.span import Span

pytestmark = pytest.mark.anyio
NOW_NS = 1_780_000_000_000_000_000


def span(number: int, **changes) -> Span:
    return Span(
        trace_id=f"{number:032x}",
        span_id=f"{number:016x}",
        start_ns=NOW_NS + number,
        name="chat",
        revision=1,
        **changes,
    )


def batch(*spans: Span, at: int | None = None) -> Batch:
    return Batch(records=spans, watermark=None if at is None else Watermark(writer="w", segment=1, offset=at))


async def count(log: DuckDBLog) -> int:
    query = Select(table="spans", since_ns=-FAR_NS, until_ns=FAR_NS, columns=(Aggregate(function="count", alias="n"),))
    return (await log.select(query)).rows[0][0]


async def test_a_span_that_comes_again_after_a_restart_is_found(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    for _ in range(3):
        log = DuckDBLog.open(path)
        try:
            appended = await log.append(batch(*(span(n) for n in range(500))))
            assert await count(log) == 500
        finally:
            await log.close()
    assert (appended.written, appended.duplicates) == ({}, 500)


async def test_the_same_span_id_within_a_day_is_one_span_and_later_another(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    await log.append(batch(span(1)))
    near = msgspec.structs.replace(span(1), start_ns=span(1).start_ns + NEAR_NS)
    assert (await log.append(batch(near))).duplicates == 1
    far = msgspec.structs.replace(near, start_ns=near.start_ns + 1)
    assert (await log.append(batch(far))).written == {"spans": 1}
    await log.close()


async def test_full_row_groups_are_checkpointed_and_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    log = DuckDBLog.open(path)
    step = 7000
    for start in range(0, ROW_GROUP_ROWS + step, step):
        await log.append(batch(*(span(n) for n in range(start, start + step)), at=start))
    written = path.stat().st_size
    assert written > 100_000
    appended = await log.append(batch(*(span(n) for n in range(0, ROW_GROUP_ROWS, 61))))
    assert appended.written == {}
    await log.close()
    log = DuckDBLog.open(path)
    assert await count(log) == 6 * step
    assert (await log.watermarks())["w"].offset == 5 * step
    await log.close()


_WRITER = """
import asyncio, sys
from pathlib import Path
from tests.unit.adapters.store.test_duckdb_log import batch, span
from watchkeeper.adapters.store.duckdb_log import DuckDBLog

async def main():
    log = DuckDBLog.open(Path(sys.argv[1]))
    for n in range(100_000):
        await log.append(batch(*(span(10 * n + i) for i in range(10)), at=n))
        print(n, flush=True)

asyncio.run(main())
"""


async def test_after_kill_9_rows_and_watermark_agree(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    root = Path(__file__).parents[4]
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])},
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            break
    process.send_signal(signal.SIGKILL)
    acknowledged = max([20, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.wait()
    log = DuckDBLog.open(path)
    held = (await log.watermarks())["w"].offset
    assert held >= acknowledged
    assert await count(log) == 10 * (held + 1)
    await log.close()


_FULL_DISK = """
import asyncio, resource, sys
from pathlib import Path
from tests.unit.adapters.store.test_duckdb_log import batch, count, span
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.errors import StoreError

async def main():
    log = DuckDBLog.open(Path(sys.argv[1]))
    await log.append(batch(*(span(n) for n in range(500)), at=1))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    for failing in (log.checkpoint(), log.append(batch(*(span(n) for n in range(500, 900)), at=2))):
        try:
            await failing
        except StoreError as error:
            assert "cannot be written" in str(error)
            print(await count(log))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    again = await log.append(batch(*(span(n) for n in range(400, 900)), at=2))
    await log.checkpoint()
    print(again.written["spans"], again.duplicates, await count(log))
    await log.close()

asyncio.run(main())
"""


async def test_after_a_full_disk_the_index_goes_on_with_what_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(path)], capture_output=True, text=True, timeout=60, check=False,
        cwd=root, env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])},
    )  # fmt: skip
    assert done.stdout.splitlines() == ["500", "500", "400 100 900"], done.stderr
    log = DuckDBLog.open(path)
    assert await count(log) == 900
    assert (await log.watermarks())["w"].offset == 2
    await log.close()


@pytest.mark.parametrize("place", [0, 4100, 12_400])
async def test_a_damaged_file_says_rebuild(tmp_path: Path, place: int) -> None:
    path = tmp_path / "log.duckdb"
    log = DuckDBLog.open(path)
    await log.append(batch(*(span(n) for n in range(100))))
    await log.close()
    damaged = bytearray(path.read_bytes())
    damaged[place : place + 64] = b"\xff" * 64
    path.write_bytes(damaged)
    with pytest.raises(IndexUnreadable, match="watchkeeper rebuild"):
        DuckDBLog.open(path)
    remove_file(path)
    log = DuckDBLog.open(path)
    assert await count(log) == 0
    await log.close()


async def test_damage_that_only_a_question_meets_says_rebuild(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    log = DuckDBLog.open(path)
    told = (span(n, preview=f"hello {n * 7919}", attributes={"a": str(n * 31)}) for n in range(5000))
    await log.append(batch(*told, at=1))
    await log.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xa5" * 16_384)
    log = DuckDBLog.open(path)
    assert await count(log) == 5000
    with pytest.raises(IndexUnreadable, match="watchkeeper rebuild"):
        await log.select(Spans(limit=5000).select())
    await log.close()


async def test_a_file_that_is_no_index_says_rebuild(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    path.write_text("hello")
    with pytest.raises(IndexUnreadable, match="watchkeeper rebuild"):
        DuckDBLog.open(path)


async def test_an_index_of_other_tables_says_rebuild(tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "log.duckdb"
    await DuckDBLog.open(path).close()
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE about SET value = 'older'")
    with pytest.raises(IndexUnreadable, match=r"other tables.*watchkeeper rebuild"):
        DuckDBLog.open(path)


async def test_a_second_process_is_told_who_holds_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    log = DuckDBLog.open(path)
    root = Path(__file__).parents[4]
    code = (
        "import sys; from pathlib import Path; from watchkeeper.adapters.store.duckdb_log import DuckDBLog; "
        "from watchkeeper.adapters.store.errors import IndexBusy\n"
        "try: DuckDBLog.open(Path(sys.argv[1]))\nexcept IndexBusy as error: print(error)"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, str(path)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(root / "src")},
    )  # fmt: skip
    await log.close()
    assert f"PID {os.getpid()}" in done.stdout
    assert IndexBusy.__doc__


async def test_questions_are_answered_while_batches_come(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")

    async def write() -> None:
        for start in range(0, 20_000, 1000):
            await log.append(batch(*(span(n) for n in range(start, start + 1000))))

    async def read() -> list[int]:
        return [await count(log) for _ in range(30)]

    _, seen, others = await asyncio.gather(write(), read(), read())
    for counts in (seen, others):
        assert counts == sorted(counts)
        assert all(n % 1000 == 0 for n in counts)
    await log.close()


async def test_a_number_beyond_64_bits_is_clamped_and_holds_nothing_up(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    appended = await log.append(batch(span(1), span(2, http_status=2**70), span(3), at=5))
    assert appended.written == {"spans": 3}
    items = Spans(limit=9).answer(await log.select(Spans(limit=9).select())).items
    assert [item["http_status"] for item in items] == [None, 2**63 - 1, None]
    await log.close()


async def test_a_failed_batch_leaves_nothing_behind(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    wrong = msgspec.structs.replace(span(1), http_status="two hundred")
    with pytest.raises(Exception, match="two hundred"):
        await log.append(batch(span(0), wrong, at=3))
    assert await count(log) == 0
    assert await log.watermarks() == {}
    assert (await log.append(batch(span(0), at=3))).written == {"spans": 1}
    await log.close()


async def test_the_index_reaches_neither_network_nor_other_files(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    settings = dict(log._connection.execute("SELECT name, value FROM duckdb_settings()").fetchall())
    assert settings["autoinstall_known_extensions"] == settings["autoload_known_extensions"] == "false"
    assert settings["enable_external_access"] == "false"
    await log.close()


async def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    await log.close()
    await log.close()
    with pytest.raises(StoreClosed):
        await log.append(batch(span(1)))
    assert not (tmp_path / "log.duckdb.wal").exists()
