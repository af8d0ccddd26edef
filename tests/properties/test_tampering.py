"""Whatever is changed in a journal is found, in every kind of journal; and an untouched one never raises an alarm."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from watchkeeper.adapters.store.sqlite_subjects import SQLiteSubjects
from watchkeeper.engines.recorder import journal as journal_module
from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.checkpoints import Checkpointer
from watchkeeper.engines.recorder.erasure import Place, erase
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.packed import pack_segment
from watchkeeper.engines.recorder.segments import heads
from watchkeeper.engines.recorder.subjects import Subjects
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.records.checkpoint import Checkpoint
from watchkeeper.records.span import Span

KINDS = ("plain", "erased", "sealed", "sealed and erased", "packed")


class Scene(NamedTuple):
    """A journal of several segments, and a checkpoint that was kept outside."""

    folder: Path
    anchored: Checkpoint


def build(folder: Path, kind: str) -> Scene:
    folder.mkdir()
    subjects = None
    if "sealed" in kind:
        subjects = Subjects(SQLiteSubjects(folder.parent / f"{folder.name}.sqlite"), b"l" * 32, b"m" * 32, True)
        sealing.use(subjects)
    before, journal_module.SEGMENT_BYTES = journal_module.SEGMENT_BYTES, 2500
    try:
        writer = Journal(folder, "gateway", b"k" * 32, subjects=subjects)
        store = Journal(folder, "store", b"k" * 32, subjects=subjects)
        places = []
        for n in range(12):
            body = writer.put(f"words {n} ".encode() * (30 + 40 * (n % 3)), "reply", owner=f"o{n % 2}")
            origin = writer.append(
                Span(trace_id=f"{n:032x}", span_id=f"{n:016x}", start_ns=n, name="c", bodies=(body,))
            )
            places.append([Place(a.writer, a.segment, a.offset) for a in (*body.chunks, origin)])
        if kind in ("erased", "sealed and erased", "packed"):
            erase(store, folder, places[2], reason="subject", actor="a")
            moved = {places[7][1]: places[8][1]}
            erase(store, folder, [*places[7], *places[4][:1]], reason="retention", actor="a", moved=moved)
        anchored = Checkpointer(folder, folder.parent / f"{folder.name}.jsonl", lambda: store).write()
        writer.close()
        store.close()
    finally:
        journal_module.SEGMENT_BYTES = before
    if kind == "packed":
        pack_segment(folder / "gateway" / "00000001.wkj")
    return Scene(folder, anchored)


@pytest.fixture(scope="module", params=KINDS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    yield build(tmp_path_factory.mktemp("tampering") / request.param.replace(" ", "-"), request.param)
    for ring in list(sealing._in_use):
        sealing.leave(ring)


def problems(folder: Path, *anchored: Checkpoint) -> list[str]:
    return [each.what for writer in prove(folder, None, anchored).writers for each in writer.problems]


def copy(scene: Scene) -> Path:
    to = scene.folder.parent / "changed"
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(scene.folder, to)
    return to


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.wkj"))


def frames(path: Path) -> list[tuple[int, int]]:
    return [(offset, offset + head.size) for offset, head in heads(path)]


MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_an_untouched_journal_raises_no_alarm(scene: Scene) -> None:
    assert problems(scene.folder, scene.anchored) == []


@MANY
@given(data=st.data())
def test_a_flipped_bit_is_found(scene: Scene, data: st.DataObject) -> None:
    changed = copy(scene)
    path = data.draw(st.sampled_from(segments(changed)))
    raw = bytearray(path.read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(raw)
    assert problems(changed, scene.anchored)


@MANY
@given(data=st.data())
def test_a_removed_frame_is_found(scene: Scene, data: st.DataObject) -> None:
    changed = copy(scene)
    path = data.draw(st.sampled_from([each for each in segments(changed) if frames_in(each)]))
    begin, end = data.draw(st.sampled_from(frames(path)))
    raw = path.read_bytes()
    path.write_bytes(raw[:begin] + raw[end:])
    assert problems(changed, scene.anchored)


@MANY
@given(data=st.data())
def test_two_frames_that_changed_places_are_found(scene: Scene, data: st.DataObject) -> None:
    changed = copy(scene)
    path = data.draw(st.sampled_from([each for each in segments(changed) if len(frames_in(each)) > 1]))
    found = frames(path)
    at = data.draw(st.integers(0, len(found) - 2))
    (a, b), (_, c) = found[at], found[at + 1]
    raw = path.read_bytes()
    path.write_bytes(raw[:a] + raw[b:c] + raw[a:b] + raw[c:])
    assert problems(changed, scene.anchored)


@MANY
@given(data=st.data())
def test_a_segment_that_was_cut_short_is_found(scene: Scene, data: st.DataObject) -> None:
    changed = copy(scene)
    path = data.draw(st.sampled_from(segments(changed)))
    cut = data.draw(st.integers(0, path.stat().st_size - 1))
    with path.open("r+b") as file:
        file.truncate(cut)
    assert problems(changed, scene.anchored)


@MANY
@given(data=st.data())
def test_a_segment_that_was_taken_away_is_found(scene: Scene, data: st.DataObject) -> None:
    changed = copy(scene)
    data.draw(st.sampled_from(segments(changed))).unlink()
    assert problems(changed, scene.anchored)


def frames_in(path: Path) -> list[tuple[int, int]]:
    """The frames of a segment whose bytes lie as they were written; none of a packed one."""
    return [] if path.read_bytes()[:6] == b"WKPACK" else frames(path)
