"""Proofs that travel: the frames of one trace, and what shows that they were in the journal at a checkpoint.

A bundle can be checked without the data directory: each payload against the commitment in its frame's head, each head
against the root of a checkpoint by a Merkle path, the checkpoint against its own digest, and that against an anchor.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from watchkeeper.analysis.merkle import path_to, root_from
from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.checkpoints import digest_of, digests_between
from watchkeeper.engines.recorder.erased import Place
from watchkeeper.engines.recorder.frames import (
    ERASED_SALT,
    HEAD,
    SALT_BYTES,
    Corrupt,
    FrameKind,
    commit,
    read_head,
    read_payload,
)
from watchkeeper.engines.recorder.packed import pread
from watchkeeper.engines.recorder.segments import segment_path
from watchkeeper.records.checkpoint import Checkpoint, Reached
from watchkeeper.records.record import Record, pack, unpack

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FORMAT = "watchkeeper-proof-1"
_LARGEST_BYTES = 1 << 30


class Unproved(ValueError):
    """A proof cannot be made or read; the message says why."""


class Proved(Record):
    """One frame: its head as it lies in the journal, what opens its commitment, and the path to a checkpoint's root.

    `salt` and `payload` are None for a frame that was erased: that it was there is proved, and what it held is gone.
    """

    writer: str
    segment: int
    offset: int
    head: bytes
    checkpoint: str
    index: int
    count: int
    path: tuple[bytes, ...]
    salt: bytes | None = None
    payload: bytes | None = None


class Bundle(Record):
    """A trace's frames with their proofs, and the checkpoints that these lead to."""

    format: str
    trace_id: str
    at_ns: int
    frames: tuple[Proved, ...]
    checkpoints: tuple[Checkpoint, ...]


class Judged(Record):
    """What a bundle proves: how many frames hold, which do not and why, and which checkpoints carry them."""

    trace_id: str
    frames: int
    erased: int
    payload_bytes: int
    problems: tuple[str, ...]
    checkpoints: tuple[int, ...]
    anchored: tuple[int, ...]
    first_ns: int | None
    last_ns: int | None

    @property
    def holds(self) -> bool:
        """Whether every frame is proved."""
        return not self.problems and self.frames > 0


def build(
    folder: Path, trace_id: str, places: Iterable[Place], checkpoints: Sequence[Checkpoint], clock_ns: Callable[[], int]
) -> Bundle:
    """The proof of the frames at some places; raises `Unproved` for one that no checkpoint has seen, and `Corrupt`."""
    trees: dict[tuple[str, str], list[tuple[int, bytes]]] = {}
    used: dict[str, Checkpoint] = {}
    frames = []
    for place in sorted(set(places)):
        raw, salt, payload = _read(folder, place)
        head = read_head(raw)
        checkpoint, reached = _seen_by(checkpoints, place.writer, head.seq)
        known = trees.get((checkpoint.checkpoint_id, place.writer))
        if known is None:
            known = trees[(checkpoint.checkpoint_id, place.writer)] = digests_between(folder, reached)
        index = head.seq - reached.first_seq
        frames.append(
            Proved(
                writer=place.writer, segment=place.segment, offset=place.offset, head=raw,
                checkpoint=checkpoint.checkpoint_id, index=index, count=len(known),
                path=path_to([digest for _, digest in known], index), salt=salt, payload=payload,
            )
        )  # fmt: skip
        used[checkpoint.checkpoint_id] = checkpoint
    return Bundle(
        format=FORMAT, trace_id=trace_id, at_ns=clock_ns(), frames=tuple(frames),
        checkpoints=tuple(sorted(used.values(), key=lambda each: each.number)),
    )  # fmt: skip


def write(bundle: Bundle) -> bytes:
    """A bundle as the bytes of a file."""
    return zstd.compress(pack(bundle))


def read(data: bytes) -> Bundle:
    """The bundle in the bytes of a file; raises `Unproved` when there is none."""
    try:
        bundle = unpack(Bundle, zstd.ZstdDecompressor().decompress(data, max_length=_LARGEST_BYTES))
    except (zstd.ZstdError, msgspec.MsgspecError, UnicodeDecodeError, EOFError) as error:
        raise Unproved(f"this is no proof that watchkeeper wrote: {error}") from error
    if bundle.format != FORMAT:
        raise Unproved(
            f"this proof has the format {bundle.format!r}; this program reads {FORMAT!r}. Upgrade watchkeeper."
        )
    return bundle


