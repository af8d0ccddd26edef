"""Takes payloads out of the journal for good, in the open: recorded in the chain first, then overwritten in place.

The order is what makes it safe. The erasure is noted in a file of its own, appended to the journal and synced; all
writers forget the chunks they remember; then salts are overwritten and synced, and payloads after them. Whoever dies
on the way leaves the note, and `resume` ends the work. A frame that was erased keeps its head, so the chain holds; its
salt is gone, so that nobody can test a guess against its commitment.
"""

from __future__ import annotations

import ctypes
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from watchkeeper.engines.recorder.erased import POINTER_BYTES, Place, blank, pointer
from watchkeeper.engines.recorder.forgetting import forget
from watchkeeper.engines.recorder.frames import (
    ERASED_SALT,
    HEAD,
    SALT_BYTES,
    Corrupt,
    FrameKind,
    Head,
    read_head,
)
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.packed import layout_of, locked, pread, pwrite
from watchkeeper.engines.recorder.segments import heads, segment_path
from watchkeeper.engines.recorder.seqs import Seqs, pack_runs, runs_of, unpack_runs
from watchkeeper.records.erasure import Emptied, Erasure, Moved
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import pack, unpack

__all__ = ["Place", "carry_out", "erase", "pending", "resume"]

PENDING = ".pending"
SIDECARS = (".wkg",)
PROTECTED = frozenset({FrameKind.ERASURE, FrameKind.CHECKPOINT})
"""What speaks of the journal itself is never erased."""
_PUNCH_FROM_BYTES = 8192
_FALLOC_KEEP_SIZE, _FALLOC_PUNCH_HOLE = 1, 2
_log = logging.getLogger("watchkeeper.erasure")

_Segment = tuple[str, int]
_Found = dict[_Segment, dict[int, Head]]


def erase(
    journal: Journal,
    folder: Path,
    places: Iterable[Place],
    *,
    reason: str,
    actor: str,
    subject: str | None = None,
    detail: str | None = None,
    moved: Mapping[Place, Place] | None = None,
    keys: Sequence[str] = (),
    progress: Callable[[int], None] | None = None,
) -> Erasure:
    """Erase the payloads of the frames at `places`, which may belong to any writer under `folder`; blocks.

    The erasure is appended to `journal` first. Frames that are erased already are left out; when none is left and no
    `keys` were destroyed, nothing is recorded and the result counts 0 frames. `moved` says where what was kept of a
    frame lies now. `progress` is told how many frames are done. Raises `Corrupt` where a place holds no frame and
    `ValueError` for a frame that may not be erased; then nothing was erased.
    """
    found = _look(folder, places)
    erasure = Erasure(
        erasure_id=new_id("ers"),
        at_ns=time.time_ns(),
        reason=reason,
        actor=actor,
        frames=sum(len(each) for each in found.values()),
        payload_bytes=sum(head.stored_bytes for each in found.values() for head in each.values()),
        subject=subject,
        detail=detail,
        emptied=tuple(
            Emptied(writer=writer, segment=segment, runs=pack_runs(runs_of(head.seq for head in each.values())))
            for (writer, segment), each in sorted(found.items())
        ),
        moved=tuple(_moves(found, moved or {})),
        keys=tuple(keys),
    )
    if not erasure.frames and not keys:
        return erasure
    note = _note(folder, erasure)
    _record(journal, erasure)
    offsets = {segment: {head.seq: offset for offset, head in each.items()} for segment, each in found.items()}
    carry_out(folder, erasure, offsets, progress)
    note.unlink()
    return erasure


def pending(folder: Path) -> list[Erasure]:
    """The erasures that were begun and not ended, oldest first."""
    return [erasure for _, erasure in _notes(folder)]


def resume(journal: Journal, folder: Path) -> list[Erasure]:
    """End the erasures that somebody began and did not end; returns them. Blocks."""
    ended = []
    for note, erasure in _notes(folder):
        # Whether it had been appended is not known; a second record of one erasure says the same and does no harm.
        _record(journal, erasure)
        carry_out(folder, erasure)
        note.unlink()
        _log.warning("erasure %s (%s, %d frames) was ended", erasure.erasure_id, erasure.reason, erasure.frames)
        ended.append(erasure)
    return ended


