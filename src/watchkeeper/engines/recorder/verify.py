"""Proves that the journal is what was written: every link, checksum, commitment and address, or where it breaks.

Segments are checked one by one (`checking`), in processes of their own where there are many, and then joined here: the
chain over them, the payloads that spans rest on, what was erased and by which record, how far the index had read, and
the ends that checkpoints and anchors saw.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.checking import Checked, Problem, check_segment
from watchkeeper.engines.recorder.frames import NO_DIGEST
from watchkeeper.engines.recorder.segments import segment_path, segments_of, writers_of
from watchkeeper.engines.recorder.seqs import Seqs, unpack_runs
from watchkeeper.kinds.ports import Watermark
from watchkeeper.records.checkpoint import Checkpoint
from watchkeeper.records.erasure import Erasure
from watchkeeper.records.kept import Kept
from watchkeeper.records.record import Record

__all__ = ["Problem", "Proof", "Verified", "prove", "verify"]

_PARALLEL_FROM_SEGMENTS = 4
_PROCESSES = 4


class Verified(Record):
    """The result for one writer: how much was read, the digest of its last frame, and what does not hold.

    `erased` frames are gone by an erasure that is recorded; `sealed` ones are encrypted under a key that was not at
    hand, so that their place and checksum are proved and their content is not. `trimmed` segments were taken away whole
    by retention, which left their ends on record. `proved_seq` is the last frame before the first problem, written at
    `proved_ns`.
    """

    writer: str
    segments: int
    frames: int
    payload_bytes: int
    last_seq: int
    last_digest: str
    problems: tuple[Problem, ...]
    erased: int = 0
    sealed: int = 0
    trimmed: int = 0
    proved_seq: int = 0
    proved_ns: int | None = None

    @property
    def holds(self) -> bool:
        """Whether every link, checksum and commitment holds."""
        return not self.problems


class Proof(Record):
    """The result for all writers, with the erasures and checkpoints that stand in their journals."""

    writers: tuple[Verified, ...]
    erasures: tuple[Erasure, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything holds."""
        return all(writer.holds for writer in self.writers)


def verify(folder: Path, marks: Mapping[str, Watermark] | None = None) -> Iterator[Verified]:
    """Verify every writer's journal under `folder`; see `prove`."""
    yield from prove(folder, marks).writers


def prove(
    folder: Path,
    marks: Mapping[str, Watermark] | None = None,
    anchored: Sequence[Checkpoint] = (),
    progress: Callable[[int], None] | None = None,
) -> Proof:
    """Verify every writer's journal under `folder`; `progress` is told how many bytes are done.

    `marks` (how far the index had read) and `anchored` (checkpoints that were kept outside) find a tail that was cut
    away, and anchors a journal that was written anew.
    """
    marks = marks or {}
    joins = {writer: _Join(folder, writer) for writer in writers_of(folder)}
    for writer in {*marks, *(reached.writer for each in anchored for reached in each.reached)} - {*joins}:
        joins[writer] = _Join(folder, writer)
    done = 0
    for checked in _all_checked(joins.values()):
        joins[checked.writer].add(checked)
        done += checked.file_bytes
        if progress is not None:
            progress(done)
    erasures = tuple(e for join in joins.values() for e in join.erasures)
    checkpoints = tuple(sorted((c for join in joins.values() for c in join.checkpoints), key=lambda c: c.number))
    covered = _covered(erasures)
    trimmed = _trimmed(
        each for join in joins.values() for checked in join.segments.values() for each in checked.trimmed
    )
    for writer, join in joins.items():
        join.link(trimmed.get(writer, {}))
        join.settle(covered.get(writer, {}), erasures)
        join.references(joins)
        join.marked(marks.get(writer))
        join.against((*checkpoints, *anchored))
    _absent(joins, checkpoints, () if any(trimmed.values()) else anchored)
    return Proof(
        writers=tuple(joins[writer].result() for writer in sorted(joins)),
        erasures=tuple(sorted(erasures, key=lambda e: e.at_ns)),
        checkpoints=checkpoints,
    )


