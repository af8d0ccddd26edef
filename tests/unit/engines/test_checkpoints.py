"""Checkpoints, anchors and bundles: what a chain alone cannot show, and proofs that travel."""

from __future__ import annotations

import itertools
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from watchkeeper.engines.recorder import bundle as proofs
from watchkeeper.engines.recorder import journal as journal_module
from watchkeeper.engines.recorder.checkpoints import (
    FILE,
    Checkpointer,
    Unreadable,
    digests_between,
    line_of,
    read_lines,
)
from watchkeeper.engines.recorder.erasure import Place, erase
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import heads, segment_path, segments_of
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.kinds.ports import Watermark
from watchkeeper.records.checkpoint import Checkpoint
from watchkeeper.records.span import Span

KEY = b"k" * 32
MINUTE = 60_000_000_000


class House:
    """Two writers, a clock that can be set, and a checkpointer."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder / "journal", folder / FILE
        self.folder.mkdir(parents=True, exist_ok=True)
        self.now = 1_000 * MINUTE
        self.gateway, self.store = Journal(self.folder, "gateway", KEY), Journal(self.folder, "store", KEY)
        self.points = self.again()
        self.numbers = itertools.count(1)

    def again(self) -> Checkpointer:
        return Checkpointer(self.folder, self.file, lambda: self.store, lambda: self.now)

    def call(self) -> list[Place]:
        n = next(self.numbers)
        body = self.gateway.put(f"words of call {n} ".encode() * 20, "reply")
        origin = self.gateway.append(
            Span(trace_id=f"{n:032x}", span_id=f"{n:016x}", start_ns=n, name="c", bodies=(body,))
        )
        return [Place(a.writer, a.segment, a.offset) for a in (*body.chunks, origin)]

    def close(self) -> None:
        self.gateway.close()
        self.store.close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 2000)
    return House(tmp_path)


def wrong(house: House, *anchored: Checkpoint, marks: dict[str, Watermark] | None = None) -> list[str]:
    return [p.what for w in prove(house.folder, marks, anchored).writers for p in w.problems]


def test_a_checkpoint_is_due_after_time_or_frames_and_not_for_its_own_frame(house: House) -> None:
    assert not house.points.due(MINUTE, 100)
    house.call()
    assert not house.points.due(MINUTE, 100) and house.points.due(MINUTE, 2)
    house.now += MINUTE
    assert house.points.due(MINUTE, 100)
    house.points.write()
    house.now += 10 * MINUTE
    assert not house.points.due(MINUTE, 100)
    assert not house.again().due(MINUTE, 100)


def test_checkpoints_go_on_after_a_restart_and_form_a_chain(house: House) -> None:
    house.call()
    first = house.points.write()
    house.call()
    second = house.again().write()
    assert (second.number, second.previous) == (2, first.digest)
    gateway = next(each for each in second.reached if each.writer == "gateway")
    assert (gateway.first_seq, gateway.seq) == (3, 4)
    assert read_lines(house.file.read_bytes(), "file") == [first, second]
    assert wrong(house, first, second) == []


def test_a_tail_that_was_cut_away_together_with_the_index_shows_against_an_anchor(house: House) -> None:
    for _ in range(4):
        house.call()
    anchored = house.points.write()
    house.close()
    shutil.rmtree(house.folder / "store")
    last = segment_path(house.folder / "gateway", segments_of(house.folder / "gateway")[-1])
    ends = [offset for offset, _ in heads(last)]
    os.truncate(last, ends[-1])
    assert wrong(house) == []
    found = wrong(house, anchored)
    assert any("the journal ends at frame" in each and "checkpoint 1" in each for each in found)


def test_a_journal_written_anew_shows_against_an_anchor_alone(house: House, tmp_path: Path) -> None:
    for _ in range(3):
        house.call()
    anchored = house.points.write()
    house.close()
    shutil.rmtree(house.folder)
    forged = House(tmp_path)
    for _ in range(3):
        forged.call()
    forged.points.write()
    forged.close()
    assert wrong(forged) == []
    assert any("is not the one with the digest" in each for each in wrong(forged, anchored))


def test_a_changed_line_of_an_anchor_is_refused(house: House) -> None:
    house.call()
    line = line_of(house.points.write())
    with pytest.raises(Unreadable, match="its digest is another"):
        read_lines(line.replace(b'"number":1', b'"number":2'), "the file")
    with pytest.raises(Unreadable, match="line 2, is no checkpoint"):
        read_lines(line + b"what?\n", "the file")


def test_a_trace_is_proved_without_the_data_directory(house: House) -> None:
    house.call()
    mine = house.call()
    point = house.points.write()
    bundle = proofs.read(proofs.write(proofs.build(house.folder, "t", mine, [point], lambda: 5)))
    judged = proofs.judge(bundle, [point])
    assert (judged.holds, judged.frames, judged.anchored) == (True, 2, (1,))
    payloads = [frame.payload for frame in bundle.frames]
    assert b"words of call 2 " * 20 in payloads and not any(b"call 1 " in (p or b"") for p in payloads)


def test_a_trace_is_proved_across_a_start_that_wrote_nothing(house: House) -> None:
    house.points.write()
    house.call()
    for _ in range(2):
        house.gateway.close()
        house.gateway = Journal(house.folder, "gateway", KEY)
    house.call()
    point = house.points.write()
    reached = next(each for each in point.reached if each.writer == "gateway")
    assert [seq for seq, _ in digests_between(house.folder, reached)] == [*range(reached.first_seq, reached.seq + 1)]
    folder = house.folder / "gateway"
    assert any(not list(heads(segment_path(folder, number))) for number in segments_of(folder))


def test_an_anchor_that_does_not_know_the_checkpoint_does_not_carry_the_proof(house: House) -> None:
    mine = house.call()
    point = house.points.write()
    house.call()
    other = house.points.write()
    judged = proofs.judge(proofs.build(house.folder, "t", mine, [point], lambda: 5), [other])
    assert not judged.holds and "not among those that were kept outside" in judged.problems[0]


def test_every_changed_byte_of_a_proof_is_found(house: House) -> None:
    mine = house.call()
    bundle = proofs.build(house.folder, "t", mine, [house.points.write()], lambda: 5)
    frame = bundle.frames[0]
    for name in ("head", "payload", "salt"):
        value = getattr(frame, name)
        for at in range(len(value)):
            if name == "head" and at >= len(value) - 8:
                continue  # the two checksums, which the digest does not cover; one is checked by itself
            changed = value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
            forged = msgspec.structs.replace(bundle, frames=(msgspec.structs.replace(frame, **{name: changed}),))
            assert not proofs.judge(forged).holds, f"{name} at {at}"


def test_an_erased_frame_is_proved_to_have_been_there(house: House) -> None:
    mine = house.call()
    point = house.points.write()
    erase(house.store, house.folder, mine[:1], reason="subject", actor="ada")
    judged = proofs.judge(proofs.build(house.folder, "t", mine, [point], lambda: 5))
    assert (judged.holds, judged.erased) == (True, 1)


def test_a_frame_that_no_checkpoint_saw_cannot_be_proved(house: House) -> None:
    with pytest.raises(proofs.Unproved, match="watchkeeper anchor"):
        proofs.build(house.folder, "t", house.call(), [], lambda: 5)
    with pytest.raises(proofs.Unproved, match="no proof"):
        proofs.read(b"something else")
