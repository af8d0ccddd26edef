"""Packed segments: the same frames at the same offsets, without the bytes of payloads that were erased.

An erased payload is zeros. A hole in a file gives whole blocks back only, and most payloads are smaller than a block.
So a segment whose frames are mostly erased is written anew as extents: the runs of bytes that are not such zeros, and
a table that says where each run lies in the segment as it was. Every head stays, so the chain, the addresses of all
chunks and the watermarks of the index stay as they were.

    file = magic, logical size, number of extents, crc of the table; table of (offset, length); the extents' bytes
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import struct
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from watchkeeper.engines.recorder.erased import POINTER_BYTES, pointed
from watchkeeper.engines.recorder.frames import ERASED_SALT, HEAD, SALT_BYTES, SEGMENT_HEAD, Corrupt, read_head

PACKED_MAGIC = b"WKPACK\x00\x01"
DRAFT = ".packing"
_HEAD = struct.Struct("<8sQII")
_ROW = struct.Struct("<QQ")
_COPY_BYTES = 1 << 20
_REMEMBERED = 64
_Stamp = tuple[int, int, bytes]


class Layout(NamedTuple):
    """Where the bytes of a packed segment lie: starts and lengths in the segment, and starts in the file."""

    size: int
    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    places: tuple[int, ...]

    def pieces(self, begin: int, count: int) -> Iterator[tuple[int, int, int]]:
        """What is kept of a range of the segment: offsets within the range, lengths, and places in the file."""
        end = begin + count
        for at in range(max(0, bisect_right(self.starts, begin) - 1), len(self.starts)):
            start = self.starts[at]
            if start >= end:
                return
            low, high = max(start, begin), min(start + self.lengths[at], end)
            if low < high:
                yield low - begin, high - low, self.places[at] + low - start


_layouts: OrderedDict[_Stamp, Layout] = OrderedDict()


def layout_of(file: int) -> Layout | None:
    """The layout of an open segment file, None when it is not packed; raises `Corrupt` when the table is damaged."""
    head = os.pread(file, _HEAD.size, 0)
    if not head.startswith(PACKED_MAGIC):
        return None
    found = os.fstat(file)
    stamp = (found.st_dev, found.st_ino, head)  # the head holds the table's checksum: another table has another head
    known = _layouts.get(stamp)
    if known is None:
        known = _layouts[stamp] = _read_layout(file)
        while len(_layouts) > _REMEMBERED:
            _layouts.popitem(last=False)
    return known


def pread(file: int, count: int, offset: int) -> bytes:
    """Bytes of an open segment file at the place where they were written, packed or not; zeros for what is not kept."""
    layout = layout_of(file)
    if layout is None:
        return os.pread(file, count, offset)
    data = bytearray(max(0, min(count, layout.size - offset)))
    for at, length, place in layout.pieces(offset, len(data)):
        data[at : at + length] = os.pread(file, length, place)
    return bytes(data)


def pwrite(file: int, data: bytes, offset: int) -> int:
    """Change bytes of an open segment file in place, packed or not; what is not kept stays zeros.

    Returns how many bytes were dealt with.
    """
    layout = layout_of(file)
    if layout is None:
        return os.pwrite(file, data, offset)
    for at, length, place in layout.pieces(offset, len(data)):
        written = 0
        while written < length:
            written += os.pwrite(file, data[at + written : at + length], place + written)
    return len(data)


class _PackedReader(io.RawIOBase):
    """A packed segment read as it was before; what was left out reads as zeros."""

    def __init__(self, path: Path, layout: Layout) -> None:
        super().__init__()
        self._file = path.open("rb", buffering=0)
        self._layout = layout
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._layout.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = max(0, min(len(view), self._layout.size - self._at))
        view[:count] = bytes(count)
        for at, length, place in self._layout.pieces(self._at, count):
            piece = os.pread(self._file.fileno(), length, place)
            view[at : at + len(piece)] = piece
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def open_segment(path: Path) -> BinaryIO:
    """A segment file for reading, at the offsets at which it was written, whether it is packed or not."""
    file = path.open("rb")
    try:
        layout = layout_of(file.fileno())
    except BaseException:
        file.close()
        raise
    if layout is None:
        return file
    file.close()
    return io.BufferedReader(_PackedReader(path, layout), buffer_size=_COPY_BYTES)


def segment_bytes(path: Path) -> bytes:
    """All bytes of a segment as they were written, zeros where a payload was erased."""
    with open_segment(path) as file:
        return file.read()


def segment_size(path: Path) -> int:
    """How many bytes a segment has; a packed one takes less on the disk."""
    with path.open("rb") as file:
        layout = layout_of(file.fileno())
        return os.fstat(file.fileno()).st_size if layout is None else layout.size


@contextlib.contextmanager
def locked(path: Path) -> Iterator[int]:
    """A segment file open for changing in place, which nobody else packs or changes meanwhile."""
    while True:
        file = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_ino == path.stat().st_ino:
                yield file
                return
        finally:
            os.close(file)


def pack_segment(path: Path) -> int:
    """Write a segment anew without the payloads that were erased; returns how many bytes of disk that gave back.

    For sealed segments only. A crash leaves the old file or the new one, and at worst a draft beside it.
    """
    with locked(path) as held:
        before = os.fstat(held).st_blocks * 512
        draft = path.with_suffix(DRAFT)
        with open_segment(path) as source:
            source.seek(0, os.SEEK_END)
            size = source.tell()
            extents = list(_extents(source, size))
            _write(draft, source, extents, size)
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    return before - path.stat().st_blocks * 512


def _extents(source: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """The runs of bytes that stay; neighbours are joined."""
    begin, end = 0, SEGMENT_HEAD.size
    offset = SEGMENT_HEAD.size
    while offset < size:
        source.seek(offset)
        first = source.read(HEAD.size + SALT_BYTES + POINTER_BYTES)
        head = read_head(first)
        stays = head.size
        if first[HEAD.size : HEAD.size + SALT_BYTES] == ERASED_SALT:
            stored = first[HEAD.size + SALT_BYTES :][: head.stored_bytes]
            stays = HEAD.size + SALT_BYTES + (POINTER_BYTES if pointed(stored) is not None else 0)
        if offset != end:
            yield begin, end - begin
            begin = offset
        end = offset + stays
        offset += head.size
    yield begin, end - begin


def _write(draft: Path, source: BinaryIO, extents: list[tuple[int, int]], size: int) -> None:
    table = b"".join(_ROW.pack(*extent) for extent in extents)
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        out.write(_HEAD.pack(PACKED_MAGIC, size, len(extents), _crc(table, size, len(extents))))
        out.write(table)
        for start, length in extents:
            source.seek(start)
            left = length
            while left:
                piece = source.read(min(left, _COPY_BYTES))
                if not piece:
                    raise Corrupt(f"the segment ends at byte {source.tell()}, within what was to be kept")
                out.write(piece)
                left -= len(piece)
        out.flush()
        os.fsync(out.fileno())


def _read_layout(file: int) -> Layout:
    head = os.pread(file, _HEAD.size, 0)
    if len(head) < _HEAD.size:
        raise Corrupt("the file ends within the head of a packed segment")
    _, size, count, crc = _HEAD.unpack(head)
    room = max(0, os.fstat(file).st_size - _HEAD.size)
    table = os.pread(file, min(count * _ROW.size, room), _HEAD.size)
    if len(table) != count * _ROW.size or _crc(table, size, count) != crc:
        raise Corrupt("the table of a packed segment is damaged")
    rows = list(_ROW.iter_unpack(table))
    places, at = [], _HEAD.size + len(table)
    for _, length in rows:
        places.append(at)
        at += length
    return Layout(size, tuple(row[0] for row in rows), tuple(row[1] for row in rows), tuple(places))


def _crc(table: bytes, size: int, count: int) -> int:
    """Over the head's numbers too: a flipped bit in the size would make readers ask for as many zeros."""
    return zlib.crc32(table, zlib.crc32(_ROW.pack(size, count)))
