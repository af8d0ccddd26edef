"""The file of subjects' keys: SQLite in which nothing of a destroyed key is left, neither in it nor in its log."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.kinds.ports import KeyRow

BUSY_S = 10.0
_CHECK = "check"
_ROW = "SELECT tag, who, wrapped, secret FROM subjects"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS subjects (
    tag BLOB PRIMARY KEY, who BLOB UNIQUE, wrapped INTEGER NOT NULL, secret BLOB,
    created_ns INTEGER, destroyed_ns INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
"""


class SQLiteSubjects:
    """A KeyFile in SQLite (write-ahead log, secure delete). Thread-safe; several processes may share the file."""

    def __init__(self, path: Path, durable: bool = True) -> None:
        """Open or make the file, mode 0600; raises `StoreError` when it cannot be read.

        With `durable` a new key is on the disk before anything is sealed under it.
        """
        self.path = path
        self._lock = threading.RLock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._file = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._file.execute("PRAGMA journal_mode=WAL")
            self._file.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
            self._file.execute("PRAGMA secure_delete=ON")
            self._file.executescript(_SCHEMA)
        except (sqlite3.DatabaseError, OSError) as error:
            raise StoreError(
                f"The key file {path} cannot be read: {error}. Restore it from a backup; without it what was encrypted "
                "stays closed."
            ) from error

    def by_name(self, who: bytes) -> KeyRow | None:
        """The row of a subject, by the digest of its name."""
        return self._one(f"{_ROW} WHERE who = ?", (who,))

    def by_tag(self, tag: bytes) -> KeyRow | None:
        """The row with a tag, unless it was destroyed."""
        return self._one(f"{_ROW} WHERE tag = ? AND secret IS NOT NULL", (tag,))

    def rows(self) -> list[KeyRow]:
        """All rows that were not destroyed."""
        with self._lock:
            return [_row(each) for each in self._file.execute(f"{_ROW} WHERE secret IS NOT NULL").fetchall()]

    def add(self, row: KeyRow) -> bool:
        """Add a row; returns whether it is new, rather than another process's a moment before."""
        with self._lock:
            done = self._file.execute(
                "INSERT OR IGNORE INTO subjects VALUES (?, ?, ?, ?, ?, NULL)",
                (row.tag, row.who, row.wrapped, row.secret, time.time_ns()),
            )
            return done.rowcount == 1

    def rewrite(self, rows: Iterable[KeyRow], check: bytes | None = None) -> None:
        """Replace the secrets of some rows, and the check of the master key, in one transaction."""
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            try:
                for row in rows:
                    self._file.execute(
                        "UPDATE subjects SET wrapped = ?, secret = ? WHERE tag = ? AND secret IS NOT NULL",
                        (row.wrapped, row.secret, row.tag),
                    )
                if check is not None:
                    self._file.execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (_CHECK, check))
                self._file.execute("COMMIT")
            except BaseException:
                self._file.execute("ROLLBACK")
                raise
            self._settle()

    def replace(self, row: KeyRow, before: bytes) -> bool:
        """Replace the secret of a row unless another process did so a moment before; returns whether it was done."""
        with self._lock:
            done = self._file.execute(
                "UPDATE subjects SET wrapped = ?, secret = ? WHERE tag = ? AND secret = ?",
                (row.wrapped, row.secret, row.tag, before),
            )
            if done.rowcount != 1:
                return False
            self._settle()
            return True

    def retire(self, who: bytes) -> None:
        """Let a name have no row any more; its old row stays until it is destroyed."""
        with self._lock:
            self._file.execute("UPDATE subjects SET who = NULL WHERE who = ?", (who,))

    def destroy(self, tag: bytes) -> None:
        """Take the secret of a row away for good."""
        with self._lock:
            self._file.execute(
                "UPDATE subjects SET who = NULL, secret = NULL, destroyed_ns = ? WHERE tag = ? AND secret IS NOT NULL",
                (time.time_ns(), tag),
            )
            self._settle()

    def check(self) -> bytes | None:
        """What was wrapped to know the master key again by."""
        with self._lock:
            row = self._file.execute("SELECT value FROM about WHERE name = ?", (_CHECK,)).fetchone()
        return None if row is None else bytes(row[0])

    def counts(self) -> dict[str, int]:
        """How many subjects have keys, how many of them wrapped ones, and how many were destroyed."""
        with self._lock:
            alive, sealed, gone = self._file.execute(
                "SELECT count(secret), coalesce(sum(wrapped AND secret IS NOT NULL), 0), count(destroyed_ns) "
                "FROM subjects"
            ).fetchone()
        return {"subjects": alive, "sealed": sealed, "destroyed": gone}

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _one(self, sql: str, parameters: tuple[bytes, ...]) -> KeyRow | None:
        with self._lock:
            row = self._file.execute(sql, parameters).fetchone()
        return None if row is None else _row(row)

    def _settle(self) -> None:
        """Leave nothing of what was replaced in the write-ahead log either."""
        deadline_s = time.monotonic() + BUSY_S
        while self._file.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline_s:
                raise StoreError(f"The key file {self.path} stays busy; old keys may still be in its log. Try again.")
            time.sleep(0.02)


def _row(row: Any) -> KeyRow:
    tag, who, wrapped, secret = row
    return KeyRow(tag=tag, who=who, wrapped=bool(wrapped), secret=secret)