def carry_out(
    folder: Path,
    erasure: Erasure,
    offsets: Mapping[_Segment, Mapping[int, int]] | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Overwrite what an erasure names; doing it again changes nothing. `offsets` saves looking the frames up."""
    forget(folder)
    targets = {(move.writer, move.segment, move.seq): _target(move) for move in erasure.moved}
    done = 0
    for emptied in erasure.emptied:
        path = segment_path(folder / emptied.writer, emptied.segment)
        known = (offsets or {}).get((emptied.writer, emptied.segment))
        if known is None:
            known = _offsets(path, Seqs(unpack_runs(emptied.runs)))
        here = {offset: targets.get((emptied.writer, emptied.segment, seq)) for seq, offset in known.items()}
        _overwrite(path, here)
        # What tells which texts a segment may hold is made again from what is left.
        for suffix in SIDECARS:
            path.with_suffix(suffix).unlink(missing_ok=True)
        done += len(known)
        if progress is not None:
            progress(done)


def _record(journal: Journal, erasure: Erasure) -> None:
    journal.append(erasure)
    journal.sync()


def _note(folder: Path, erasure: Erasure) -> Path:
    path = folder / f"{erasure.erasure_id}{PENDING}"
    draft = path.with_suffix(".draft")
    file = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(pack(erasure))
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
    within = os.open(folder, os.O_RDONLY)
    os.fsync(within)
    os.close(within)
    return path


def _notes(folder: Path) -> Iterator[tuple[Path, Erasure]]:
    for path in sorted(folder.glob("*" + PENDING)):
        try:
            yield path, unpack(Erasure, path.read_bytes())
        except msgspec.MsgspecError as error:
            raise Corrupt(f"the note {path} of an unfinished erasure cannot be read: {error}") from error


def _look(folder: Path, places: Iterable[Place]) -> _Found:
    """The heads of the frames to erase, by segment and offset; those erased already are left out."""
    by_segment: dict[_Segment, set[int]] = {}
    for place in places:
        by_segment.setdefault((place.writer, place.segment), set()).add(place.offset)
    found: _Found = {}
    for (writer, segment), offsets in by_segment.items():
        path = segment_path(folder / writer, segment)
        try:
            with path.open("rb", buffering=0) as file:
                heads_here = {offset: _head_at(file.fileno(), path, offset) for offset in sorted(offsets)}
        except FileNotFoundError as error:
            raise Corrupt(f"segment {segment} of writer {writer!r} is not in the journal") from error
        left = {offset: head for offset, head in heads_here.items() if head is not None}
        if left:
            found[(writer, segment)] = left
    return found


def _head_at(file: int, path: Path, offset: int) -> Head | None:
    """The head of the frame at `offset`, None when the frame is erased."""
    data = pread(file, HEAD.size + SALT_BYTES, offset)
    try:
        head = read_head(data)
    except Corrupt as error:
        raise Corrupt(f"{path.parent.name}/{path.name} holds no frame at byte {offset}: {error}") from error
    if head.kind in PROTECTED:
        name = FrameKind(head.kind).name.lower()
        raise ValueError(f"frame {head.seq} at byte {offset} of {path.name} is a record of kind {name}: never erased")
    return None if data[HEAD.size :] == ERASED_SALT else head


def _moves(found: _Found, moved: Mapping[Place, Place]) -> Iterator[Moved]:
    for place, to in moved.items():
        head = found.get((place.writer, place.segment), {}).get(place.offset)
        if head is not None and head.stored_bytes >= POINTER_BYTES:
            yield Moved(
                writer=place.writer,
                segment=place.segment,
                seq=head.seq,
                to_writer=to.writer,
                to_segment=to.segment,
                to_offset=to.offset,
            )


def _target(move: Moved) -> Place:
    return Place(move.to_writer, move.to_segment, move.to_offset)


def _offsets(path: Path, seqs: Seqs) -> dict[int, int]:
    """Where the frames with some sequence numbers begin in a segment; damage ends the looking."""
    found: dict[int, int] = {}
    try:
        for offset, head in heads(path):
            if head.seq in seqs:
                found[head.seq] = offset
    except (Corrupt, FileNotFoundError) as error:
        _log.error("an erasure cannot look further into %s: %s", path, error)
    return found


def _overwrite(path: Path, frames: Mapping[int, Place | None]) -> None:
    """Erase frames of one segment, each given by its offset and the place where its content went on to.

    All salts are on the disk as erased before the first payload changes: a crash in between leaves frames that say
    that they are erased, and none that looks damaged.
    """
    with locked(path) as file:
        for offset in frames:
            pwrite(file, ERASED_SALT, offset + HEAD.size)
        os.fdatasync(file)
        for offset, moved_to in frames.items():
            stored_bytes = read_head(pread(file, HEAD.size, offset)).stored_bytes
            _blank(file, offset + HEAD.size + SALT_BYTES, stored_bytes, moved_to)
        os.fdatasync(file)


def _blank(file: int, begin: int, stored_bytes: int, moved_to: Place | None) -> None:
    if stored_bytes < _PUNCH_FROM_BYTES:
        pwrite(file, blank(stored_bytes, moved_to), begin)
        return
    if layout_of(file) is not None or not _punch(file, begin, stored_bytes):
        at = 0
        while at < stored_bytes:
            at += pwrite(file, bytes(min(1 << 20, stored_bytes - at)), begin + at)
    if moved_to is not None:
        pwrite(file, pointer(moved_to), begin)


def _punch(file: int, begin: int, count: int) -> bool:
    """Give the blocks of a range back to the file system, where it can; the range reads as zeros then."""
    fallocate = _fallocate()
    if fallocate is None:
        return False
    mode = _FALLOC_KEEP_SIZE | _FALLOC_PUNCH_HOLE
    return bool(fallocate(file, mode, ctypes.c_int64(begin), ctypes.c_int64(count)) == 0)


def _fallocate() -> Callable[..., int] | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        found: Callable[..., int] = library.fallocate
    except (OSError, AttributeError):
        return None
    return found
