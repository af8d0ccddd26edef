"""Removing and compacting in the DuckDB file: nothing left of what went, killed in the middle, full disk, space."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path
from random import Random

import pytest

from tests.unit.adapters.store.test_duckdb_log import NOW_NS, batch, count, span
from watchkeeper.adapters.store.duckdb_file import ROW_GROUP_ROWS, copy_path
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.queries.timespan import FAR_NS

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[4]
SECRET = b"quixotic-zebra-4711"


def holds(folder: Path, text: bytes) -> list[str]:
    """The files below a folder in which some bytes stand."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def test_a_removed_text_is_in_the_files_until_they_are_compacted(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    await log.append(batch(*(span(n, message=f"{SECRET.decode()} {n}") for n in range(2_000)), at=1))
    await log.append(batch(*(span(n, message=f"harmless {n}") for n in range(2_000, 9_000)), at=2))
    await log.checkpoint()
    await log.remove("spans", before_ns=NOW_NS + 2_000)
    await log.checkpoint()
    assert holds(tmp_path, SECRET), "else the rest of this test shows nothing"
    await log.compact()
    assert holds(tmp_path, SECRET) == []
    assert await count(log) == 7_000
    await log.close()
    assert holds(tmp_path, SECRET) == []
    assert [path.name for path in tmp_path.iterdir()] == ["log.duckdb"]


@pytest.mark.slow
async def test_removed_row_groups_are_filled_again_so_that_the_file_stays_bounded(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    log = DuckDBLog.open(path)
    noise = Random(1)
    sizes = []
    for day in range(6):
        at = day * 2 * ROW_GROUP_ROWS
        for start in range(at, at + 2 * ROW_GROUP_ROWS, 7_680):
            rows = [span(n, message=f"{noise.getrandbits(160):x}") for n in range(start, start + 7_680)]
            await log.append(batch(*rows))
        await log.remove("spans", before_ns=NOW_NS + at)
        await log.checkpoint()
        sizes.append(path.stat().st_size)
    assert await count(log) == 2 * ROW_GROUP_ROWS
    assert sizes[-1] <= 1.2 * sizes[2]
    await log.remove("spans", before_ns=FAR_NS)
    await log.compact()
    assert path.stat().st_size < sizes[0] / 4
    await log.close()


async def test_the_index_stays_usable_after_compacting_and_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    log = DuckDBLog.open(path)
    for round_number in range(3):
        first = round_number * 500
        await log.append(batch(*(span(n) for n in range(first, first + 500)), at=2 * round_number))
        await log.compact()
        assert (await log.append(batch(*(span(n) for n in range(500)), at=2 * round_number + 1))).duplicates == 500
    await log.close()
    log = DuckDBLog.open(path)
    assert await count(log) == 1500
    assert (await log.watermarks())["w"].offset == 5
    await log.close()


async def test_a_question_under_way_is_answered_though_the_file_is_swapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("watchkeeper.adapters.store.duckdb_reader.PATIENCE_S", 0.05)
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    await log.append(batch(*(span(n) for n in range(100))))
    slow = "SELECT count(*) FROM range(40000) a, range(40000) b WHERE (a.range * b.range) % 7 = 3"
    asked = asyncio.create_task(log._read(slow, []))
    await asyncio.sleep(0.1)
    await log.compact()
    assert await count(log) == 100
    asked.cancel()
    await log.close()


async def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.duckdb"
    log = DuckDBLog.open(path)
    await log.append(batch(*(span(n) for n in range(5_000)), at=1))
    await log.checkpoint()
    usage = namedtuple("usage", "total used free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
        with pytest.raises(StoreError, match=r"needs about .* MB.*Make room.*nothing was changed"):
            await log.compact()
    assert not copy_path(path).exists()
    assert await count(log) == 5_000
    assert (await log.append(batch(span(5_000), at=2))).written == {"spans": 1}
    await log.compact()
    assert await count(log) == 5_001
    await log.close()


async def test_closing_in_the_middle_leaves_the_index_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "log.duckdb"
    log = DuckDBLog.open(path)
    await log.append(batch(*(span(n) for n in range(20_000)), at=1))
    compacting = asyncio.create_task(log.compact())
    await asyncio.sleep(0.01)
    await log.close()
    await asyncio.gather(compacting, return_exceptions=True)
    assert not copy_path(path).exists()
    log = DuckDBLog.open(path)
    assert await count(log) == 20_000
    await log.close()


_COMPACTING = """
import asyncio, sys
from pathlib import Path
from tests.unit.adapters.store.test_duckdb_log import NOW_NS, batch, span
from watchkeeper.adapters.store.duckdb_log import DuckDBLog

async def main():
    log = DuckDBLog.open(Path(sys.argv[1]))
    async def compact():
        while True:
            await log.compact()
            print("compacted", flush=True)
    await log.append(batch(*(span(n) for n in range(20_000)), at=1))
    await log.remove("spans", before_ns=NOW_NS + 10_000)
    task = asyncio.create_task(compact())
    for n in range(2, 100_000):
        await log.append(batch(*(span(20_000 + 10 * n + i) for i in range(10)), at=n))
        print(n, flush=True)
        await asyncio.sleep(0)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
async def test_killed_while_compacting_the_index_holds_what_was_acknowledged(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "log.duckdb"
    process = subprocess.Popen(
        [sys.executable, "-c", _COMPACTING, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])},
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if lines.count("compacted") > seed:
            break
    time.sleep(Random(seed).random() * 0.15)
    process.send_signal(signal.SIGKILL)
    lines += [line.strip() for line in process.stdout if line.endswith("\n")]
    process.wait()
    log = DuckDBLog.open(path)
    held = (await log.watermarks())["w"].offset
    assert held >= max(int(line) for line in lines if line.isdigit())
    assert await count(log) == 10_000 + 10 * (held - 1)
    assert not copy_path(path).exists()
    await log.compact()
    assert await count(log) == 10_000 + 10 * (held - 1)
    await log.close()
