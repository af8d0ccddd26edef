"""The drop ledger before it is written: every loss is counted here first, and goes to the journal when that can write.

Losses of one kind add up, so a disk that stays full for an hour costs one entry per kind and not one per loss. What was
counted while nothing could be written lives in this process alone: when it is killed in that time, the count is lost
with it, as the losses themselves were.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from watchkeeper.engines.recorder.redaction import RedactionFailed
from watchkeeper.records.drop import Drop
from watchkeeper.records.ids import new_id

WRITTEN_EVERY_S = 1.0
MOST_KINDS = 1_000
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Kind(NamedTuple):
    """What losses are counted under."""

    what: str
    reason: str
    door: str


class DropLedger:
    """Counts losses and writes them out. Thread-safe; counting never fails and never waits for a disk."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._waiting: dict[Kind, Drop] = {}
        self._written_at = 0.0
        self._totals: Counter[Kind] = Counter()

    def lost(self, what: str, reason: str, door: str, count: int = 1, detail: str | None = None) -> None:
        """Count a loss. `detail` is one example, without anything that was lost in it."""
        if count <= 0:
            return
        now_ns, kind = self._clock_ns(), Kind(what, reason, door)
        with self._lock:
            if kind not in self._totals and len(self._totals) >= MOST_KINDS:
                kind = Kind(what, "other", "other")
            self._totals[kind] += count
            before = self._waiting.get(kind)
            self._waiting[kind] = Drop(
                what=kind.what,
                reason=kind.reason,
                count=count + (before.count if before else 0),
                first_ns=before.first_ns if before else now_ns,
                last_ns=now_ns,
                door=kind.door,
                detail=detail or (before.detail if before else None),
                drop_id=before.drop_id if before else new_id("drp", now_ns),
            )

    @property
    def waiting(self) -> int:
        """How many losses are counted and not yet written."""
        with self._lock:
            return sum(drop.count for drop in self._waiting.values())

    def totals(self) -> Mapping[Kind, int]:
        """Every loss of this process by kind, written or not."""
        with self._lock:
            return dict(self._totals)

    def due(self) -> bool:
        """Whether something waits and was not tried to be written in the last second."""
        return bool(self._waiting) and time.monotonic() - self._written_at >= WRITTEN_EVERY_S

    def write(self, append: Callable[[Drop], object]) -> bool:
        """Write what waits; what cannot be written waits on. Returns whether nothing waits any more."""
        with self._lock:
            self._written_at = time.monotonic()
            waiting, self._waiting = self._waiting, {}
        for kind in list(waiting):
            try:
                append(waiting[kind])
            except (OSError, ValueError):
                self._again(waiting)
                return False
            del waiting[kind]
        return True

    def _again(self, unwritten: Mapping[Kind, Drop]) -> None:
        with self._lock:
            for kind, drop in unwritten.items():
                later = self._waiting.get(kind)
                if later is not None:
                    drop = msgspec.structs.replace(drop, count=drop.count + later.count, last_ns=later.last_ns)
                self._waiting[kind] = drop


def reason_of(error: BaseException) -> str:
    """The code under which a failure to write is counted."""
    if isinstance(error, RedactionFailed):
        return "redaction_failed"
    if isinstance(error, OSError):
        return "disk_full" if error.errno in _FULL else "journal_unwritable"
    return "unencodable"
