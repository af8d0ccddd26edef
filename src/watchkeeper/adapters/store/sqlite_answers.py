"""Keeps the answers of evals in a SQLite file, by the digest of what was asked."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.record import pack, unpack

BUSY_S = 30.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, at_ns INTEGER NOT NULL, answer BLOB NOT NULL) WITHOUT ROWID;
"""


class SQLiteAnswers:
    """An AnswerCache in SQLite (write-ahead log). Several processes may share the file; used from one thread.

    What `put` has written survives kill -9; a power cut may take the last moments, which are then asked again. The file
    holds what models said, so only its owner can read it (mode 0600), and nothing of it is redacted.
    """

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.time_ns) -> None:
        """Open or make the file; raises `StoreError` when it cannot be used."""
        self.path, self._clock_ns = path, clock_ns
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._file = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute("PRAGMA synchronous=NORMAL")
            self._file.execute("PRAGMA secure_delete=ON")
            self._file.executescript(_SCHEMA)
        except (sqlite3.DatabaseError, OSError) as error:
            raise StoreError(
                f"The file of kept answers {path} cannot be used: {error}. Move it away, or run with --no-cache."
            ) from error

    def get(self, key: str) -> Completion | None:
        """The answer kept under a key; one that cannot be read any more counts as not kept."""
        row = self._file.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        try:
            return unpack(Completion, row[0])
        except msgspec.MsgspecError:
            return None

    def put(self, key: str, answer: Completion) -> None:
        """Keep an answer; raises `StoreError` when the disk does not take it."""
        try:
            self._file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (key, self._clock_ns(), pack(answer)))
        except sqlite3.OperationalError as error:
            raise StoreError(f"An answer cannot be kept in {self.path}: {error}. Free some space.") from error

    def forget(self, before_ns: int | None = None) -> int:
        """Take away what was kept before a moment, or everything; says how many answers that were.

        Nothing of them is left in the file, nor in its log, unless another process is reading at that moment.
        """
        limit = 2**63 - 1 if before_ns is None else before_ns
        gone = self._file.execute("DELETE FROM answers WHERE at_ns < ?", (limit,)).rowcount
        self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def counts(self) -> tuple[int, int]:
        """How many answers are kept, and how many bytes they take."""
        count, size = self._file.execute("SELECT count(*), coalesce(sum(length(answer)), 0) FROM answers").fetchone()
        return int(count), int(size)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
