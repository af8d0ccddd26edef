"""The index has everything once, whatever fails and whoever dies on the way from the journal to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.engines.recorder import batches, ingest
from watchkeeper.engines.recorder.batches import BatchReader, Read
from watchkeeper.engines.recorder.ingest import Ingester
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.kinds.ports import Appended, Batch, Watermark
from watchkeeper.queries.select import Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.record import unpack
from watchkeeper.records.session import Session

pytestmark = pytest.mark.anyio


class Elsewhere:
    """Reads here what would be read elsewhere, and fails when told to."""

    def __init__(self, folder: Path) -> None:
        self._reader = BatchReader(folder, {})
        self.fails: Callable[[int], bool] = lambda number: False
        self.asked: list[Watermark] = []
        self.ends = 0

    def read(self, mark: Watermark) -> Read:
        self.asked.append(mark)
        if self.fails(len(self.asked)):
            raise OSError("the process that decodes journals is gone")
        return self._reader.read(mark)

    def end(self) -> None:
        self.ends += 1


class Failing(MemoryLog):
    """A Log that takes nothing at some attempts."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: Callable[[int], bool] = lambda number: False
        self.attempts = 0

    async def append(self, batch: Batch) -> Appended:
        self.attempts += 1
        if self.fails(self.attempts):
            raise OSError("no space left")
        return await super().append(batch)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "BATCH_RECORDS", 5)


def recorded(folder: Path, *numbers: int, writer: str = "w") -> None:
    journal = Journal(folder, writer, bytes(32))
    for number in numbers:
        journal.append(Session(session_id=f"{writer}{number:03}", at_ns=number + 1))
    journal.close()


async def sessions(log: MemoryLog) -> list[str]:
    rows = await log.select(Select(table="sessions", since_ns=0, until_ns=FAR_NS))
    return [unpack(Session, bytes(row[0])).session_id for row in rows.rows]


async def drained(ingester: Ingester) -> None:
    """Until nothing is left, over failing rounds."""
    for _ in range(200):
        try:
            if (await ingester.round()).frames == 0:
                return
        except OSError:
            continue
    raise AssertionError("it does not come to an end")


async def test_it_decodes_elsewhere_only_while_it_is_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "IDLE_S", 0.0)
    recorded(tmp_path, 0, 1, 2)
    elsewhere, log = Elsewhere(tmp_path), MemoryLog()
    ingester = Ingester(tmp_path, log, {}, (), elsewhere)
    await drained(ingester)
    assert (elsewhere.asked, ingester.decoding_elsewhere) == ([], False)
    recorded(tmp_path, *range(3, 60))
    for _ in range(ingest.BEHIND_BATCHES + 2):
        await ingester.round()
    assert ingester.decoding_elsewhere
    assert elsewhere.asked
    await drained(ingester)
    assert not ingester.decoding_elsewhere, "it is up to date again, so the process is let go"
    assert elsewhere.ends > 0
    assert await sessions(log) == [f"w{n:03}" for n in range(60)]


@pytest.mark.parametrize("dies", [1, 2, 5])
@pytest.mark.parametrize("refuses", [0, 4, 5, 6, 9])
async def test_nothing_is_lost_or_doubled_when_the_decoder_dies_or_the_index_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies: int, refuses: int
) -> None:
    monkeypatch.setattr(ingest, "MEND_S", 0.0)
    recorded(tmp_path, *range(70))
    recorded(tmp_path, *range(8), writer="other")
    elsewhere, log = Elsewhere(tmp_path), Failing()
    elsewhere.fails = lambda number: number % 7 == dies
    log.fails = lambda attempt: attempt in (refuses, refuses + 1)
    ingester = Ingester(tmp_path, log, {}, (), elsewhere)
    await drained(ingester)
    await ingester.rest()
    found = await sessions(log)
    assert sorted(found) == sorted([*(f"w{n:03}" for n in range(70)), *(f"other{n:03}" for n in range(8))])
    assert [each for each in found if each.startswith("w")] == [f"w{n:03}" for n in range(70)], "in order"
    assert (ingester.records, ingester.deaths > 0) == (78, True)


async def test_an_index_that_keeps_failing_is_said_and_is_well_again_once_it_takes_something(tmp_path: Path) -> None:
    recorded(tmp_path, 0)
    log = Failing()
    log.fails = lambda attempt: attempt < 4
    ingester = Ingester(tmp_path, log, {})
    assert ingester.problem(0.0) is None
    for _ in range(3):
        with pytest.raises(OSError, match="no space"):
            await ingester.round()
    said = ingester.problem(0.0) or ""
    assert "3 attempts: no space left" in said
    assert "recording goes on" in said
    assert ingester.problem(3600.0) is None, "what has just begun may pass by itself"
    assert ingester.lag().frames == 1
    await ingester.round()
    assert ingester.problem(0.0) is None
    assert ingester.lag().frames == 0


async def test_the_end_waits_for_what_is_read_ahead(tmp_path: Path) -> None:
    recorded(tmp_path, *range(60))
    elsewhere, log = Elsewhere(tmp_path), MemoryLog()
    ingester, stopping = Ingester(tmp_path, log, {}, (), elsewhere), asyncio.Event()
    following = asyncio.create_task(ingester.run(stopping))
    while not elsewhere.asked:
        await asyncio.sleep(0.005)
    stopping.set()
    await following
    assert elsewhere.ends == 1
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "decoding"]
