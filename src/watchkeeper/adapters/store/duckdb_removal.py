"""Takes rows out of the index file, and makes a fresh file in which no byte of them is left.

Removing. A delete only marks rows, so it is quick: a step takes at most `STEP_ROWS` rows on the writer's thread, and
appends go in between. The next checkpoint gives row groups in which nothing is left back to the file, which later rows
fill again. So a file from which old days are removed stays as large as it was, and stale bytes stay in it.

Compacting. The rows that are left are copied into a second file, some row groups at a time and on a thread of its own,
while the Log goes on: rows that are appended have higher numbers and are copied in their turn, and rows that were
deleted meanwhile are deleted in the copy too. Only the last few thousand rows are copied while appends wait; then the
copy takes the place of the file. A crash before that leaves the old file as it was and a copy that the next opening
removes; a crash after it leaves the copy, which is complete and on disk.

Limits. Row numbers must not move while a copy is made, so deleted rows are not tidied up meanwhile. Until the copy has
taken the file's place, both lie on the disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.adapters.store.duckdb_file import ROW_GROUP_ROWS, copy_path, make_tables, remove_file
from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.adapters.store.restated_keys import REVISED
from watchkeeper.queries.select import Table
from watchkeeper.queries.tables import SHAPES

STEP_ROWS = 2 * ROW_GROUP_ROWS
CHUNK_ROWS = 4 * ROW_GROUP_ROWS
TAIL_ROWS = 8_192
KEYS_AT_ONCE = 20_000
PLACES_AT_ONCE = 4_000
ROOM = 1.1
"""How much of the rows' present size must be free before a copy is begun."""


class Gone(NamedTuple):
    """Rows of one table that were replaced: their keys, their revisions, and bounds of their clock."""

    table: Table
    keys: Sequence[tuple[object, ...]]
    revisions: Sequence[int]
    low_ns: int
    high_ns: int


def delete_older(connection: Any, table: Table, before_ns: int) -> int | None:
    """Delete some of the rows before a moment; returns how many, and None when there are none left."""
    clock = SHAPES[table].clock
    first = connection.execute(f'SELECT min(rowid) FROM "{table}" WHERE "{clock}" < $1', [before_ns]).fetchone()[0]
    if first is None:
        return None
    done = connection.execute(
        f'DELETE FROM "{table}" WHERE "{clock}" < $1 AND rowid >= $2 AND rowid < $3',
        [before_ns, first, first + STEP_ROWS],
    ).fetchone()
    return int(done[0])


def places_query(table: Table, keys: Iterable[tuple[str, ...]]) -> tuple[str, list[object]]:
    """The query for row number and key of the rows that may have one of some keys: those with its last part."""
    names = SHAPES[table].key
    columns = ", ".join(f'"{name}"' for name in names)
    last = [key[-1] for key in keys]
    return f'SELECT rowid, {columns} FROM "{table}" WHERE "{names[-1]}" IN (SELECT unnest($1::VARCHAR[]))', [last]


def delete_places(connection: Any, table: Table, places: Sequence[int], keys: Sequence[tuple[str, ...]]) -> int:
    """Delete rows by their numbers; a row whose number has come to stand for another key is left alone."""
    last = SHAPES[table].key[-1]
    done = connection.execute(
        f'DELETE FROM "{table}" WHERE rowid IN (SELECT unnest($1::BIGINT[])) '
        f'AND "{last}" IN (SELECT unnest($2::VARCHAR[]))',
        [list(places), list({key[-1] for key in keys})],
    ).fetchone()
    return int(done[0])


