"""Keeps the keys of DuckDB's unique tables unique: tells new rows from those that came before, without an index.

The keys in the file are remembered in a filter (`KnownKeys`), read from it by the first batch. A key that is not in it
is new. The few others are compared, within the transaction, with the stored rows whose clock lies within theirs, and
those not found there with the rows within a day (`NEAR_NS`); DuckDB skips row groups outside a range by their minima
and maxima. A row that comes again has the same clock, whenever it comes and after however many restarts, so it is
always found.

Limits: the same key with a clock more than a day away counts as another row. Of a file with more than half of
`CAPACITY` rows the keys of the last two days are read at the start; keys are forgotten two days after they came, so
memory grows with what comes in two days: four MiB for a million keys.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

from watchkeeper.adapters.store.duckdb_removal import Gone
from watchkeeper.adapters.store.known_keys import CAPACITY, KnownKeys
from watchkeeper.adapters.store.rows import Keys
from watchkeeper.queries.select import Table

NEAR_NS = 24 * 3600 * 1_000_000_000
KEPT_NS = 2 * NEAR_NS
_BEGINNING_NS = -(1 << 63)
_AT_ONCE = 10_000

_Row = list[object]
_Key = tuple[object, ...]


class Settled(NamedTuple):
    """The rows of a batch that are to be inserted, how many were there already, and the older revisions deleted."""

    rows: list[_Row]
    duplicates: int
    gone: list[Gone]


class _Known:
    """The keys of a table whose clock is at or after `since_ns`."""

    def __init__(self, keys: KnownKeys, since_ns: int) -> None:
        self.keys, self.since_ns = keys, since_ns


class StoredKeys:
    """What is known of the keys in a file; made anew when the file is opened anew."""

    def __init__(self) -> None:
        self._known: dict[Table, _Known] = {}

    def settle(self, connection: Any, table: Table, keys: Keys, rows: list[_Row]) -> Settled:
        """What of a batch is to be inserted; older revisions of its rows are deleted within the transaction."""
        newest, duplicates = keys.newest(rows)
        perhaps = self._perhaps_stored(connection, table, keys, newest)
        gone: list[Gone] = []
        for margin_ns in (0, NEAR_NS):
            if perhaps:
                seen, repeated, replaced = _compare(connection, table, keys, perhaps, newest, margin_ns)
                duplicates += repeated
                gone += replaced
                perhaps = {key: row for key, row in perhaps.items() if key not in seen}
        return Settled(list(newest.values()), duplicates, gone)

    def _perhaps_stored(self, connection: Any, table: Table, keys: Keys, newest: dict[_Key, _Row]) -> dict[_Key, _Row]:
        """Those rows of a batch whose key may be in the table already; the rest certainly are not."""
        known = self._known.get(table)
        if known is None:
            known = self._known[table] = _remember(connection, table, keys)
        perhaps = {key: newest[key] for key in known.keys.sift(newest)}
        now_ns = time.time_ns()
        if newest:
            known.keys.note(max(now_ns, *map(keys.clock, newest.values())))
        if (forgotten_ns := known.keys.forget(now_ns - KEPT_NS)) is not None:
            known.since_ns = max(known.since_ns, forgotten_ns + 1)
        if known.since_ns > _BEGINNING_NS:
            perhaps |= {key: row for key, row in newest.items() if keys.clock(row) - NEAR_NS < known.since_ns}
        return perhaps


def _remember(connection: Any, table: Table, keys: Keys) -> _Known:
    """Read the keys of a table: all of them, or those of the last two days where they are too many."""
    columns = ", ".join(f'"{name}"' for name in keys.names)
    rows, latest_ns = connection.execute(f'SELECT count(*), max("{keys.clock_name}") FROM "{table}"').fetchone()
    now_ns = time.time_ns()
    since_ns = _BEGINNING_NS if rows <= CAPACITY // 2 else now_ns - KEPT_NS
    connection.execute(f'SELECT {columns} FROM "{table}" WHERE "{keys.clock_name}" >= $1', [since_ns])
    known = KnownKeys()
    while some := connection.fetchmany(_AT_ONCE):
        known.sift(some)
        known.note(max(now_ns, latest_ns))
    return _Known(known, since_ns)


def _compare(
    connection: Any, table: Table, keys: Keys, perhaps: dict[_Key, _Row], newest: dict[_Key, _Row], margin_ns: int
) -> tuple[set[_Key], int, list[Gone]]:
    """Look some keys up in the table, so far around their clocks: those found, how many repeated, what was deleted.

    What is stored with at least its revision is taken out of `newest`; what is stored with a lower one is deleted.
    """
    clocks = [keys.clock(row) for row in perhaps.values()]
    low, high = min(clocks) - margin_ns, max(clocks) + margin_ns
    columns = ", ".join(f'"{name}"' for name in keys.names)
    revision = f'"{keys.revision_name}"' if keys.revision_name else "0"
    found = connection.execute(
        f'SELECT rowid, {revision}, {columns} FROM "{table}" WHERE "{keys.clock_name}" BETWEEN $1 AND $2 '
        f'AND "{keys.names[-1]}" IN (SELECT unnest($3::VARCHAR[]))',
        [low, high, [key[-1] for key in perhaps]],
    ).fetchall()
    seen, places, gone, repeated = set(), [], [], 0
    for place, stored, *rest in found:
        key = tuple(rest)
        row = perhaps.get(key)
        if row is None:
            continue
        seen.add(key)
        given = keys.revision(row)
        if given > (stored or 0):
            places.append(place)
            gone.append((key, stored or 0))
        elif newest.pop(key, None) is not None:
            repeated += given == (stored or 0)
    if not places:
        return seen, repeated, []
    connection.execute(
        f'DELETE FROM "{table}" WHERE "{keys.clock_name}" BETWEEN $1 AND $2 AND rowid IN (SELECT unnest($3::BIGINT[]))',
        [low, high, places],
    )
    return seen, repeated, [Gone(table, [key for key, _ in gone], [number for _, number in gone], low, high)]
