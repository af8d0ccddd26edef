"""Checks one segment of a journal by itself: links within it, checksums, commitments, and what it says about others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.erased import Place, is_erased, pointed, pointer
from watchkeeper.engines.recorder.frames import (
    HEAD,
    NO_DIGEST,
    SALT_BYTES,
    SEGMENT_HEAD,
    Corrupt,
    Erased,
    FrameKind,
    Head,
    Torn,
    read_head,
    read_payload,
    read_segment_head,
)
from watchkeeper.engines.recorder.packed import open_segment, segment_bytes
from watchkeeper.engines.recorder.segments import heads
from watchkeeper.engines.recorder.seqs import Seqs, runs_of
from watchkeeper.records.checkpoint import Checkpoint
from watchkeeper.records.erasure import Erasure
from watchkeeper.records.kept import Kept, Stage
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Span


class Problem(Record):
    """One place where the journal is not what was written; `record` says whose bytes they were, where that is known."""

    writer: str
    segment: int
    offset: int
    seq: int | None
    what: str
    record: str | None = None


class Gone(NamedTuple):
    """An erased frame: its sequence number, its offset, and where it says that its content went on to."""

    seq: int
    offset: int
    moved_to: Place | None


class Resting(NamedTuple):
    """A payload that a span rests on: its address, and the span's offset, sequence number and name."""

    address: bytes
    offset: int
    seq: int
    named: str


class Checked:
    """What was found in one segment."""

    def __init__(self, path: Path, writer: str, segment: int) -> None:
        self.path, self.writer, self.segment = path, writer, segment
        self.file_bytes = self.frames = self.payload_bytes = self.sealed = 0
        self.first: tuple[int, bytes] | None = None
        self.end: tuple[bytes, int] = (NO_DIGEST, 1)
        self.last_ns: int | None = None
        self.problems: list[Problem] = []
        self.erased: list[Gone] = []
        self.erasures: list[Erasure] = []
        self.checkpoints: list[Checkpoint] = []
        self.trimmed: list[Kept] = []
        self.rests_on: dict[tuple[str, int, int], Resting] = {}
        self.lost_keys: dict[str, tuple[int, int]] = {}
        self.present = Seqs()
        self._chunks: dict[int, bytes] = {}

    def chunk(self, offset: int) -> bytes | None:
        """The address of the payload that lies at an offset, None when there is none."""
        return self._chunks.get(offset)

    def keep_chunk(self, offset: int, address: bytes) -> None:
        """Note where a payload lies."""
        self._chunks[offset] = address

    def present_at(self, seq: int) -> int:
        """Where the frame with a sequence number begins; 0 when it cannot be found any more."""
        return next((offset for offset, head in _readable(self.path) if head.seq == seq), 0)

    def digest_at(self, offset: int, seq: int) -> str | None:
        """The digest of the frame that begins at an offset, None when another one or none is there."""
        try:
            with open_segment(self.path) as file:
                file.seek(offset)
                head = read_head(file.read(HEAD.size))
        except (OSError, Corrupt):
            return None
        return head.digest.hex() if head.seq == seq else None

    def before(self, offset: int) -> tuple[int, int | None]:
        """The sequence number and time of the last frame before an offset."""
        seq, at_ns = (self.first[0] - 1 if self.first else 0), None
        for begin, head in _readable(self.path):
            if begin >= offset:
                break
            seq, at_ns = head.seq, head.at_ns
        return seq, at_ns


def check_segment(path: Path, writer: str, segment: int, last: bool) -> Checked:
    """Check a segment; in the last one of a writer an incomplete frame at the end is still being written."""
    checked = Checked(path, writer, segment)
    try:
        data = segment_bytes(path)
    except Corrupt as error:
        what = f"the segment cannot be read: {error}"
        checked.problems.append(Problem(writer=writer, segment=segment, offset=0, seq=None, what=what))
        return checked
    checked.file_bytes = len(data)
    _Check(checked, data, last).run()
    return checked


