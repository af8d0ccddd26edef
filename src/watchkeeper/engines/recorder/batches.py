"""Reads one batch of frames of a writer's journal and turns them into records; what cannot be read is counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from watchkeeper.engines.recorder.frames import RECORD_KINDS, Corrupt, FrameKind
from watchkeeper.engines.recorder.segments import Frame, read_frames
from watchkeeper.kinds.ports import Watermark
from watchkeeper.records.drop import Drop
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Origin, Span

BATCH_RECORDS = 2_000
BATCH_BYTES = 4 << 20
BATCH_FRAMES = 100_000
_log = logging.getLogger("watchkeeper.ingest")

Decoder = Callable[[bytes, Origin, int], tuple[Record, ...]]
"""Turns a foreign payload (OTLP) into records; given the frame's origin and the time it was received (unix ns)."""


class Read(NamedTuple):
    """What was read of a journal: its records, the mark behind them, and when the last of its frames was written.

    `full` says that the batch ended because it is large, so that there is more; `damage` why it ended early.
    """

    records: tuple[Record, ...]
    mark: Watermark
    frames: int
    erased: int = 0
    at_ns: int = 0
    full: bool = False
    damage: str | None = None


class BatchReader:
    """Reads the journals under a folder, batch by batch. Keeps nothing between two batches."""

    def __init__(self, folder: Path, decoders: Mapping[FrameKind, Decoder]) -> None:
        self._folder = folder
        self._decoders = decoders

    def read(self, mark: Watermark) -> Read:
        """The next batch of a writer after a mark; without frames where there is nothing new."""
        writer, records = mark.writer, list[Record]()
        frames = erased = size = at_ns = 0
        damage, full = None, False
        try:
            for frame in read_frames(self._folder / writer, mark.segment, mark.offset, erased=True):
                mark = Watermark(writer=writer, segment=frame.segment, offset=frame.next_offset, seq=frame.head.seq)
                frames += 1
                at_ns = frame.head.at_ns
                if frame.erased:
                    erased += 1
                else:
                    records.extend(self._records(writer, frame))
                    size += len(frame.payload)
                if len(records) >= BATCH_RECORDS or size >= BATCH_BYTES or frames >= BATCH_FRAMES:
                    full = True
                    break
        except Corrupt as error:
            damage = str(error)
        return Read(tuple(records), mark, frames, erased, at_ns, full, damage)

    def _records(self, writer: str, frame: Frame) -> tuple[Record, ...]:
        """The records of one frame; what cannot be read is counted, and the rest goes on."""
        origin = Origin(writer=writer, segment=frame.segment, offset=frame.offset)
        try:
            kind = FrameKind(frame.head.kind)
            if kind == FrameKind.CHUNK:
                return ()
            if kind in RECORD_KINDS:
                record = unpack(RECORD_KINDS[kind], frame.payload)
                if isinstance(record, Span):
                    record = msgspec.structs.replace(record, origin=origin)
                return (record,)
            return self._decoders[kind](frame.payload, origin, frame.head.at_ns)
        except (ValueError, KeyError, msgspec.MsgspecError) as error:
            now = time.time_ns()
            _log.error("frame %d of %s cannot be indexed: %s", frame.head.seq, writer, error)
            detail = f"writer {writer}, segment {frame.segment}, byte {frame.offset}: {error}"[:300]
            return (
                Drop(
                    what="frame",
                    reason="unreadable",
                    count=1,
                    first_ns=now,
                    last_ns=now,
                    door="index",
                    detail=detail,
                ),
            )
