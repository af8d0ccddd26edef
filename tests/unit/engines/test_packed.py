"""A packed segment reads as before, gives its bytes back, and can be erased from further without harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from watchkeeper.engines.recorder.erasure import Place, erase
from watchkeeper.engines.recorder.frames import Corrupt, Erased, FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.packed import (
    PACKED_MAGIC,
    open_segment,
    pack_segment,
    pread,
    segment_bytes,
    segment_size,
)
from watchkeeper.engines.recorder.segments import read_frame_at, read_frames, segment_path
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.records.body import Body

KEY = bytes(range(32))


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, list[Body], Journal]:
    """A segment with 200 payloads of some hundred bytes each, and a second one that is written."""
    writer = Journal(tmp_path, "gateway", KEY)
    bodies = [writer.put(os.urandom(700), "reply") for _ in range(200)]
    writer._roll()
    return tmp_path, bodies, writer


def places(bodies: list[Body]) -> list[Place]:
    return [Place(a.writer, a.segment, a.offset) for body in bodies for a in body.chunks]


def test_small_payloads_give_their_bytes_back_and_the_rest_reads_as_before(
    scene: tuple[Path, list[Body], Journal],
) -> None:
    folder, bodies, writer = scene
    path = segment_path(folder / "gateway", 1)
    kept = [Vault(folder).body(body) for body in bodies[::10]]
    erase(writer, folder, places([b for n, b in enumerate(bodies) if n % 10]), reason="sampling", actor="t")
    before, whole = path.stat().st_blocks, segment_bytes(path)
    assert pack_segment(path) > 0
    assert path.stat().st_blocks < before / 3
    assert path.read_bytes().startswith(PACKED_MAGIC) and path.stat().st_mode & 0o777 == 0o600
    assert segment_bytes(path) == whole and segment_size(path) == len(whole)
    vault = Vault(folder)
    assert [vault.body(body) for body in bodies[::10]] == kept
    with pytest.raises(Erased):
        vault.body(bodies[1])
    frames = [f for f in read_frames(folder / "gateway", erased=True) if f.segment == 1]
    assert [f.head.seq for f in frames] == list(range(1, 201))
    assert sum(f.erased for f in frames) == 180
    writer.close()
    assert prove(folder).holds


def test_a_packed_segment_can_be_erased_from_and_packed_again(scene: tuple[Path, list[Body], Journal]) -> None:
    folder, bodies, writer = scene
    path = segment_path(folder / "gateway", 1)
    erase(writer, folder, places(bodies[:100]), reason="sampling", actor="t")
    pack_segment(path)
    secret = Vault(folder).body(bodies[150])
    erase(writer, folder, places(bodies[90:160]), reason="subject", actor="t")
    assert secret not in path.read_bytes()
    assert Vault(folder).body(bodies[170])
    pack_segment(path)
    with pytest.raises(Erased):
        Vault(folder).body(bodies[150])
    assert Vault(folder).body(bodies[170])
    writer.close()
    assert prove(folder).holds


def test_what_an_erased_frame_points_to_stays(scene: tuple[Path, list[Body], Journal]) -> None:
    folder, bodies, writer = scene
    (old,) = places(bodies[:1])
    new = writer.append_raw(FrameKind.OTLP, b"what is left")
    moved = {old: Place(new.writer, new.segment, new.offset)}
    erase(writer, folder, places(bodies[:150]), reason="sampling", actor="t", moved=moved)
    pack_segment(segment_path(folder / "gateway", 1))
    vault = Vault(folder)
    assert vault._read("gateway", 1, old.offset)[1] == b"what is left"
    writer.close()
    assert prove(folder).holds


def test_reading_anywhere_gives_what_a_plain_file_gives(scene: tuple[Path, list[Body], Journal]) -> None:
    folder, bodies, writer = scene
    path = segment_path(folder / "gateway", 1)
    erase(writer, folder, places(bodies[3:60]), reason="sampling", actor="t")
    whole = path.read_bytes()
    pack_segment(path)
    with open_segment(path) as file:
        for offset, count in ((0, 10), (90, 400), (5_000, 20_000), (len(whole) - 5, 50), (len(whole) + 5, 5)):
            file.seek(offset)
            assert file.read(count) == whole[offset : offset + count]
    with path.open("rb") as raw:
        assert pread(raw.fileno(), 4_000, 77) == whole[77:4_077]
        head, payload = read_frame_at(raw.fileno(), bodies[100].chunks[0].offset)
        assert (head.seq, len(payload)) == (101, 700)
    writer.close()


def test_a_damaged_table_is_named(scene: tuple[Path, list[Body], Journal]) -> None:
    folder, bodies, writer = scene
    path = segment_path(folder / "gateway", 1)
    erase(writer, folder, places(bodies[:50]), reason="sampling", actor="t")
    pack_segment(path)
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    with pytest.raises(Corrupt, match="table of a packed segment"):
        segment_bytes(path)
    writer.close()