class Copy:
    """A copy of the index under way. `chunk` runs on a thread of its own, `finish` and `install` on the writer's."""

    def __init__(self, connection: Any, path: Path) -> None:
        self._path, self._fresh = path, copy_path(path)
        self._cursor = connection.cursor()
        self._cursor.execute("USE log")
        self._next: dict[Table, int] = dict.fromkeys(SHAPES, 0)
        self._gone: deque[Gone] = deque()

    def begin(self) -> None:
        """Make the second file; raises `StoreError` when the disk has no room for it."""
        used = self._cursor.execute(
            "SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = 'log'"
        ).fetchone()[0]
        free = shutil.disk_usage(self._path.parent).free
        if free < ROOM * used:
            raise StoreError(
                f"The index {self._path} cannot be compacted: the copy needs about {ROOM * used / 1e6:,.0f} MB, and "
                f"{free / 1e6:,.0f} MB are free. Make room on that disk and try again; nothing was changed."
            )
        remove_file(self._fresh)
        place = str(self._fresh).replace("'", "''")
        self._cursor.execute(f"ATTACH '{place}' AS fresh (ROW_GROUP_SIZE {ROW_GROUP_ROWS})")
        make_tables(self._cursor, "fresh.")

    def replaced(self, gone: Iterable[Gone]) -> None:
        """Take note of rows that the Log has deleted and committed since the copy began."""
        self._gone.extend(gone)

    def stop(self) -> None:
        """Break off what is being copied."""
        self._cursor.interrupt()

    def chunk(self) -> bool:
        """Copy some rows; returns whether there are more than a last few."""
        self._repeat_deletes()
        for table in SHAPES:
            if self._rows_behind(table) > TAIL_ROWS:
                self._copy(table, CHUNK_ROWS)
                return True
        return False

    def finish(self) -> None:
        """Copy what is left, and put the whole copy on disk. Nothing may be appended from here on."""
        for table in SHAPES:
            while self._rows_behind(table) > 0:
                self._copy(table, CHUNK_ROWS)
        self._repeat_deletes()
        for name in ("watermarks", "about", "attribute_keys"):
            self._cursor.execute(f"DELETE FROM fresh.{name}")
            self._cursor.execute(f"INSERT INTO fresh.{name} SELECT * FROM log.{name}")
        self._cursor.execute("DELETE FROM fresh.restated")
        for table in REVISED:
            self._cursor.execute(
                f"INSERT INTO fresh.restated SELECT r.* FROM log.restated r WHERE of_table = $1 AND key IN "
                f'(SELECT "{SHAPES[table].key[0]}" FROM fresh."{table}")',
                [table],
            )
        self._cursor.execute("CHECKPOINT fresh")
        self._cursor.execute("DETACH fresh")
        self._cursor.close()
        with self._fresh.open("rb") as file:
            os.fsync(file.fileno())

    def install(self) -> None:
        """Put the copy in the file's place. Nobody may have the file open."""
        log_of_writes = self._path.with_name(self._path.name + ".wal")
        if log_of_writes.exists() and log_of_writes.stat().st_size:
            raise StoreError(
                f"The index {self._path} was not compacted: its write-ahead log could not be written out. Look at the "
                "disk and try again; nothing was changed."
            )
        log_of_writes.unlink(missing_ok=True)
        self._fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abandon(self, ignoring: tuple[type[Exception], ...]) -> None:
        """Throw away what was copied."""
        with contextlib.suppress(*ignoring):
            self._cursor.execute("DETACH fresh")
        with contextlib.suppress(*ignoring):
            self._cursor.close()
        remove_file(self._fresh)

    def _rows_behind(self, table: Table) -> int:
        last = self._cursor.execute(f'SELECT max(rowid) FROM log."{table}"').fetchone()[0]
        return 0 if last is None else int(last) + 1 - self._next[table]

    def _copy(self, table: Table, rows: int) -> None:
        """Copy the rows with the next numbers, the gap before them left out."""
        source = f'log."{table}"'
        low, last = self._cursor.execute(
            f"SELECT min(rowid), max(rowid) FROM {source} WHERE rowid >= $1", [self._next[table]]
        ).fetchone()
        if low is None:
            return
        # What is appended while this runs may have numbers below `high`; it has to be copied in its turn.
        high = min(low + rows, last + 1)
        self._cursor.execute(
            f'INSERT INTO fresh."{table}" SELECT * FROM {source} WHERE rowid >= $1 AND rowid < $2', [low, high]
        )
        self._next[table] = high

    def _repeat_deletes(self) -> None:
        while self._gone:
            _delete_gone(self._cursor, self._gone.popleft())


def _delete_gone(cursor: Any, gone: Gone) -> None:
    shape = SHAPES[gone.table]
    names = shape.key
    parts = [[key[i] for key in gone.keys] for i in range(len(names))]
    given = ", ".join(f"unnest(${i + 3}::VARCHAR[]) AS k{i}" for i in range(len(names)))
    alike = " AND ".join(f'f."{name}" = g.k{i}' for i, name in enumerate(names))
    revision = f'coalesce(f."{shape.revision}", 0)' if shape.revision else "0"
    cursor.execute(
        f'DELETE FROM fresh."{gone.table}" WHERE rowid IN (SELECT f.rowid FROM fresh."{gone.table}" f '
        f"JOIN (SELECT {given}, unnest(${len(names) + 3}::BIGINT[]) AS revision) g "
        f'ON {alike} AND {revision} = g.revision WHERE f."{shape.clock}" BETWEEN $1 AND $2)',
        [gone.low_ns, gone.high_ns, *parts, list(gone.revisions)],
    )


def keys_in_parts(keys: Sequence[tuple[str, ...]]) -> Iterable[Sequence[tuple[str, ...]]]:
    """Keys in parts that one look at the table serves."""
    for start in range(0, len(keys), KEYS_AT_ONCE):
        yield keys[start : start + KEYS_AT_ONCE]
