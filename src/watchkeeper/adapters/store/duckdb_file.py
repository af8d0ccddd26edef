"""Opens the index file: DuckDB with its tables, bounded memory, and no way to the network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from watchkeeper.adapters.store.attribute_slots import DIRECTORY_SQL, SLOT_COLUMNS
from watchkeeper.adapters.store.attribute_slots import TABLE as SLOT_TABLE
from watchkeeper.adapters.store.errors import IndexBusy, IndexOutdated, IndexUnreadable, StoreError
from watchkeeper.adapters.store.restated_keys import TABLE_SQL as RESTATED_SQL
from watchkeeper.queries.tables import SHAPES, FieldType, Shape
from watchkeeper.records.ids import digest

ROW_GROUP_ROWS = 30_720
"""Rows that are compressed together. A checkpoint rewrites the last, partly filled group, so a smaller group
costs less to append to; at a quarter of DuckDB's default, files are about 5% larger."""

_TYPES: dict[FieldType, str] = {
    "text": "VARCHAR",
    "int": "BIGINT",
    "real": "DOUBLE",
    "bool": "BOOLEAN",
    "map": "VARCHAR USING COMPRESSION zstd",
    "json": "VARCHAR",
}
_ENDINGS = ("", ".wal", ".wal.checkpoint", ".wal.recovery")
_LONG_TEXT = {("spans", "preview"), ("cases", "messages"), ("incidents", "timeline")}

REBUILD = (
    "Stop the server and run `watchkeeper rebuild`: it makes the index again from the journal, and no record is lost."
)


def open_file(path: Path, memory_limit_mb: int, threads: int) -> Any:
    """A connection with the index attached as `log` and in use, tables made where missing.

    Raises `IndexBusy` when another process holds the file, `IndexUnreadable` when it is damaged or was made by
    another version.
    """
    import duckdb

    path.parent.mkdir(parents=True, exist_ok=True)
    remove_file(copy_path(path))
    shutil.rmtree(path.parent / "spill", ignore_errors=True)
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": str(threads),
            "memory_limit": f"{memory_limit_mb}MB",
            "temp_directory": str(path.parent / "spill"),
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "preserve_insertion_order": "false",
            "python_enable_replacements": "false",
            # The last hundred of many rows are found by the columns that decide; the others are read for those alone.
            "late_materialization_max_rows": "10000",
            # Row numbers move when deleted rows are tidied up; the Log says when that may happen.
            "max_vacuum_tasks": "0",
            # Without it, some 150 MiB stay with the allocator after a burst.
            "allocator_background_threads": "true",
        },
    )
    try:
        place = str(path).replace("'", "''")
        connection.execute(f"ATTACH '{place}' AS log (ROW_GROUP_SIZE {ROW_GROUP_ROWS})")
        connection.execute("USE log")
        # Checkpoints are made by the Log at full row groups; this is the backstop.
        connection.execute("SET checkpoint_threshold = '512MB'")
        connection.execute(f"SET allowed_paths = [{', '.join(_copy_files(path))}]")
        connection.execute("SET enable_external_access = false")
        _prepare(connection, path)
    except duckdb.Error as error:
        connection.close()
        raise unopened(error, path) from error
    except StoreError:
        connection.close()
        raise
    return connection


def remove_file(path: Path) -> None:
    """Take an index file and its write-ahead log away, so that it can be rebuilt."""
    for ending in _ENDINGS:
        path.with_name(path.name + ending).unlink(missing_ok=True)


def copy_path(path: Path) -> Path:
    """Where a compacted copy of an index file grows, until it takes the file's place."""
    return path.with_name(path.name + ".compact")


def _copy_files(path: Path) -> list[str]:
    """The files of a copy, as SQL text; no other file can be opened once the index is in use."""
    copy = str(copy_path(path)).replace("'", "''")
    return [f"'{copy}{ending}'" for ending in _ENDINGS]


def _prepare(connection: Any, path: Path) -> None:
    made = digest("\n".join((*(_table_sql(s) for s in SHAPES.values()), DIRECTORY_SQL, RESTATED_SQL)).encode())
    connection.execute("CREATE TABLE IF NOT EXISTS about (name VARCHAR, value VARCHAR)")
    found = connection.execute("SELECT value FROM about WHERE name = 'tables'").fetchone()
    if found is not None:
        if found[0] != made:
            raise IndexOutdated(f"The index {path} was made for other tables than this version has. {REBUILD}")
        return
    connection.execute("BEGIN")
    make_tables(connection)
    connection.execute("INSERT INTO about VALUES ('tables', $1)", [made])
    connection.execute("COMMIT")


def make_tables(connection: Any, schema: str = "") -> None:
    """Make the empty tables of an index; `schema` is the database they go to, with a dot."""
    for shape in SHAPES.values():
        connection.execute(_table_sql(shape, schema))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {schema}about (name VARCHAR, value VARCHAR)")
    connection.execute(f"CREATE TABLE {schema}{DIRECTORY_SQL}")
    connection.execute(f"CREATE TABLE {schema}{RESTATED_SQL}")
    connection.execute(f'CREATE TABLE {schema}watermarks (writer VARCHAR, segment BIGINT, "offset" BIGINT, seq BIGINT)')


def _table_sql(shape: Shape, schema: str = "") -> str:
    columns = [f'"{field.name}" {_column_type(shape.table, field.name, field.type)}' for field in shape.fields]
    if shape.table == SLOT_TABLE:
        columns += [f"{name} VARCHAR" for name in SLOT_COLUMNS]
    return f'CREATE TABLE {schema}"{shape.table}" ({", ".join(columns)})'


def _column_type(table: str, name: str, kind: FieldType) -> str:
    return _TYPES["map"] if (table, name) in _LONG_TEXT else _TYPES[kind]


def unopened(error: Exception, path: Path) -> StoreError:
    """What to do about an index file that cannot be opened."""
    text = _first_line(error)
    if "lock on file" in text:
        return IndexBusy(f"The index {path} is open in another process ({text}). Stop it, or ask through its server.")
    if isinstance(error, PermissionError) or "ermission" in text:
        return StoreError(f"The index {path} cannot be opened: {text}. Check the owner and mode of its folder.")
    return IndexUnreadable(f"The index {path} cannot be read: {text} {REBUILD}")


def explained(error: Exception, path: Path) -> Exception:
    """What to do about a failure while the index is in use; an error that is not about the file comes back as it is."""
    text = _first_line(error)
    if "invalidated" in text or "Could not write" in text:
        return StoreError(f"The index {path} cannot be written: {text}. Look at the disk; it is tried again by itself.")
    if "checksum" in text or "orrupt" in text:
        return IndexUnreadable(f"The index {path} is damaged: {text} {REBUILD}")
    return error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
