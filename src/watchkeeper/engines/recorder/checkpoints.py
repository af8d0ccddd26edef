"""Writes down where all chains stand, in the journal and in a file, so that it can be kept outside.

A chain alone cannot show that its tail was cut away, nor that it was written anew from the beginning by somebody who
can write every file. A checkpoint that was kept elsewhere can: it names the last frame of every writer by its digest.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from watchkeeper.analysis.merkle import root_of
from watchkeeper.engines.recorder.frames import HEAD, SEGMENT_HEAD, Corrupt, Head, read_head
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.packed import open_segment, segment_size
from watchkeeper.engines.recorder.segments import segment_path, segments_of, writers_of
from watchkeeper.records.checkpoint import Checkpoint, Reached
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import as_json, pack

FILE = "checkpoints.jsonl"


class Unreadable(ValueError):
    """A file of checkpoints holds something else; the message says where."""


def digest_of(number: int, previous: str, at_ns: int, reached: Iterable[Reached]) -> str:
    """The digest over a checkpoint: BLAKE2b-256 of its number, the digest before it, its time and all ends."""
    said = [number, previous, at_ns, list(reached)]
    return hashlib.blake2b(pack(said), digest_size=32, person=b"wk-checkpoint").hexdigest()


def line_of(checkpoint: Checkpoint) -> bytes:
    """A checkpoint as one line of JSON, as files and anchors keep it."""
    return as_json(checkpoint) + b"\n"


def read_lines(data: bytes, where: str) -> list[Checkpoint]:
    """The checkpoints in the lines of a file; each must have the digest that it says it has. Raises `Unreadable`."""
    found: dict[str, Checkpoint] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            checkpoint = msgspec.json.decode(line, type=Checkpoint)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Unreadable(f"{where}, line {number}, is no checkpoint: {error}") from error
        if digest_of(checkpoint.number, checkpoint.previous, checkpoint.at_ns, checkpoint.reached) != checkpoint.digest:
            raise Unreadable(
                f"{where}, line {number}: checkpoint {checkpoint.number} was changed; its digest is another"
            )
        found[checkpoint.checkpoint_id] = checkpoint
    return sorted(found.values(), key=lambda each: (each.number, each.at_ns))


class Checkpointer:
    """Writes checkpoints of all journals under a folder."""

    def __init__(
        self, folder: Path, file: Path, journal: Callable[[], Journal], clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """`file` keeps the checkpoints beside the journal; `journal` is this process's own."""
        self._folder, self._file, self._journal, self._clock_ns = folder, file, journal, clock_ns
        self._began_ns = clock_ns()
        self.last = read_last(file)
        reached = self.last.reached if self.last is not None else ()
        self._trails = {each.writer: _Trail.after(folder, each) for each in reached}

    def due(self, every_ns: int, frames: int) -> bool:
        """Whether it is time: something is new, and long enough has passed or enough has come in."""
        fresh = self.fresh()
        waited_ns = self._clock_ns() - (self.last.at_ns if self.last else self._began_ns)
        return fresh > 0 and (fresh >= frames or waited_ns >= every_ns)

    def fresh(self) -> int:
        """How many frames came after the last checkpoint, not counting its own."""
        self._follow()
        total = sum(len(each.digests) for each in self._trails.values())
        return total - (1 if self.last is not None else 0)

    def write(self) -> Checkpoint:
        """Write a checkpoint of all frames that are on the disk by now; blocks."""
        self._follow()
        for trail in self._trails.values():
            trail.sync()
        reached = tuple(trail.reached() for _, trail in sorted(self._trails.items()) if trail.seq)
        number = 1 if self.last is None else self.last.number + 1
        previous = "" if self.last is None else self.last.digest
        at_ns = self._clock_ns()
        checkpoint = Checkpoint(
            checkpoint_id=new_id("chk", at_ns),
            at_ns=at_ns,
            number=number,
            previous=previous,
            digest=digest_of(number, previous, at_ns, reached),
            reached=reached,
        )
        journal = self._journal()
        journal.append(checkpoint)
        journal.sync()
        file = os.open(self._file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            os.write(file, line_of(checkpoint))
            os.fsync(file)
        finally:
            os.close(file)
        self.last = checkpoint
        for trail in self._trails.values():
            trail.begin()
        return checkpoint

    def _follow(self) -> None:
        for writer in writers_of(self._folder):
            trail = self._trails.get(writer)
            if trail is None:
                trail = self._trails[writer] = _Trail(self._folder / writer, writer)
            trail.follow()


class _Trail:
    """The digests of one writer's frames since the last checkpoint, read on from where reading ended."""

    def __init__(self, folder: Path, writer: str) -> None:
        self._folder, self._writer = folder, writer
        self.digests: list[bytes] = []
        self.seq = 0
        self._segment = self._offset = self._next = 0
        self._first_seq = 1

    @classmethod
    def after(cls, folder: Path, reached: Reached) -> _Trail:
        """The trail that goes on from a checkpoint."""
        trail = cls(folder / reached.writer, reached.writer)
        trail._segment, trail._offset, trail.seq = reached.segment, reached.offset, reached.seq
        trail._first_seq = reached.seq + 1
        path = segment_path(trail._folder, reached.segment)
        if path.exists():
            with open_segment(path) as file:
                file.seek(reached.offset)
                try:
                    trail._next = reached.offset + read_head(file.read(HEAD.size)).size
                except Corrupt:
                    trail._next = reached.offset  # `verify` names what is wrong there
        return trail

    def follow(self) -> None:
        """Read on to the last whole frame."""
        for number in segments_of(self._folder):
            if number < self._segment:
                continue
            start = self._next if number == self._segment and self._next else SEGMENT_HEAD.size
            for offset, head in _heads(segment_path(self._folder, number), start):
                if not self.seq and not self.digests:
                    self._first_seq = head.seq
                self.digests.append(head.digest)
                self._segment, self._offset, self._next, self.seq = number, offset, offset + head.size, head.seq

    def reached(self) -> Reached:
        """Where the trail stands. Without new frames it says again where it stood, over a tree of none."""
        path = segment_path(self._folder, self._segment)
        digest = self.digests[-1] if self.digests else _digest_at(path, self._offset)
        root = root_of(self.digests).hex()
        return Reached(
            writer=self._writer,
            segment=self._segment,
            offset=self._offset,
            seq=self.seq,
            digest=digest.hex(),
            first_seq=self._first_seq,
            root=root,
        )

    def sync(self) -> None:
        """Have the frames on the disk, another process's too: what a checkpoint saw must survive a power cut."""
        path = segment_path(self._folder, self._segment)
        if self.digests and path.exists():
            file = os.open(path, os.O_RDONLY)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)

    def begin(self) -> None:
        """Begin anew after a checkpoint."""
        self.digests.clear()
        self._first_seq = self.seq + 1


