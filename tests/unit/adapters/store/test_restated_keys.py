"""Keys with more than one revision are all remembered, over batches, restarts and compacting."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest

from watchkeeper.adapters.store import restated_keys
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.judgments import Scores
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.score import Score

pytestmark = pytest.mark.anyio


def score(number: int, revision: int, event_ns: int) -> Score:
    return Score(
        score_id=f"s{number}", subject_kind="span", subject_id="x", name="n", at_ns=revision, event_ns=event_ns,
        value=float(revision),
    )  # fmt: skip


async def same(log: DuckDBLog, plain: MemoryLog) -> None:
    for since, until in ((0, FAR_NS), (0, 500), (300, 700)):
        question = Scores(since=since, until=until, limit=10_000)
        rows = [sorted(map(repr, (await each.select(question.select())).dicts())) for each in (log, plain)]
        assert rows[0] == rows[1]


@pytest.mark.parametrize("capacity", [4_000_000, 20])
async def test_the_latest_revision_is_found_whatever_came_between(
    tmp_path: Path, capacity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restated_keys, "CAPACITY", capacity)
    rng, path, plain, revision = Random(1), tmp_path / "log.duckdb", MemoryLog(), 0
    for _ in range(4):
        log = DuckDBLog.open(path)
        for _ in range(6):
            some = []
            for _ in range(15):
                revision += 1
                some.append(score(rng.randrange(150), revision, rng.randrange(1000)))
            for each in (log, plain):
                await each.append(Batch(records=tuple(some)))
            await same(log, plain)
        await log.compact()
        await same(log, plain)
        await log.close()


async def test_only_restated_keys_are_kept_and_those_of_removed_rows_go_with_compacting(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    await log.append(Batch(records=tuple(score(n, 1, 10) for n in range(100))))
    await log.append(Batch(records=(score(3, 2, 10), score(4, 2, 10), score(200, 1, 10), score(200, 2, 10))))
    await log.append(Batch(records=(msgspec.structs.replace(score(3, 3, 10)),)))
    kept = await log._read("SELECT key FROM restated WHERE of_table = 'scores' ORDER BY key", [])
    assert kept == [("s200",), ("s3",), ("s4",)]
    await log.remove("scores", keys=[("s4",)])
    await log.compact()
    assert await log._read("SELECT key FROM restated ORDER BY key", []) == [("s200",), ("s3",)]
    await log.close()
