"""Tells all writers of a data directory that chunks they remember may be gone: a counter that they share in memory.

A writer keeps a chunk once and points to it when the same bytes come again. After an erasure it must not point to what
is not there any more. The counter is a mapped file, so that looking at it before each write costs no system call.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

COUNTER = "forget.count"
_BYTES = 8


class Forgetting:
    """A writer's view of the counter."""

    def __init__(self, folder: Path) -> None:
        """Map the counter of a journal folder, which is made when it is not there."""
        file = _open(folder)
        try:
            self._counter = mmap.mmap(file, _BYTES, prot=mmap.PROT_READ)
        finally:
            os.close(file)
        self._seen = self._counter[:]

    def due(self) -> bool:
        """Whether something was erased since this was last asked."""
        now = self._counter[:]
        if now == self._seen:
            return False
        self._seen = now
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._counter.close()


def forget(folder: Path) -> None:
    """Make every writer under a journal folder forget its chunks before it writes again."""
    file = _open(folder)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        count = int.from_bytes(os.pread(file, _BYTES, 0), "little")
        os.pwrite(file, ((count + 1) % (1 << 64)).to_bytes(_BYTES, "little"), 0)
    finally:
        os.close(file)


def _open(folder: Path) -> int:
    file = os.open(folder / COUNTER, os.O_CREAT | os.O_RDWR, 0o600)
    if os.fstat(file).st_size < _BYTES:
        os.ftruncate(file, _BYTES)
    return file
