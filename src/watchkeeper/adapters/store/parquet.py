"""Writes rows of spans into a Parquet file, gathered in a DuckDB file beside it to bound memory; reads rows too."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from watchkeeper.queries.tables import SHAPES, FieldType

_TYPES: dict[FieldType, str] = {
    "text": "VARCHAR", "int": "BIGINT", "real": "DOUBLE", "bool": "BOOLEAN", "map": "VARCHAR", "json": "VARCHAR",
}  # fmt: skip
MEMORY_MB = 128
ADDED = ("messages_input", "messages_output", "erased")
"""Columns beside those of the index: the messages as JSON, and what of the span was erased."""
_PLACES = ("origin_writer", "origin_segment", "origin_offset", "origin_item")
COLUMNS: tuple[str, ...] = tuple(field.name for field in SHAPES["spans"].fields if field.name not in _PLACES)


class ParquetFile:
    """A Parquet file in the making. `add` rows, then `finish`; `abandon` takes away what was made."""

    def __init__(self, path: Path) -> None:
        import duckdb

        self._path = path
        # What is gathered, its log and what spills hold messages: they lie in a folder that nobody else can enter.
        self._folder = path.with_name(path.name + ".gathered")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)
        self._connection: Any = duckdb.connect(
            str(self._folder / "spans.duckdb"),
            config={
                "threads": "1",
                "memory_limit": f"{MEMORY_MB}MB",
                "autoinstall_known_extensions": "false",
                "temp_directory": str(self._folder / "spill"),
            },
        )
        types = {field.name: _TYPES[field.type] for field in SHAPES["spans"].fields}
        columns = [f'"{name}" {types[name]}' for name in COLUMNS] + [f'"{name}" VARCHAR' for name in ADDED]
        self._connection.execute(f"CREATE TABLE spans ({', '.join(columns)})")

    def add(self, rows: Sequence[Sequence[object]]) -> None:
        """Gather some rows, whose values stand in the order of `COLUMNS` and `ADDED`."""
        appender = self._connection.appender("spans")
        appender.append_rows(rows)
        appender.flush()

    def finish(self) -> None:
        """Write the file, mode 0600."""
        whole = self._folder / "whole.parquet"
        place = str(whole).replace("'", "''")
        self._connection.execute(f"COPY spans TO '{place}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 30720)")
        whole.chmod(0o600)
        whole.replace(self._path)
        self.abandon()

    def abandon(self) -> None:
        """Let go of everything but the finished file."""
        self._connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of anybody's Parquet file, each by column; raises `OSError` for one that cannot be read."""
    import duckdb

    if not path.exists():
        raise FileNotFoundError(2, "there is no such file", str(path))
    connection: Any = duckdb.connect(":memory:", config={"autoinstall_known_extensions": "false"})
    try:
        found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise OSError(f"no Parquet file that can be read: {str(error).splitlines()[0]}") from error
    finally:
        connection.close()
