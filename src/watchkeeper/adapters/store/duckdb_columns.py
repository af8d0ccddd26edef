"""Puts many rows into a DuckDB table column by column, at half the cost of DuckDB's appender.

Measured on simulated GenAI spans, in CPU time: the appender takes 12 microseconds a row of 54 columns, this way 7.
Below `FROM_ROWS` rows the appender is as quick, because this way plans a statement each time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from watchkeeper.adapters.store.arrow_stream import ColumnStream, split
from watchkeeper.adapters.store.attribute_slots import SLOT_COLUMNS
from watchkeeper.adapters.store.attribute_slots import TABLE as SLOT_TABLE
from watchkeeper.queries.select import Table
from watchkeeper.queries.tables import SHAPES, FieldType

FROM_ROWS = 256
_VIEW = "fresh_rows"
_LAYOUTS: dict[Table, tuple[tuple[str, ...], tuple[FieldType, ...]]] = {}


def insert_columns(connection: Any, table: Table, rows: Sequence[Sequence[object]]) -> bool:
    """Insert rows within the transaction under way.

    Returns False, with nothing done, for rows with a value that its column cannot hold as it is.
    """
    names, kinds = _layout(table)
    columns = list(zip(*rows, strict=True))
    varying, constant = split(columns)
    if not varying:
        varying = [0]
        del constant[0]
    sent = [names[place] for place in varying]
    try:
        stream = ColumnStream(sent, [kinds[place] for place in varying], [columns[place] for place in varying])
    except (TypeError, OverflowError, UnicodeEncodeError):
        return False
    told = {place: value for place, value in constant.items() if value is not None}
    numbers = {place: f"${number}" for number, place in enumerate(told, 1)}
    target = ", ".join(f'"{names[place]}"' for place in (*varying, *told))
    source = ", ".join((*(f'"{name}"' for name in sent), *numbers.values()))
    connection.complete()  # a result of which only the first row was fetched would be in the way
    connection.register(_VIEW, stream)
    try:
        connection.execute(f'INSERT INTO "{table}" ({target}) SELECT {source} FROM {_VIEW}', list(told.values()))
    finally:
        with contextlib.suppress(*_database_errors()):  # an error has ended the transaction, and the view with it
            connection.unregister(_VIEW)
    return True


def _layout(table: Table) -> tuple[tuple[str, ...], tuple[FieldType, ...]]:
    """The columns of a table in the file, and what each holds."""
    known = _LAYOUTS.get(table)
    if known is None:
        fields = SHAPES[table].fields
        own = SLOT_COLUMNS if table == SLOT_TABLE else ()
        text: FieldType = "text"
        names = (*(field.name for field in fields), *own)
        known = _LAYOUTS[table] = (names, (*(field.type for field in fields), *(text for _ in own)))
    return known


def _database_errors() -> tuple[type[Exception], ...]:
    import duckdb

    return (duckdb.Error,)
