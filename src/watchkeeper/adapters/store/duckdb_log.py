"""The embedded Log: one DuckDB file, written by one thread and read by others.

How a batch goes in: rows and watermark are committed in one transaction, so that after a crash a batch is either
wholly in or wholly to come again. Many rows are handed over column by column (`duckdb_columns`), a few through DuckDB's
appender; neither needs pyarrow or pandas.
Attributes are one JSON text per row, compressed with Zstandard in the file.

How a key stays unique without an index over all rows: see `duckdb_keys`.

DuckDB gives a database up when a checkpoint fails, on a full disk for example. The file is then opened anew; what was
committed is in its write-ahead log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from watchkeeper.adapters.store.answers import already_in, packed_rows
from watchkeeper.adapters.store.attribute_slots import TABLE as SLOT_TABLE
from watchkeeper.adapters.store.attribute_slots import AttributeSlots, as_map
from watchkeeper.adapters.store.compile import Dialect, compile_select
from watchkeeper.adapters.store.duckdb_columns import FROM_ROWS, insert_columns
from watchkeeper.adapters.store.duckdb_file import ROW_GROUP_ROWS, explained, open_file, unopened
from watchkeeper.adapters.store.duckdb_keys import StoredKeys
from watchkeeper.adapters.store.duckdb_reader import Reader
from watchkeeper.adapters.store.duckdb_removal import (
    PLACES_AT_ONCE,
    Copy,
    Gone,
    delete_older,
    delete_places,
    keys_in_parts,
    places_query,
)
from watchkeeper.adapters.store.errors import StoreClosed, StoreError
from watchkeeper.adapters.store.plan import check_keys
from watchkeeper.adapters.store.restated_keys import RestatedKeys
from watchkeeper.adapters.store.rows import UNIQUE, by_table, packed_row, storable
from watchkeeper.adapters.store.worker import Worker
from watchkeeper.kinds.ports import Appended, Batch, Watermark
from watchkeeper.queries.select import Rows, Select, Table

IDLE_CHECKPOINT_ROWS = 1000
READERS = 2
VACUUM_TASKS = 100
_log = logging.getLogger("watchkeeper.index")

T = TypeVar("T")
_Row = list[object]


class DuckDBLog:
    """The Log in a DuckDB file. Made by `open`; one process at a time may hold the file."""

    def __init__(self, path: Path, memory_limit_mb: int, threads: int) -> None:
        """Open or make the index file; see `open`."""
        self._path = path
        self._connect: Callable[[], Any] = partial(open_file, path, memory_limit_mb, threads)
        self._connection = connection = self._connect()
        self._broken = False
        self._appenders: dict[Table, Any] = {}
        try:
            self._watermarks: dict[str, Watermark] = _read_watermarks(connection)
            self._slots = AttributeSlots.read(connection)
            self._restated = RestatedKeys(connection)
        except _database_errors() as error:
            connection.close()
            raise unopened(error, path) from error
        self._keys = StoredKeys()
        self._fresh_rows = self._dead_rows = 0
        self._replaced: list[Gone] = []
        self._copy: Copy | None = None
        self._upkeep = asyncio.Lock()
        self._closed = False
        self._writer = Worker("log-writer", idle=self._rest)
        self._upkeeper = Worker("log-upkeep")
        self._readers = [Reader(connection) for _ in range(READERS)]

    @classmethod
    def open(cls, path: Path, memory_limit_mb: int = 256, threads: int = 2) -> DuckDBLog:
        """Open or make the index file; raises `IndexBusy` or `IndexUnreadable`, which say what to do."""
        return cls(path, memory_limit_mb, threads)

    async def append(self, batch: Batch) -> Appended:
        """Index a batch; one at or below its writer's watermark changes nothing."""
        return await self._on(self._writer, lambda: self._append(batch))

    async def select(self, query: Select) -> Rows:
        """Answer one query; raises `SelectError` when it does not fit the tables."""
        compiled = compile_select(query, Dialect(self._slots, self._restated.complete))
        rows = await self._read(compiled.sql, compiled.parameters)
        columns = tuple(compiled.columns)
        if not query.columns:
            decoded = self._with_maps(compiled.columns, rows)
            return packed_rows(query.table, (dict(zip(columns, row, strict=True)) for row in decoded))
        return Rows(columns=columns, rows=tuple(self._with_maps(compiled.columns, rows)))

    async def watermarks(self) -> Mapping[str, Watermark]:
        """How far each writer has been indexed."""
        return await self._on(self._writer, lambda: dict(self._watermarks))

    async def remove(self, table: Table, *, before_ns: int | None = None, keys: Sequence[tuple[str, ...]] = ()) -> int:
        """Take rows out: those before a moment, and all revisions of some keys; returns how many.

        Goes in steps between which appends have their turn; questions are not held up.
        """
        check_keys(table, keys)
        removed = 0
        async with self._upkeep:
            if before_ns is not None:
                while (some := await self._on(self._writer, partial(self._older, table, before_ns))) is not None:
                    removed += some
            for part in keys_in_parts(keys):
                removed += await self._remove_keys(table, part)
        return removed

    async def compact(self) -> None:
        """Copy what is left into a fresh file that takes this one's place; see `duckdb_removal`.

        Raises `StoreError` when there is no room; the index is then as it was.
        """
        async with self._upkeep:
            self._copy = copy = await self._on(self._writer, lambda: Copy(self._connection, self._path))
            try:
                await self._on(self._upkeeper, copy.begin)
                more = True
                while more:
                    more = await self._on(self._upkeeper, copy.chunk)
                await self._on(self._writer, lambda: self._swap(copy))
            finally:
                if not self._closed:  # else `close` takes it away
                    self._copy = None
                    await self._on(self._writer, lambda: copy.abandon(_database_errors()))

    async def checkpoint(self) -> None:
        """Write everything into the file proper, and empty the write-ahead log."""
        await self._on(self._writer, self._write_out)

    async def close(self) -> None:
        """Finish what was asked, write the file and release it."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._close)

    async def _read(self, sql: str, parameters: list[object]) -> list[tuple[object, ...]]:
        reader = min(self._readers, key=lambda each: each.waiting)
        reader.waiting += 1
        try:
            while True:
                pauses = reader.pauses
                try:
                    return await self._on(reader.worker, lambda: reader.read(sql, parameters))
                except _interrupted():
                    if self._closed or reader.pauses == pauses:
                        raise
        finally:
            reader.waiting -= 1

    def _with_maps(self, columns: Mapping[str, str], rows: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
        """The same rows with map columns read into dictionaries."""
        places = [i for i, kind in enumerate(columns.values()) if kind == "map"]
        if not places:
            return rows
        names = self._slots.names()
        decoded = []
        for row in rows:
            values = list(row)
            for i in places:
                values[i] = as_map(names, values[i])
            decoded.append(tuple(values))
        return decoded

    async def _remove_keys(self, table: Table, keys: Sequence[tuple[str, ...]]) -> int:
        """Look for rows on a reader's thread and delete them on the writer's, until none are found."""
        wanted, removed = set(keys), 0
        sql, parameters = places_query(table, wanted)
        while found := _places(await self._read(sql, parameters), wanted):
            for start in range(0, len(found), PLACES_AT_ONCE):
                places = found[start : start + PLACES_AT_ONCE]
                removed += await self._on(self._writer, partial(self._at_places, table, places, keys))
        return removed

    async def _on(self, worker: Worker, call: Callable[[], T]) -> T:
        if self._closed:
            raise StoreClosed("The Log was closed; open it again.")
        try:
            return await asyncio.wrap_future(worker.submit(call))
        except _database_errors() as error:
            problem = explained(error, self._path)
            if problem is error:
                raise
            raise problem from error

    def _close(self) -> None:
        if self._copy is not None:
            self._copy.stop()
        self._upkeeper.close()
        for reader in self._readers:
            reader.close()
        self._writer.close()
        self._appenders.clear()
        if self._copy is not None:
            self._copy.abandon(_database_errors())
        self._checkpoint()
        self._connection.close()

    def _append(self, batch: Batch) -> Appended:
        if self._broken:
            self._reopen()
        mark = batch.watermark
        if mark is not None and already_in(mark, self._watermarks.get(mark.writer)):
            return Appended(written={})
        rows = {table: [packed_row(r) for r in records] for table, records in by_table(batch.records).items()}
        try:
            appended = self._write(rows, mark)
        except _unstorable():
            # A value that the database refuses must not hold up a journal for ever.
            clean = {table: [storable(row) for row in each] for table, each in rows.items()}
            if clean == rows:
                raise
            appended = self._write(clean, mark)
        if mark is not None:
            self._watermarks[mark.writer] = mark
        self._fresh_rows += sum(appended.written.values())
        if self._fresh_rows >= ROW_GROUP_ROWS:
            self._checkpoint()
        return appended

    def _write(self, rows: dict[Table, list[_Row]], mark: Watermark | None) -> Appended:
        written: dict[str, int] = {}
        duplicates = 0
        self._replaced = []
        self._connection.execute("BEGIN")
        try:
            for table, each in rows.items():
                keys = UNIQUE.get(table)
                if keys is not None:
                    each, repeated, gone = self._keys.settle(self._connection, table, keys, each)
                    duplicates += repeated
                    self._replaced += gone
                    self._dead_rows += sum(len(rows_gone.keys) for rows_gone in gone)
                if each:
                    self._restated.write(self._connection, table, each)
                    self._insert(table, self._slots.with_columns(each) if table == SLOT_TABLE else each)
                    written[table] = len(each)
            self._slots.write(self._connection)
            if mark is not None:
                self._connection.execute("DELETE FROM watermarks WHERE writer = $1", [mark.writer])
                self._connection.execute(
                    "INSERT INTO watermarks VALUES ($1, $2, $3, $4)", [mark.writer, mark.segment, mark.offset, mark.seq]
                )
            self._connection.execute("COMMIT")
            if self._copy is not None:
                self._copy.replaced(self._replaced)
        except BaseException as error:
            self._appenders.clear()
            self._broken = "invalidated" in str(error)
            with contextlib.suppress(*_database_errors()):  # a commit that fails has ended the transaction already
                self._connection.execute("ROLLBACK")
            with contextlib.suppress(*_database_errors()):  # a database that was given up is opened anew
                self._slots = AttributeSlots.read(self._connection)
            raise
        return Appended(written=written, duplicates=duplicates)

    def _insert(self, table: Table, rows: list[_Row]) -> None:
        if len(rows) >= FROM_ROWS and insert_columns(self._connection, table, rows):
            return
        appender = self._appenders.get(table)
        if appender is None:
            appender = self._appenders[table] = self._connection.appender(table)
        try:
            appender.append_rows(rows)
            appender.flush()
        except BaseException:
            appender.clear()
            raise

    def _older(self, table: Table, before_ns: int) -> int | None:
        """One step. Whole row groups go back to the file with the next checkpoint; there is nothing to tidy up."""
        return self._mend(lambda: delete_older(self._connection, table, before_ns))

    def _at_places(self, table: Table, places: Sequence[int], keys: Sequence[tuple[str, ...]]) -> int:
        removed = self._mend(lambda: delete_places(self._connection, table, places, keys))
        self._dead_rows += removed
        return removed

    def _mend(self, change: Callable[[], T]) -> T:
        """Change the file, after opening it anew where the database has given it up."""
        if self._broken:
            self._reopen()
        try:
            return change()
        except _database_errors() as error:
            self._broken = "invalidated" in str(error)
            raise

    def _swap(self, copy: Copy) -> None:
        """Finish a copy and put it in the file's place; questions that came meanwhile wait, and are then answered."""
        copy.finish()
        self._write_out()
        for reader in self._readers:
            reader.pause()
        try:
            self._appenders.clear()
            self._connection.close()
            copy.install()
        finally:
            try:
                self._connection = self._connect()
            except StoreError:
                self._broken = True
                raise
            finally:
                for reader in self._readers:
                    reader.go_on(None if self._broken else self._connection)
        self._dead_rows = 0

    def _write_out(self) -> None:
        """Write fresh rows into the file proper.

        DuckDB's tidying up of deleted rows reads and writes whole old row groups, so it has to be worth it.
        """
        if self._broken:
            self._reopen()
        tidy = self._dead_rows >= ROW_GROUP_ROWS and self._copy is None
        try:
            self._connection.execute(f"SET max_vacuum_tasks = {VACUUM_TASKS if tidy else 0}")
            self._connection.execute("CHECKPOINT log")
            self._connection.execute("SET max_vacuum_tasks = 0")
        except _database_errors():
            self._broken = True
            with contextlib.suppress(*_database_errors(), StoreError):  # for those who read; else with the next batch
                self._reopen()
            raise
        self._fresh_rows = 0
        self._dead_rows = 0 if tidy else self._dead_rows

    def _checkpoint(self) -> None:
        """The same where nobody waits for it: a failure is logged, and the rows stay in the write-ahead log."""
        try:
            self._write_out()
        except _database_errors() as error:
            _log.error("the index could not be written out; its write-ahead log is kept: %s", error)
        except StoreError as error:
            _log.error("the index could not be opened anew yet: %s", error)

    def _rest(self) -> None:
        """After a pause: give the memory of uncompressed rows back, unless there are only a few."""
        if self._fresh_rows >= IDLE_CHECKPOINT_ROWS:
            self._checkpoint()

    def _reopen(self) -> None:
        """Open the file anew after DuckDB gave it up; raises `StoreError` while that does not work."""
        self._appenders.clear()
        if self._copy is not None:
            self._copy.stop()
            self._copy.abandon(_database_errors())
        for reader in self._readers:
            reader.leave()
        with contextlib.suppress(*_database_errors()):
            self._connection.close()
        self._connection = self._connect()
        self._watermarks = _read_watermarks(self._connection)
        self._slots = AttributeSlots.read(self._connection)
        self._restated = RestatedKeys(self._connection)
        self._keys = StoredKeys()
        for reader in self._readers:
            reader.enter(self._connection)
        self._broken = False
        _log.warning("the index was opened anew after a failure of the database")


def _database_errors() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.Error,)


def _interrupted() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.InterruptException,)


def _unstorable() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.ConversionException, duckdb.InvalidInputException, UnicodeEncodeError, OverflowError)


def _places(rows: list[tuple[Any, ...]], wanted: Set[tuple[str, ...]]) -> list[int]:
    return sorted(place for place, *key in rows if tuple(key) in wanted)


def _read_watermarks(connection: Any) -> dict[str, Watermark]:
    rows = connection.execute('SELECT writer, segment, "offset", seq FROM watermarks').fetchall()
    return {row[0]: Watermark(writer=row[0], segment=row[1], offset=row[2], seq=row[3]) for row in rows}
