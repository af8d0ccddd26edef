"""A batch of frames ends where it is large or the journal ends, and what cannot be read is counted and passed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.adapters.formats.exports import payload
from watchkeeper.adapters.formats.otlp import records_of
from watchkeeper.engines.recorder import batches
from watchkeeper.engines.recorder.batches import BatchReader
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import segment_path
from watchkeeper.kinds.ports import Watermark
from watchkeeper.records.drop import Drop
from watchkeeper.records.session import Session
from watchkeeper.records.span import Span

START = Watermark(writer="w", segment=0, offset=0)


def reader(folder: Path) -> BatchReader:
    return BatchReader(folder, {FrameKind.OTLP: records_of})


def journal(folder: Path, *exports: bytes, sessions: int = 0) -> None:
    writer = Journal(folder, "w", bytes(32))
    for each in exports:
        writer.append_raw(FrameKind.OTLP, each)
    for number in range(sessions):
        writer.append(Session(session_id=f"s{number}", at_ns=number))
    writer.close()


def test_records_carry_their_place_and_the_mark_lies_behind_them(tmp_path: Path) -> None:
    journal(tmp_path, payload({}, {}), payload({}), sessions=2)
    found = reader(tmp_path).read(START)
    assert [type(each) for each in found.records] == [Span, Span, Span, Session, Session]
    assert (found.frames, found.full, found.damage) == (4, False, None)
    assert found.at_ns > 0
    after = reader(tmp_path).read(found.mark)
    assert (after.records, after.frames, after.mark) == ((), 0, found.mark)


def test_a_poisoned_frame_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    journal(tmp_path, payload({}), b"\xff no export", payload({}))
    found = reader(tmp_path).read(START)
    assert [type(each) for each in found.records] == [Span, Drop, Span]
    drop = found.records[1]
    assert isinstance(drop, Drop)
    assert (drop.what, drop.reason, drop.count) == ("frame", "unreadable", 1)
    assert "segment 1" in (drop.detail or "")


def test_a_large_batch_ends_and_the_next_one_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH_RECORDS", 3)
    journal(tmp_path, sessions=7)
    mark, sizes, full = START, [], []
    while (found := reader(tmp_path).read(mark)).frames:
        mark = found.mark
        sizes.append(len(found.records))
        full.append(found.full)
    assert (sizes, full) == ([3, 3, 1], [True, True, False])


def test_damage_is_named_and_what_lies_before_it_is_read(tmp_path: Path) -> None:
    journal(tmp_path, sessions=4)
    path = segment_path(tmp_path / "w", 1)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    found = reader(tmp_path).read(START)
    assert len(found.records) == 3
    assert found.damage is not None
    assert "segment 1" in found.damage
