"""Undoes gzip and Zstandard as a file is read, and reads the members of a ZIP that hold either, within stated limits.

What a few kilobytes expand to is not known before they are read, so nothing is expanded into memory at once: streams go
row by row, and a member of an archive may hold `MOST_MEMBER_BYTES`.
"""

from __future__ import annotations

import gzip
import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP, ZSTD, ZIP = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
MOST_MEMBER_BYTES = 512 << 20
LONGEST_LINE = 128 << 20
_CHUNK = 1 << 20
_ZIP_ZSTD = 93
_LOCAL = struct.Struct("<4s5H3I2H")
Broken = (gzip.BadGzipFile, zlib.error, zstd.ZstdError, EOFError)
"""What reading a damaged stream may raise."""


class TooLarge(ValueError):
    """More than is read at once; the message says how much."""


def expanded(file: io.BufferedReader) -> io.BufferedReader:
    """The file itself, or what its gzip or Zstandard stream holds, as it is read."""
    head = file.peek(4)[:4]
    if head.startswith(GZIP):
        return io.BufferedReader(cast("Any", gzip.GzipFile(fileobj=file)))
    if head == ZSTD:
        return io.BufferedReader(cast("Any", zstd.ZstdFile(file)))
    return file


def lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines of a file with their numbers; None for one longer than `LONGEST_LINE`, which is passed over."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) <= LONGEST_LINE:
            yield number, line
            continue
        while (piece := file.readline(_CHUNK)) and not piece.endswith(b"\n"):
            pass
        yield number, None


def whole(file: BinaryIO, most_bytes: int) -> bytes:
    """All that is left of a file; raises `TooLarge` when that is more than `most_bytes`."""
    pieces, size = [], 0
    while piece := file.read(_CHUNK):
        size += len(piece)
        if size > most_bytes:
            raise TooLarge(
                f"It has more than {most_bytes >> 20} MiB and is not in lines. Split it and import the parts."
            )
        pieces.append(piece)
    return b"".join(pieces)


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One member of a ZIP, whichever of the methods stored, deflate and Zstandard it was written with.

    Raises `TooLarge`, and `zipfile.BadZipFile` when it is damaged.
    """
    entry = archive.getinfo(name)
    if entry.file_size > MOST_MEMBER_BYTES:
        raise TooLarge(f"{name} has {entry.file_size >> 20} MiB; a member may have {MOST_MEMBER_BYTES >> 20}.")
    if entry.compress_type != _ZIP_ZSTD:
        try:
            with archive.open(entry) as opened:
                return whole(cast("BinaryIO", opened), MOST_MEMBER_BYTES)
        except (NotImplementedError, RuntimeError) as error:
            raise zipfile.BadZipFile(f"{name} cannot be read: {error}") from error
    file = archive.fp
    if file is None:
        raise zipfile.BadZipFile("the archive is closed")
    file.seek(entry.header_offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or head[:4] != ZIP:
        raise zipfile.BadZipFile(f"{name} does not lie where the archive's directory says")
    fields = _LOCAL.unpack(head)
    file.seek(fields[-2] + fields[-1], io.SEEK_CUR)
    stored = io.BytesIO(file.read(entry.compress_size))
    data = whole(cast("BinaryIO", zstd.ZstdFile(stored)), MOST_MEMBER_BYTES)
    if zlib.crc32(data) != entry.CRC:
        raise zipfile.BadZipFile(f"the checksum of {name} does not hold")
    return data
