"""Remembers which keys of a table have more than one revision, so that a question for the latest need not look at all.

Method. Tables that keep every revision (scores, incidents, ...) are mostly asked for the latest one. Few keys are ever
restated. Their names are kept in the file, in the table `restated`, which is written in the transaction that writes the
rows. A key counts as restated when it was perhaps seen before (`KnownKeys`, about one in ten thousand is a mistake):
a key too many costs a little time, and one too few cannot be.

Limits. Of a table with more than `CAPACITY` rows no keys are remembered; a question then groups all rows by key.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from watchkeeper.adapters.store.known_keys import CAPACITY, KnownKeys
from watchkeeper.queries.select import Table
from watchkeeper.queries.tables import SHAPES

TABLE_SQL = "restated (of_table VARCHAR, key VARCHAR)"
REVISED = {
    table: shape.names().index(shape.key[0])
    for table, shape in SHAPES.items()
    if shape.revision is not None and not shape.unique and len(shape.key) == 1
}
"""The tables that keep every revision, and where the key stands in their rows."""


class RestatedKeys:
    """The restated keys of one index file. Changed by its writer only."""

    def __init__(self, connection: Any) -> None:
        """Look how large the tables are; their keys are read when the first rows come."""
        self._known: dict[Table, KnownKeys] = {}
        self._left_out = {table for table in REVISED if _rows(connection, table) > CAPACITY}

    @property
    def complete(self) -> frozenset[Table]:
        """The tables of which every restated key is in the file."""
        return frozenset(REVISED) - self._left_out

    def write(self, connection: Any, table: Table, rows: Iterable[list[Any]]) -> None:
        """Note the keys of new rows, within the transaction that writes the rows and before they are written."""
        place = REVISED.get(table)
        if place is None or table in self._left_out:
            return
        known = self._known.get(table)
        if known is None:
            known = self._known[table] = _read(connection, table)
        if known.count > CAPACITY:
            self._left_out.add(table)
            return
        keys = [row[place] for row in rows]
        once = set(keys)
        again = set(known.sift(once))
        if len(once) < len(keys):
            seen: set[str] = set()
            again |= {key for key in keys if key in seen or seen.add(key)}  # type: ignore[func-returns-value]
        if again:
            connection.execute(
                "INSERT INTO restated SELECT $1, key FROM (SELECT unnest($2::VARCHAR[]) AS key) "
                "WHERE key NOT IN (SELECT key FROM restated WHERE of_table = $1)",
                [table, sorted(again)],
            )


def _rows(connection: Any, table: Table) -> int:
    return int(connection.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0])


def _read(connection: Any, table: Table) -> KnownKeys:
    known = KnownKeys()
    connection.execute(f'SELECT DISTINCT "{SHAPES[table].key[0]}" FROM "{table}"')
    while some := connection.fetchmany(10_000):
        known.sift([row[0] for row in some])
    return known