class _Check:
    def __init__(self, checked: Checked, data: bytes, last: bool) -> None:
        self._to, self._data, self._last = checked, data, last
        self._previous, self._seq = NO_DIGEST, 1
        self._seqs: list[int] = []
        self._linked = False

    def run(self) -> None:
        if not self._header():
            return
        data, offset = self._data, SEGMENT_HEAD.size
        while offset < len(data):
            try:
                head = read_head(data, offset)
                self._link(offset, head)
                self._content(offset, head)
            except Torn as error:
                if not self._last:
                    self._problem(offset, self._seq, str(error))
                break
            except (Corrupt, ValueError) as error:
                self._problem(offset, self._seq, str(error), self._whose(offset))
                following = _next_frame(data, offset)
                if following is None:
                    break
                self._skip(offset, following)
                offset = following
                continue
            self._to.frames += 1
            self._to.last_ns = head.at_ns
            self._previous, self._seq = head.digest, head.seq + 1
            offset += head.size
        self._to.end = (self._previous, self._seq)
        self._to.present = Seqs(runs_of(self._seqs))
        self._name()

    def _header(self) -> bool:
        """Read the segment's header; False when there is nothing to read after it."""
        try:
            header = read_segment_head(self._data[: SEGMENT_HEAD.size])
        except Torn:
            if not self._last:
                self._problem(0, None, "the segment's header is incomplete")
            return False
        except Corrupt as error:
            self._problem(0, None, str(error))
            return True
        if header.segment != self._to.segment or header.writer != self._to.writer:
            what = f"this is segment {header.segment} of {header.writer}, not the one its name says"
            self._problem(0, header.first_seq, what)
        self._to.first = (header.first_seq, header.previous)
        self._to.end = (header.previous, header.first_seq)
        self._previous, self._seq, self._linked = header.previous, header.first_seq, True
        return True

    def _problem(self, offset: int, seq: int | None, what: str, named: str | None = None) -> None:
        to = self._to
        to.problems.append(
            Problem(writer=to.writer, segment=to.segment, offset=offset, seq=seq, what=what, record=named)
        )

    def _link(self, offset: int, head: Head) -> None:
        if not self._linked:
            self._linked = True
        elif head.seq != self._seq:
            what = f"frame {head.seq} stands where frame {self._seq} should: frames were removed or reordered"
            self._problem(offset, head.seq, what)
        elif head.previous != self._previous:
            what = (
                f"frame {head.seq} does not follow on the frame before it: the head of frame {head.seq - 1} was changed"
            )
            self._problem(offset, head.seq, what)

    def _content(self, offset: int, head: Head) -> None:
        to = self._to
        if head.kind == FrameKind.CHUNK:
            to.keep_chunk(offset, head.address)
        try:
            payload = read_payload(self._data, head, offset)
        except Erased:
            self._gone(offset, head)
            return
        except sealing.NoKey:
            to.sealed += 1
            if sealing.in_use():
                to.lost_keys.setdefault(head.owner.hex(), (head.seq, offset))
            self._seqs.append(head.seq)
            return
        self._seqs.append(head.seq)
        to.payload_bytes += len(payload)
        if head.kind == FrameKind.SPAN:
            self._rest(offset, head, payload)
        elif head.kind == FrameKind.ERASURE:
            to.erasures.append(unpack(Erasure, payload))
        elif head.kind == FrameKind.CHECKPOINT:
            to.checkpoints.append(unpack(Checkpoint, payload))
        elif head.kind == FrameKind.KEPT:
            kept = unpack(Kept, payload)
            if kept.stage == Stage.TRIMMED:
                to.trimmed.append(kept)

    def _gone(self, offset: int, head: Head) -> None:
        """Every byte of an erased frame is known: the salt, then a pointer or nothing, then zeros."""
        begin = offset + HEAD.size + SALT_BYTES
        stored = self._data[begin : begin + head.stored_bytes]
        moved_to = pointed(stored)
        rest = stored[len(pointer(moved_to)) :] if moved_to is not None else stored
        if rest.strip(b"\x00") or (moved_to is not None and stored[: len(pointer(moved_to))] != pointer(moved_to)):
            what = f"the payload of the erased frame {head.seq} is still there; run 'watchkeeper erase --resume'"
            self._problem(offset, head.seq, what)
        self._to.erased.append(Gone(head.seq, offset, moved_to))

    def _rest(self, offset: int, head: Head, payload: bytes) -> None:
        try:
            span = unpack(Span, payload)
        except msgspec.MsgspecError:
            return
        named = f"span {span.span_id} of trace {span.trace_id}"
        for body in span.bodies:
            for address in body.chunks:
                place = (address.writer, address.segment, address.offset)
                self._to.rests_on.setdefault(place, Resting(bytes.fromhex(address.digest), offset, head.seq, named))

    def _whose(self, offset: int) -> str | None:
        """Whose record a damaged frame was, where enough of it can be read."""
        try:
            head = read_head(self._data, offset)
        except Corrupt:
            return None
        begin = offset + HEAD.size + SALT_BYTES
        if head.kind != FrameKind.SPAN or is_erased(self._data[offset + HEAD.size : begin]):
            return FrameKind(head.kind).name.lower() if head.kind in set(FrameKind) else None
        try:
            span = unpack(Span, self._data[begin : begin + head.stored_bytes])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return "span"
        return f"span {span.span_id} of trace {span.trace_id}"

    def _name(self) -> None:
        """Say of a damaged payload which span rests on it, where that span is in the same segment."""
        to = self._to
        for n, problem in enumerate(to.problems):
            resting = to.rests_on.get((to.writer, to.segment, problem.offset))
            if resting is not None:
                to.problems[n] = msgspec.structs.replace(problem, record=f"a payload of {resting.named}")

    def _skip(self, offset: int, following: int) -> None:
        """After a frame whose payload is damaged, go on from its head if that is whole, else from the next frame."""
        try:
            head = read_head(self._data, offset)
        except Corrupt:
            head = None
        if head is not None and offset + head.size == following:
            if head.kind == FrameKind.CHUNK:
                self._to.keep_chunk(offset, head.address)
            self._seqs.append(head.seq)
            self._previous, self._seq = head.digest, head.seq + 1
            return
        after = read_head(self._data, following)
        self._previous, self._seq = after.previous, after.seq


def _readable(path: Path) -> Sequence[tuple[int, Head]]:
    """The heads of a segment up to the first that cannot be read."""
    found: list[tuple[int, Head]] = []
    try:
        found.extend(heads(path))
    except (Corrupt, OSError):
        pass  # what comes before the damage is what is asked for
    return found


def _next_frame(data: bytes, offset: int) -> int | None:
    """The offset of the next readable frame after a damaged one, or None."""
    try:
        end = offset + read_head(data, offset).size
        if end == len(data):
            return None
        read_head(data, end)
        return end
    except Corrupt:
        pass  # the head itself is damaged: look for the next magic that begins a readable frame
    at = data.find(b"WF", offset + 1)
    while at >= 0:
        try:
            head = read_head(data, at)
            read_payload(data, head, at)
            return at
        except (Erased, sealing.NoKey):
            return at
        except (Corrupt, ValueError):
            at = data.find(b"WF", at + 1)
    return None
