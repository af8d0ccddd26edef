"""Anchors checkpoints by appending them to a file elsewhere: another disk, a mounted share, a write-once store."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from watchkeeper.adapters.anchors.errors import NotAnchored
from watchkeeper.records.checkpoint import Checkpoint


class FileAnchor:
    """An Anchor that is a file to which lines are appended. Its folder must be there; nothing is made on the way."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def keep(self, checkpoint: Checkpoint, line: bytes) -> str:
        """Append a line and wait until it is on the disk; raises `NotAnchored`."""
        del checkpoint
        try:
            await asyncio.to_thread(self._append, line)
        except OSError as error:
            raise NotAnchored(f"{self._path} cannot be appended to: {error.strerror}") from error
        return str(self._path)

    def _append(self, line: bytes) -> None:
        file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            written = os.write(file, line)
            if written != len(line):
                raise OSError(28, os.strerror(28))
            os.fsync(file)
        finally:
            os.close(file)
