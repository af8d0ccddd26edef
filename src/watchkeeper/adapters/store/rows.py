"""What of a record goes into the index: its row, with the attributes that are worth searching, as text."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from operator import itemgetter

import msgspec

from watchkeeper.queries.select import Table
from watchkeeper.queries.tables import SHAPES, TABLE_OF, row_of
from watchkeeper.records.record import Record

MAX_ATTRIBUTES = 48
MAX_ATTRIBUTE_CHARACTERS = 256

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

_encode = msgspec.json.Encoder().encode
_maps: Mapping[Table, tuple[int, ...]] = {
    table: tuple(i for i, field in enumerate(shape.fields) if field.type == "map") for table, shape in SHAPES.items()
}


def as_text(value: object) -> str | None:
    """A scalar as map text: text as it is, true and false, numbers as Python writes them; None for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, (int, float, str)) else None


def indexed(attributes: Mapping[str, object]) -> dict[str, str]:
    """The entries of a map that are indexed: scalars of at most 256 characters, the first 48 of them, as text.

    The whole map stays in the journal; what is left out here can be read there, and not searched.
    """
    kept: dict[str, str] = {}
    for key, value in attributes.items():
        text = value if isinstance(value, str) else as_text(value)
        if text is not None and len(text) <= MAX_ATTRIBUTE_CHARACTERS:
            kept[key] = text
    return kept if len(kept) <= MAX_ATTRIBUTES else dict(islice(kept.items(), MAX_ATTRIBUTES))


def index_row(record: Record) -> list[object]:
    """The row of a record as values of the Log, in the order of its shape's fields; maps are dictionaries of text."""
    row = list(row_of(record))
    for i in _maps[TABLE_OF[type(record)]]:
        row[i] = indexed(row[i])  # type: ignore[arg-type]
    return row


def packed_row(record: Record) -> list[object]:
    """The same row with maps as JSON text, as a database takes it; of a span they stay, and are split into columns."""
    row = list(row_of(record))
    table = TABLE_OF[type(record)]
    for i in _maps[table]:
        kept = indexed(row[i]) if row[i] else None  # type: ignore[arg-type]
        row[i] = kept if table == "spans" or not kept else _encode(kept).decode()
    return row


def storable(row: list[object]) -> list[object]:
    """A row that every database takes: integers clamped to 64 bits, lone surrogates replaced."""
    return [_storable(value) for value in row]


def _storable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_storable(key): _storable(text) for key, text in value.items()}
    if isinstance(value, int) and not isinstance(value, bool):
        return min(max(value, INT64_MIN), INT64_MAX)
    return value


def by_table(records: tuple[Record, ...]) -> dict[Table, list[Record]]:
    """Records by the table that holds them; raises `TypeError` for a value that has none."""
    found: dict[Table, list[Record]] = {}
    for record in records:
        table = TABLE_OF.get(type(record))
        if table is None:
            known = ", ".join(sorted(kind.__name__ for kind in TABLE_OF))
            raise TypeError(f"The Log has no table for a {type(record).__name__}; it keeps {known}.")
        found.setdefault(table, []).append(record)
    return found


class Keys:
    """Where the key, the revision and the clock of a unique table lie in its rows."""

    def __init__(self, table: Table) -> None:
        shape = SHAPES[table]
        names = shape.names()
        places = [names.index(name) for name in shape.key]
        pick = itemgetter(*places)
        self.names = shape.key
        self.revision_name = shape.revision
        self.clock_name = shape.clock
        self.key = pick if len(places) > 1 else (lambda row: (pick(row),))
        self._revision = None if shape.revision is None else names.index(shape.revision)
        self._clock = names.index(shape.clock)

    def revision(self, row: list[object]) -> int:
        """The revision of a row; 0 in tables that have none, so that the first row of a key stands."""
        value = None if self._revision is None else row[self._revision]
        return value if isinstance(value, int) else 0

    def clock(self, row: list[object]) -> int:
        """The time of a row."""
        value = row[self._clock]
        return value if isinstance(value, int) else 0

    def newest(self, rows: list[list[object]]) -> tuple[dict[tuple[object, ...], list[object]], int]:
        """The highest revision of each key within a batch, and how many rows repeated an equal revision."""
        best: dict[tuple[object, ...], list[object]] = {}
        repeated = 0
        for row in rows:
            key = self.key(row)
            held = best.get(key)
            if held is None or self.revision(row) > self.revision(held):
                best[key] = row
            elif self.revision(row) == self.revision(held):
                repeated += 1
        return best, repeated


UNIQUE: Mapping[Table, Keys] = {table: Keys(table) for table, shape in SHAPES.items() if shape.unique}
