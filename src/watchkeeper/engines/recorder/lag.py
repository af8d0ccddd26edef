"""How far the index is behind the journals: in bytes and seconds exactly, in frames by count or estimate."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from watchkeeper.engines.recorder.frames import HEAD, SEGMENT_HEAD, Corrupt, read_head
from watchkeeper.engines.recorder.packed import open_segment, segment_size
from watchkeeper.engines.recorder.segments import segment_path, segments_of, writers_of
from watchkeeper.kinds.ports import Watermark

MOST_COUNTED = 2_000
"""Frames that are counted one by one; what lies behind them is estimated from their mean size."""


class Lag(NamedTuple):
    """What is recorded and not in the index yet, over all writers; `seconds` since the oldest of it was recorded."""

    frames: int
    size_bytes: int
    seconds: float

    def sentence(self) -> str:
        """The lag in words."""
        if not self.size_bytes:
            return "the index is up to date"
        return f"the index is {self.seconds:,.1f} s behind ({self.frames:,} frames, {self.size_bytes / 1e6:,.1f} MB)"


def lag_of(folder: Path, marks: Mapping[str, Watermark], now_ns: int | None = None) -> Lag:
    """The lag of an index with these watermarks. Reads sizes and at most `MOST_COUNTED` heads a writer."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    frames = size = 0
    oldest_ns = now_ns
    for writer in writers_of(folder):
        mark = marks.get(writer) or Watermark(writer=writer, segment=0, offset=0)
        waiting = _waiting(folder / writer, mark)
        behind = sum(end - start for _, start, end in waiting)
        if behind <= 0:
            continue
        counted, counted_bytes, first_ns = _count(waiting)
        if counted:
            frames += round(counted * behind / counted_bytes)
            oldest_ns = min(oldest_ns, first_ns)
        size += behind
    return Lag(frames, size, max(0, now_ns - oldest_ns) / 1e9)


def _waiting(folder: Path, mark: Watermark) -> list[tuple[Path, int, int]]:
    """The parts of a writer's segments behind a mark: file, begin and end."""
    parts = []
    for number in segments_of(folder):
        path = segment_path(folder, number)
        if number < mark.segment:
            continue
        try:
            end = segment_size(path)
        except FileNotFoundError:  # taken away by retention meanwhile
            continue
        start = max(mark.offset, SEGMENT_HEAD.size) if number == mark.segment else SEGMENT_HEAD.size
        if end > start:
            parts.append((path, start, end))
    return parts


def _count(parts: list[tuple[Path, int, int]]) -> tuple[int, int, int]:
    """How many frames the first parts hold, their bytes, and when the first of them was recorded."""
    frames = size = first_ns = 0
    for path, start, end in parts:
        try:
            with open_segment(path) as file:
                while start < end and frames < MOST_COUNTED:
                    file.seek(start)
                    head = read_head(file.read(HEAD.size))
                    first_ns = first_ns or head.at_ns
                    start += head.size
                    size += head.size
                    frames += 1
        except (Corrupt, FileNotFoundError):
            break
        if frames >= MOST_COUNTED:
            break
    return frames, size, first_ns
