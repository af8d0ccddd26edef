"""A Log in memory: the same answers as the databases, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from watchkeeper.adapters.store.answers import already_in, packed_rows
from watchkeeper.adapters.store.errors import StoreClosed
from watchkeeper.adapters.store.memory_select import Row, answer
from watchkeeper.adapters.store.plan import check, check_keys
from watchkeeper.adapters.store.rows import UNIQUE, by_table, index_row
from watchkeeper.kinds.ports import Appended, Batch, Watermark
from watchkeeper.queries.select import Rows, Select, Table
from watchkeeper.queries.tables import SHAPES
from watchkeeper.records.record import Record


class MemoryLog:
    """Keeps rows in lists. Nothing survives the process; every query reads the whole table."""

    def __init__(self) -> None:
        self._rows: dict[Table, list[Row]] = {table: [] for table in SHAPES}
        self._places: dict[Table, dict[tuple[object, ...], Row]] = {table: {} for table in UNIQUE}
        self._watermarks: dict[str, Watermark] = {}
        self._closed = False

    async def append(self, batch: Batch) -> Appended:
        """Index a batch; one at or below its writer's watermark changes nothing."""
        self._check_open()
        mark = batch.watermark
        if mark is not None and already_in(mark, self._watermarks.get(mark.writer)):
            return Appended(written={})
        written: dict[str, int] = {}
        duplicates = 0
        for table, records in by_table(batch.records).items():
            added, repeated = self._add(table, records)
            duplicates += repeated
            if added:
                written[table] = added
        if mark is not None:
            self._watermarks[mark.writer] = mark
        return Appended(written=written, duplicates=duplicates)

    async def select(self, query: Select) -> Rows:
        """Answer one query; raises `SelectError` when it does not fit the tables."""
        self._check_open()
        outputs = check(query)
        rows = answer(query, self._table)
        if not query.columns:
            return packed_rows(query.table, rows)
        return Rows(columns=tuple(outputs), rows=tuple(tuple(row[name] for name in outputs) for row in rows))

    async def watermarks(self) -> Mapping[str, Watermark]:
        """How far each writer has been indexed."""
        self._check_open()
        return dict(self._watermarks)

    async def remove(self, table: Table, *, before_ns: int | None = None, keys: Sequence[tuple[str, ...]] = ()) -> int:
        """Take rows out: those before a moment, and all revisions of some keys; returns how many."""
        self._check_open()
        shape = SHAPES[table]
        check_keys(table, keys)
        wanted, places, kept = set(keys), self._places.get(table, {}), []
        for row in self._rows[table]:
            key = tuple(row[name] for name in shape.key)
            if (before_ns is not None and row[shape.clock] < before_ns) or key in wanted:
                places.pop(key, None)
            else:
                kept.append(row)
        removed = len(self._rows[table]) - len(kept)
        self._rows[table] = kept
        return removed

    async def compact(self) -> None:
        """Nothing is left of removed rows as it is."""
        self._check_open()

    async def close(self) -> None:
        """Forget everything."""
        self._closed = True
        self._rows = {table: [] for table in SHAPES}

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("The Log was closed; open a new one.")

    def _table(self, table: Table) -> Iterable[Row]:
        return self._rows[table]

    def _add(self, table: Table, records: list[Record]) -> tuple[int, int]:
        names = SHAPES[table].names()
        rows = [index_row(record) for record in records]
        if table not in UNIQUE:
            self._rows[table] += [dict(zip(names, row, strict=True)) for row in rows]
            return len(rows), 0
        keys, places = UNIQUE[table], self._places[table]
        newest, duplicates = keys.newest(rows)
        added = 0
        for key, row in newest.items():
            fresh = dict(zip(names, row, strict=True))
            held = places.get(key)
            if held is None:
                places[key] = fresh
                self._rows[table].append(fresh)
            elif keys.revision(row) > (held[keys.revision_name] if keys.revision_name else 0):
                held.update(fresh)
            else:
                duplicates += keys.revision(row) == (held[keys.revision_name] if keys.revision_name else 0)
                continue
            added += 1
        return added, duplicates
