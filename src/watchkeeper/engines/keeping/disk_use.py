"""Counts what the data directory takes on the disk, in blocks as the file system does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from watchkeeper.records.record import Record

BLOCK_BYTES = 512


class DiskUse(Record):
    """Bytes on the disk: in all, by part of the data directory, and how much the file system has left."""

    total: int
    parts: dict[str, int]
    free: int


def disk_use(folder: Path) -> DiskUse:
    """What a data directory takes now; files that go away meanwhile are not counted."""
    parts: dict[str, int] = {}
    for path, size in _files(folder):
        first, *rest = path.relative_to(folder).parts
        name = f"journal/{rest[0]}" if first == "journal" and len(rest) > 1 else first if rest else "other"
        if first.startswith("cells.sqlite"):
            name = "cells"
        parts[name] = parts.get(name, 0) + size
    space = os.statvfs(folder)
    return DiskUse(total=sum(parts.values()), parts=parts, free=space.f_bavail * space.f_frsize)


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in entries:
        try:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                yield Path(entry.path), entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
        except FileNotFoundError:
            continue