def digests_between(folder: Path, reached: Reached) -> list[tuple[int, bytes]]:
    """Sequence numbers and digests of the frames of a checkpoint's tree; raises `Corrupt` if one is gone."""
    found: list[tuple[int, bytes]] = []
    numbers = [number for number in segments_of(folder / reached.writer) if number <= reached.segment]
    for number in reversed(numbers if reached.first_seq <= reached.seq else ()):
        heads = [head for _, head in _heads(segment_path(folder / reached.writer, number), SEGMENT_HEAD.size)]
        found[:0] = [(each.seq, each.digest) for each in heads if reached.first_seq <= each.seq <= reached.seq]
        # A start and a stop leave a segment without frames: it says nothing of what stands before it.
        if heads and heads[0].seq <= reached.first_seq:
            break
    if len(found) != reached.seq - reached.first_seq + 1:
        raise Corrupt(f"frames {reached.first_seq} to {reached.seq} of {reached.writer} are not all in the journal")
    return found


def read_last(file: Path) -> Checkpoint | None:
    """The newest checkpoint of a file; None when there is none, or none that can be read, of which `verify` speaks."""
    try:
        lines = read_lines(file.read_bytes(), str(file))
    except (FileNotFoundError, Unreadable):
        return None
    return lines[-1] if lines else None


def _heads(path: Path, offset: int) -> Iterator[tuple[int, Head]]:
    """The whole frames of a segment from an offset on, up to where it ends or is damaged."""
    if not path.exists():
        return
    size = segment_size(path)
    with open_segment(path) as file:
        while offset < size:
            file.seek(offset)
            try:
                head = read_head(file.read(HEAD.size))
            except Corrupt:
                return
            if offset + head.size > size:
                return
            yield offset, head
            offset += head.size


def _digest_at(path: Path, offset: int) -> bytes:
    return next((head.digest for _, head in _heads(path, offset)), bytes(32))