def judge(bundle: Bundle, anchored: Sequence[Checkpoint] = ()) -> Judged:
    """Check a bundle by itself, and its checkpoints against those that were kept outside."""
    problems: list[str] = []
    outside = {each.digest for each in anchored}
    carried = {}
    for each in bundle.checkpoints:
        if digest_of(each.number, each.previous, each.at_ns, each.reached) != each.digest:
            problems.append(f"checkpoint {each.number} was changed: its digest is another")
        elif anchored and each.digest not in outside:
            problems.append(f"checkpoint {each.number} ({each.digest[:16]}) is not among those that were kept outside")
        else:
            carried[each.checkpoint_id] = each
    times, kept_bytes, erased = [], 0, 0
    for frame in bundle.frames:
        wrong = _wrong(frame, carried)
        where = f"{frame.writer}, segment {frame.segment}, byte {frame.offset}"
        if wrong is not None:
            problems.append(f"{where}: {wrong}")
            continue
        times.append(read_head(frame.head).at_ns)
        kept_bytes += len(frame.payload or b"")
        erased += frame.payload is None
    return Judged(
        trace_id=bundle.trace_id,
        frames=len(bundle.frames),
        erased=erased,
        payload_bytes=kept_bytes,
        problems=tuple(problems),
        checkpoints=tuple(each.number for each in bundle.checkpoints),
        anchored=tuple(each.number for each in bundle.checkpoints if each.digest in outside),
        first_ns=min(times, default=None),
        last_ns=max(times, default=None),
    )


def _wrong(frame: Proved, checkpoints: dict[str, Checkpoint]) -> str | None:
    checkpoint = checkpoints.get(frame.checkpoint)
    if checkpoint is None:
        return "no checkpoint that holds speaks for it"
    reached = next((each for each in checkpoint.reached if each.writer == frame.writer), None)
    try:
        head = read_head(frame.head)
    except Corrupt as error:
        return str(error)
    if (
        reached is None
        or head.seq != reached.first_seq + frame.index
        or frame.count != reached.seq - reached.first_seq + 1
    ):
        return f"frame {head.seq} is not one that checkpoint {checkpoint.number} saw"
    root = root_from(head.digest, frame.index, frame.count, frame.path)
    if root is None or root.hex() != reached.root:
        return f"the head of frame {head.seq} does not lead to the root of checkpoint {checkpoint.number}"
    if frame.payload is not None and commit(frame.salt or b"", frame.payload) != head.commitment:
        return f"the payload of frame {head.seq} is not the one that was committed to"
    return None


def _seen_by(checkpoints: Sequence[Checkpoint], writer: str, seq: int) -> tuple[Checkpoint, Reached]:
    for checkpoint in checkpoints:
        for reached in checkpoint.reached:
            if reached.writer == writer and reached.first_seq <= seq <= reached.seq:
                return checkpoint, reached
    raise Unproved(f"no checkpoint has seen frame {seq} of {writer} yet; take one with: watchkeeper anchor")


def _read(folder: Path, place: Place) -> tuple[bytes, bytes | None, bytes | None]:
    """Head, salt and plain payload of a frame; the last two None when it was erased."""
    try:
        file = os.open(segment_path(folder / place.writer, place.segment), os.O_RDONLY)
    except FileNotFoundError as error:
        raise Unproved(f"segment {place.segment} of {place.writer} is not in the journal any more") from error
    try:
        raw = pread(file, HEAD.size, place.offset)
        head = read_head(raw)
        whole = pread(file, head.size, place.offset)
    finally:
        os.close(file)
    salt = whole[HEAD.size : HEAD.size + SALT_BYTES]
    if salt == ERASED_SALT:
        return raw, None, None
    try:
        payload = read_payload(whole, head)
        if head.sealed:
            salt, _ = sealing.unseal(head.owner, salt, whole[HEAD.size + SALT_BYTES :])
    except sealing.NoKey:
        return raw, None, None
    return raw, salt, payload


def kind_of(frame: Proved) -> str:
    """What kind of frame it is, in a word."""
    kind = read_head(frame.head).kind
    return FrameKind(kind).name.lower() if kind in set(FrameKind) else f"kind {kind}"