def _all_checked(joins: Iterable[_Join]) -> Iterator[Checked]:
    """Every segment of every writer, checked; in order within a writer."""
    tasks = [
        (segment_path(join.folder, n), join.writer, n, n == join.numbers[-1]) for join in joins for n in join.numbers
    ]
    processes = min(
        _PROCESSES, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    big = sum(path.stat().st_size for path, *_ in tasks) > 32 << 20
    if len(tasks) < _PARALLEL_FROM_SEGMENTS or processes < 2 or not big or sealing.in_use():
        for task in tasks:
            yield check_segment(*task)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(check_segment, *zip(*tasks, strict=True))


class _Join:
    """One writer's segments, joined to a chain."""

    def __init__(self, folder: Path, writer: str) -> None:
        self.folder, self.writer = folder / writer, writer
        self.numbers = segments_of(self.folder) if "/" not in writer else []
        self.trimmed = 0
        self.problems: list[Problem] = []
        self.erasures: list[Erasure] = []
        self.checkpoints: list[Checkpoint] = []
        self.segments: dict[int, Checked] = {}
        self._previous, self._seq = NO_DIGEST, 1

    def add(self, checked: Checked) -> None:
        """Take the next segment."""
        self.segments[checked.segment] = checked
        self.problems.extend(checked.problems)
        self.erasures.extend(checked.erasures)
        self.checkpoints.extend(checked.checkpoints)

    def link(self, trimmed: Mapping[int, Kept]) -> None:
        """Join the segments to a chain; those that retention took away whole left their ends on record."""
        last = max((0, *self.numbers, *trimmed))
        first = min((1, *self.numbers))
        for number in range(first, last + 1):
            checked, gone = self.segments.get(number), trimmed.get(number)
            if checked is None and gone is not None:
                self._follow(number, gone.first_seq, gone.previous)
                self._previous, self._seq = bytes.fromhex(gone.last_digest), gone.last_seq + 1
                self.trimmed += 1
            elif checked is None:
                self._problem(number, 0, None, f"segment {number} is missing")
            elif checked.first is not None:
                self._follow(number, checked.first[0], checked.first[1].hex())
                self._previous, self._seq = checked.end
            elif checked.frames:
                self._previous, self._seq = checked.end

    def _follow(self, number: int, seq: int, previous: str) -> None:
        if previous != self._previous.hex() or seq != self._seq:
            self._problem(number, 0, seq, "the segment does not follow on the one before it")

    def settle(self, covered: Mapping[int, Seqs], erasures: Sequence[Erasure]) -> None:
        """Compare what is erased with what the records say was erased."""
        moved = {(m.segment, m.seq): m for e in erasures for m in e.moved if m.writer == self.writer}
        destroyed = {key for e in erasures for key in e.keys}
        for number, checked in self.segments.items():
            allowed = covered.get(number, Seqs())
            for seq, offset, place in checked.erased:
                if seq not in allowed:
                    self._problem(number, offset, seq, f"frame {seq} is erased and no erasure is recorded for it")
                elif place is not None:
                    move = moved.get((number, seq))
                    if move is None or (move.to_writer, move.to_segment, move.to_offset) != place:
                        self._problem(number, offset, seq, f"the erased frame {seq} points elsewhere than was recorded")
            left = allowed - Seqs((seq, 1) for seq, _, _ in checked.erased)
            for seq in left:
                if seq in checked.present:
                    what = f"frame {seq} is recorded as erased and is still there; run 'watchkeeper erase --resume'"
                    self._problem(number, checked.present_at(seq), seq, what)
            for tag, (seq, offset) in checked.lost_keys.items():
                if tag not in destroyed:
                    what = f"frame {seq} is sealed under a key ({tag}) that is not there, and no erasure says why"
                    self._problem(number, offset, seq, what)

    def references(self, joins: Mapping[str, _Join]) -> None:
        """Whether every payload that a span rests on lies at its place."""
        for number, checked in self.segments.items():
            for (writer, segment, offset), (address, span_offset, seq, named) in checked.rests_on.items():
                target = joins.get(writer)
                there = target.segments.get(segment) if target is not None else None
                if there is None or there.chunk(offset) != address:
                    if there is None and (writer != self.writer or segment not in self.numbers):
                        continue  # in a segment that is told of elsewhere, or in a journal that is not here
                    what = f"the span of frame {seq} rests on a payload that is not at its place"
                    self._problem(number, span_offset, seq, what, named)

    def marked(self, mark: Watermark | None) -> None:
        """Whether the index had read further than the journal goes."""
        if mark is not None and mark.seq >= self._seq:
            lost = mark.seq - self._seq + 1
            what = f"the last {lost} frames that were indexed (up to {mark.seq}) are not in the journal any more"
            self._problem(mark.segment, mark.offset, self._seq, what)

    def against(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Whether the frames that checkpoints saw are still those."""
        told: set[int] = set()
        for checkpoint in checkpoints:
            for reached in checkpoint.reached:
                if reached.writer != self.writer or reached.seq in told or not reached.seq:
                    continue
                what = self._differs(reached.segment, reached.offset, reached.seq, reached.digest)
                if what is not None:
                    told.add(reached.seq)
                    words = f"{what}, which checkpoint {checkpoint.number} saw"
                    self._problem(reached.segment, reached.offset, reached.seq, words)

    def _differs(self, segment: int, offset: int, seq: int, digest: str) -> str | None:
        if seq >= self._seq:
            return f"the journal ends at frame {self._seq - 1}, before frame {seq}"
        checked = self.segments.get(segment)
        if checked is None and segment not in self.numbers:
            return None  # trimmed or missing, which is told of by itself
        found = None if checked is None else checked.digest_at(offset, seq)
        return None if found == digest else f"frame {seq} is not the one with the digest {digest[:16]}"

    def lost(self, what: str) -> None:
        """Note that something is missing at the end."""
        self._problem(max(self.numbers, default=0), 0, None, what)

    def result(self) -> Verified:
        """What was found."""
        problems = tuple(sorted(self.problems, key=lambda p: (p.segment, p.offset)))
        proved_seq, proved_ns = self._proved(problems)
        return Verified(
            writer=self.writer,
            segments=len(self.numbers),
            frames=sum(each.frames for each in self.segments.values()),
            payload_bytes=sum(each.payload_bytes for each in self.segments.values()),
            last_seq=self._seq - 1,
            last_digest=self._previous.hex(),
            problems=problems,
            erased=sum(len(each.erased) for each in self.segments.values()),
            sealed=sum(each.sealed for each in self.segments.values()),
            trimmed=self.trimmed,
            proved_seq=proved_seq,
            proved_ns=proved_ns,
        )

    def _proved(self, problems: Sequence[Problem]) -> tuple[int, int | None]:
        if not problems:
            last = max((n for n, each in self.segments.items() if each.frames), default=None)
            return self._seq - 1, None if last is None else self.segments[last].last_ns
        first = problems[0]
        checked = self.segments.get(first.segment)
        if checked is None:
            return max(0, min(self._seq, first.seq or self._seq) - 1), None
        return checked.before(first.offset)

    def _problem(self, segment: int, offset: int, seq: int | None, what: str, named: str | None = None) -> None:
        problem = Problem(writer=self.writer, segment=segment, offset=offset, seq=seq, what=what, record=named)
        self.problems.append(problem)


def _absent(joins: Mapping[str, _Join], checkpoints: Sequence[Checkpoint], anchored: Sequence[Checkpoint]) -> None:
    """Checkpoints that were kept outside stand in a journal too, unless its end was cut away or it was written anew."""
    here = {each.digest for each in checkpoints}
    keepers = [join for join in joins.values() if join.checkpoints] or list(joins.values())
    for checkpoint in anchored:
        if checkpoint.digest not in here and keepers:
            keepers[-1].lost(f"checkpoint {checkpoint.number} was kept outside and its record is not in the journal")


def _trimmed(records: Iterable[Kept]) -> dict[str, dict[int, Kept]]:
    """What is on record of segments that were taken away whole, by writer and number."""
    found: dict[str, dict[int, Kept]] = {}
    for each in records:
        if each.writer is not None:
            found.setdefault(each.writer, {})[each.segment] = each
    return found


def _covered(erasures: Iterable[Erasure]) -> dict[str, dict[int, Seqs]]:
    """The frames that erasures name, by writer and segment."""
    runs: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for erasure in erasures:
        for emptied in erasure.emptied:
            runs.setdefault((emptied.writer, emptied.segment), []).extend(unpack_runs(emptied.runs))
    covered: dict[str, dict[int, Seqs]] = {}
    for (writer, segment), each in runs.items():
        covered.setdefault(writer, {})[segment] = Seqs(each)
    return covered
