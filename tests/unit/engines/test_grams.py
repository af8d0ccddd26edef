"""The files beside sealed segments: they never rule out what is there, and rule out most of what is not."""

from __future__ import annotations

from pathlib import Path
from random import Random

from tests.unit.engines.test_search import Scene, babble
from watchkeeper.analysis.typed import needle_of
from watchkeeper.engines.recorder import journal as journals
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.segments import read_frames


def scene_of(folder: Path, monkeypatch) -> Scene:
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 300_000)
    monkeypatch.setattr("watchkeeper.engines.recorder.grams.BLOCK_BYTES", 60_000)
    scene, rng = Scene(folder), Random(1)
    for _ in range(500):
        scene.call(babble(rng))
    return scene


def test_blocks_cover_a_segment_without_gaps_and_count_its_bytes(tmp_path: Path, monkeypatch) -> None:
    scene = scene_of(tmp_path, monkeypatch)
    writer, segment = scene.grams.missing()[-1]
    plain = scene.grams.build(writer, segment)
    blocks = scene.grams.blocks(writer, segment)
    assert blocks is not None
    assert [b.end for b in blocks[:-1]] == [b.begin for b in blocks[1:]]
    frames = [f for f in read_frames(tmp_path / "journal" / writer, segment) if f.segment == segment]
    assert (frames[0].offset, frames[-1].next_offset) == (blocks[0].begin, blocks[-1].end)
    assert plain == sum(len(frame.payload) for frame in frames) == sum(block.plain_bytes for block in blocks)


def test_a_needle_from_a_block_is_never_ruled_out_and_a_foreign_one_mostly_is(tmp_path: Path, monkeypatch) -> None:
    scene = scene_of(tmp_path, monkeypatch)
    writer, segment = scene.grams.missing()[-1]
    scene.grams.build(writer, segment)
    blocks = scene.grams.blocks(writer, segment) or []
    rng, spared = Random(2), 0
    for frame in read_frames(tmp_path / "journal" / writer, segment):
        if frame.segment != segment or len(frame.payload) < 200:
            continue
        if frame.head.kind != FrameKind.CHUNK:
            continue
        (block,) = (b for b in blocks if b.begin <= frame.offset < b.end)
        at = rng.randrange(len(frame.payload) - 30)
        text = frame.payload[at : at + 25].decode("utf-8", "ignore").strip()
        assert not text or scene.grams.may_hold(block, needle_of(text).text)
    for block in blocks:
        spared += sum(not scene.grams.may_hold(block, f"pangolin {n} zebra") for n in range(50))
    assert spared > 0.95 * 50 * len(blocks)


def test_another_key_makes_another_file(tmp_path: Path, monkeypatch) -> None:
    scene = scene_of(tmp_path, monkeypatch)
    writer, segment = scene.grams.missing()[-1]
    scene.grams.build(writer, segment)
    one = [block.texts for block in scene.grams.blocks(writer, segment) or []]
    other = type(scene.grams)(tmp_path / "other", tmp_path / "journal", b"h" * 32)
    other.build(writer, segment)
    two = [block.texts for block in other.blocks(writer, segment) or []]
    assert all(left != right for left, right in zip(one, two, strict=True))


def test_files_of_segments_that_are_no_more_are_tidied_away(tmp_path: Path, monkeypatch) -> None:
    scene = scene_of(tmp_path, monkeypatch)
    made = scene.index()
    assert scene.grams.tidy() == 0
    min((tmp_path / "journal" / "w0").glob("*.wkj")).unlink()
    assert scene.grams.tidy() == 1
    assert len(list((tmp_path / "index" / "search").rglob("*.wkg"))) == made - 1
