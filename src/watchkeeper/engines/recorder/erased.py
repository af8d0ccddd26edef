"""What an erased frame looks like on the disk: a known salt and zeros; before them a pointer to what was kept of it."""

from __future__ import annotations

import struct
from typing import NamedTuple

from watchkeeper.engines.recorder.frames import ERASED_SALT, SALT_BYTES, Corrupt

_POINTER = struct.Struct("<B32sIQ")
_POINTS = 1
POINTER_BYTES = _POINTER.size


class Place(NamedTuple):
    """Where a frame lies: writer, segment and byte offset."""

    writer: str
    segment: int
    offset: int


def blank(stored_bytes: int, moved_to: Place | None = None) -> bytes:
    """What stands for a payload that was erased; a payload too short for a pointer gets none."""
    if moved_to is None or stored_bytes < POINTER_BYTES:
        return bytes(stored_bytes)
    return pointer(moved_to).ljust(stored_bytes, b"\x00")


def pointer(place: Place) -> bytes:
    """A place as bytes."""
    return _POINTER.pack(_POINTS, place.writer.encode(), place.segment, place.offset)


def pointed(stored: bytes) -> Place | None:
    """The place that stands in an erased payload, None when there is none; raises `Corrupt` for anything else."""
    if not stored or stored[0] != _POINTS or len(stored) < POINTER_BYTES:
        return None
    _, writer, segment, offset = _POINTER.unpack_from(stored)
    try:
        return Place(writer.rstrip(b"\x00").decode(), segment, offset)
    except UnicodeDecodeError as error:
        raise Corrupt("an erased frame points to a writer that cannot be read") from error


def is_erased(rest: bytes | memoryview) -> bool:
    """Whether salt and payload, as they lie on the disk, are those of an erased frame."""
    return bytes(rest[:SALT_BYTES]) == ERASED_SALT
