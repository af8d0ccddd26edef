"""The embedded Cells: one SQLite file that several processes share, with one fsync for many operations.

`BEGIN IMMEDIATE` takes the file's write lock before the first read, so that two processes never decide on the same
counter at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from watchkeeper.adapters.store.cell_rules import OPERATION_LIFE_NS, Changes, Outcome, Value, end_of
from watchkeeper.adapters.store.errors import CellsUnreadable, StoreError
from watchkeeper.adapters.store.group_commit import Answer, GroupCommit, Request
from watchkeeper.adapters.store.worker import Worker
from watchkeeper.kinds.ports import Page
from watchkeeper.records.record import pack, unpack

ROWS = 128
"""The most rows in one statement."""
BUSY_S = 10.0
"""How long a transaction waits for another process."""
PRUNE_EVERY = 256
"""Transactions between two rounds of forgetting old operation ids."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS operations (id TEXT PRIMARY KEY, at_ns INTEGER, outcome BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS operations_by_age ON operations (at_ns);
"""

T = TypeVar("T")


class SQLiteCells(GroupCommit):
    """Cells in a SQLite file (write-ahead log, synchronous FULL). Made by `open`."""

    def __init__(self, writing: sqlite3.Connection, reading: sqlite3.Connection, clock_ns: Callable[[], int]) -> None:
        """Take over two connections to one file; the first is used by the writing thread alone."""
        self._writing = writing
        self._reading = reading
        self._groups = 0
        self._reader = Worker("cells-reader")
        super().__init__("cells-writer", clock_ns)

    @classmethod
    def open(cls, path: Path, clock_ns: Callable[[], int] = time.time_ns) -> SQLiteCells:
        """Open or make the file; raises `CellsUnreadable` when it is damaged."""
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writing = _connect(path)
            writing.executescript(_SCHEMA)
            return cls(writing, _connect(path), clock_ns)
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
                raise StoreError(
                    f"The cells {path} cannot be opened: {error}. Check the folder and its free space."
                ) from error
            raise CellsUnreadable(
                f"The cells {path} cannot be read: {error}. They hold keys and spent budgets and cannot be rebuilt; "
                "restore the file from a backup, or move it away to begin with none."
            ) from error

    async def get(self, key: str) -> Value:
        """One cell's counter or value, None when absent."""

        def read() -> Value:
            row = self._reading.execute("SELECT value FROM cells WHERE key = ?", (key,)).fetchone()
            return None if row is None else row[0]

        return await self._read(read)

    async def scan(self, prefix: str, cursor: str | None = None, limit: int = 1000) -> Page:
        """Cells whose key starts with `prefix`, in key order, `limit` at a time."""

        def read() -> Page:
            after, comparison = (prefix, ">=") if cursor is None else (cursor, ">")
            end = end_of(prefix)
            bound = "" if end is None else "AND key < ? "
            rows = self._reading.execute(
                f"SELECT key, value FROM cells WHERE key {comparison} ? {bound}ORDER BY key LIMIT ?",
                (after, *([] if end is None else [end]), limit + 1),
            ).fetchall()
            more = len(rows) > limit
            return Page(items=tuple(rows[:limit]), cursor=rows[limit - 1][0] if more and limit else None)

        return await self._read(read)

    async def close(self) -> None:
        """Finish what was asked and release the file."""
        if self._end():
            await asyncio.to_thread(self._close)

    async def _read(self, call: Callable[[], T]) -> T:
        self._require_open()
        return await asyncio.wrap_future(self._reader.submit(call))

    def _close(self) -> None:
        self._join()
        self._reader.close()
        self._writing.close()
        self._reading.close()

    def _transaction(self, group: list[Request]) -> list[Answer]:
        try:
            self._writing.execute("BEGIN IMMEDIATE")
            answers = self._carry_out(group)
            self._writing.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                self._writing.execute("ROLLBACK")
            failure = StoreError(f"The cells could not be written: {error}. Nothing of this was done; check the disk.")
            return [failure] * len(group)
        return answers

    def _recall(self, names: list[str]) -> dict[str, Outcome]:
        rows = self._among("SELECT id, outcome FROM operations WHERE id IN ", "?", names)
        return {str(name): unpack(Outcome, packed) for name, packed in rows}

    def _load(self, keys: set[str]) -> dict[str, Value]:
        return dict(self._among("SELECT key, value FROM cells WHERE key IN ", "?", list(keys)))

    def _store(self, changed: Changes, new: dict[str, Outcome], at_ns: int) -> None:
        gone = [key for key, value in changed.items() if value is None]
        kept = [part for item in changed.items() if item[1] is not None for part in item]
        self._among("DELETE FROM cells WHERE key IN ", "?", gone)
        self._among("INSERT OR REPLACE INTO cells VALUES ", "(?, ?)", kept)
        told = [part for name, outcome in new.items() for part in (name, at_ns, pack(outcome))]
        self._among("INSERT OR REPLACE INTO operations VALUES ", "(?, ?, ?)", told)
        self._groups += 1
        if self._groups % PRUNE_EVERY == 1:
            self._writing.execute("DELETE FROM operations WHERE at_ns < ?", (at_ns - OPERATION_LIFE_NS,))

    def _among(self, query: str, row: str, values: list[Any]) -> list[tuple[Any, Any]]:
        """Run a query that ends in a list of rows of placeholders, as few times and in as few shapes as can be.

        Rows are padded to a power of two with the last one, which says nothing new, so that statements stay prepared.
        """
        rows: list[tuple[Any, Any]] = []
        width = row.count("?")
        for start in range(0, len(values), ROWS * width):
            part = values[start : start + ROWS * width]
            count = len(part) // width
            padded = 1 << (count - 1).bit_length()
            part += part[-width:] * (padded - count)
            rows += self._writing.execute(_statement(query, row, padded), part).fetchall()
        return rows


@cache
def _statement(query: str, row: str, count: int) -> str:
    places = ", ".join([row] * count)
    return query + (places if row != "?" else f"({places})")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # The first switch of a new file ignores the busy timeout.
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
    connection.execute("PRAGMA synchronous = FULL")
    return connection
