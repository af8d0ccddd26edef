"""A process of its own decodes as well as the store does, and may be killed at any moment."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.unit.adapters.formats.exports import payload
from watchkeeper.adapters.formats.otlp import records_of
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.engines.recorder import batches, ingest
from watchkeeper.engines.recorder.batches import BatchReader, Read
from watchkeeper.engines.recorder.decoding import DecoderGone, DecodingProcess
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.ingest import Ingester
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.kinds.ports import Watermark
from watchkeeper.queries.select import Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.session import Session

pytestmark = pytest.mark.anyio
START = Watermark(writer="w", segment=0, offset=0)
CHILD = """
import sys
from pathlib import Path
from watchkeeper.adapters.formats.otlp import records_of
from watchkeeper.engines.recorder import batches
from watchkeeper.engines.recorder.decoding import answer_requests
from watchkeeper.engines.recorder.frames import FrameKind
batches.BATCH_RECORDS = 20
folder = Path(sys.stdin.buffer.readline().decode().strip())
reader = batches.BatchReader(folder, {FrameKind.OTLP: records_of})
answer_requests(reader, sys.stdin.buffer, sys.stdout.buffer)
"""


def recorded(folder: Path, exports: int) -> None:
    journal = Journal(folder, "w", bytes(32))
    for number in range(exports):
        ids = [{"span_id": (100 * number + n + 1).to_bytes(8, "big")} for n in range(10)]
        journal.append_raw(FrameKind.OTLP, payload(*ids))
        journal.append(Session(session_id=f"s{number}", at_ns=number))
    journal.append_raw(FrameKind.OTLP, b"\xff poison")
    journal.close()


def process(folder: Path) -> DecodingProcess:
    return DecodingProcess((sys.executable, "-c", CHILD), str(folder).encode())


def whole(reader: BatchReader | DecodingProcess) -> list[Read]:
    reads, mark = [], START
    while (read := reader.read(mark)).frames:
        reads.append(read)
        mark = read.mark
    return reads


@pytest.mark.slow
def test_it_answers_what_is_read_here(tmp_path: Path) -> None:
    recorded(tmp_path, 6)
    there = process(tmp_path)
    try:
        found = whole(there)
    finally:
        there.end()
    here = whole(BatchReader(tmp_path, {FrameKind.OTLP: records_of}))
    assert len(found) > len(here) == 1
    assert found[-1].mark == here[-1].mark
    assert sum(read.frames for read in found) == here[0].frames
    for kind in ("Span", "Session"):
        said = [[each for r in reads for each in r.records if type(each).__name__ == kind] for reads in (found, here)]
        assert said[0] == said[1]
    assert [each.reason for r in found for each in r.records if type(each).__name__ == "Drop"] == ["unreadable"]
    assert there.pid is None


@pytest.mark.slow
def test_a_killed_process_is_told_of_and_the_next_request_starts_another(tmp_path: Path) -> None:
    recorded(tmp_path, 3)
    there = process(tmp_path)
    try:
        first = there.read(START)
        assert there.pid is not None
        os.kill(there.pid, signal.SIGKILL)
        with pytest.raises(DecoderGone, match="is gone"):
            there.read(first.mark)
        assert there.read(START) == first
        assert there.starts == 2
    finally:
        there.end()


def test_a_process_that_cannot_be_started_is_gone(tmp_path: Path) -> None:
    with pytest.raises(DecoderGone):
        DecodingProcess((str(tmp_path / "nothing"),), b"").read(START)


@pytest.mark.slow
async def test_killing_it_again_and_again_neither_loses_nor_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MEND_S", 0.0)
    monkeypatch.setattr(ingest, "BEHIND_BATCHES", 0)
    monkeypatch.setattr(batches, "BATCH_RECORDS", 20)
    recorded(tmp_path, 40)
    there, log = process(tmp_path), MemoryLog()
    ingester = Ingester(tmp_path, log, {FrameKind.OTLP: records_of}, (), there)
    ingester._far.add("w")
    rounds = 0
    while (await ingester.round()).frames:
        rounds += 1
        if rounds % 3 == 0 and there.pid is not None:
            os.kill(there.pid, signal.SIGKILL)
    await ingester.rest()
    rows = await log.select(Select(table="spans", since_ns=0, until_ns=FAR_NS))
    assert len(rows.rows) == 400
    assert ingester.duplicates == 0
    assert there.starts > 2
