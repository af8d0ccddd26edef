"""Stops the keeping of bodies while the disk cap leaves no room for them, and counts what was not kept.

A mark in the journal folder says so to all writers, whichever process they run in. Calls and their metadata go on; what
was left out is counted in the drop ledger.
"""

from __future__ import annotations

import time
from pathlib import Path

from watchkeeper.records.drop import Drop

MARK = "bodies.refused"
LEDGER_EVERY_NS = 10_000_000_000
REASON = "disk_cap"


def refuse(folder: Path, refused: bool) -> None:
    """Tell all writers under a journal folder whether bodies are kept."""
    mark = folder / MARK
    if refused:
        mark.touch(mode=0o600)
    else:
        mark.unlink(missing_ok=True)


def refused(folder: Path) -> bool:
    """Whether bodies are not kept at present."""
    return (folder / MARK).exists()


class Refusing:
    """One writer's view of the mark, and its count of what it did not keep."""

    def __init__(self, folder: Path) -> None:
        """Look at the mark of a journal folder."""
        self._mark = str(folder / MARK)
        self._folder = folder
        self.active = refused(folder)
        self._count = self._bytes = self._first_ns = 0

    def look(self) -> None:
        """Look at the mark again."""
        self.active = refused(self._folder)

    def left_out(self, size_bytes: int) -> None:
        """Count a body that was not kept."""
        if not self._count:
            self._first_ns = time.time_ns()
        self._count += 1
        self._bytes += size_bytes

    def due(self, ending: bool = False) -> Drop | None:
        """The entry for the drop ledger, when it is time for one."""
        now_ns = time.time_ns()
        if not self._count or (self.active and not ending and now_ns - self._first_ns < LEDGER_EVERY_NS):
            return None
        drop = Drop(
            what="body", reason=REASON, count=self._count, first_ns=self._first_ns, last_ns=now_ns, door="journal",
            detail=f"{self._bytes} bytes were not kept, because the data directory reached its disk cap",
        )  # fmt: skip
        self._count = self._bytes = 0
        return drop
