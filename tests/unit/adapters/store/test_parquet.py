"""A Parquet file and what it is gathered in are for its owner's eyes alone."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import duckdb

from watchkeeper.adapters.store.parquet import ADDED, COLUMNS, ParquetFile


def mode(path: Path) -> int:
    """The permission bits of a file or folder."""
    return stat.S_IMODE(path.stat().st_mode)


def test_nobody_else_can_read_what_is_gathered_or_written(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        path = tmp_path / "it's.parquet"
        made = ParquetFile(path)
        names = (*COLUMNS, *ADDED)
        made.add([["quiet secret" if name == "messages_input" else None for name in names]])
        assert [(each.is_dir(), mode(each)) for each in tmp_path.iterdir()] == [(True, 0o700)]
        made.finish()
    finally:
        os.umask(before)
    assert ([each.name for each in tmp_path.iterdir()], mode(path)) == ([path.name], 0o600)
    quoted = str(path).replace("'", "''")
    assert duckdb.sql(f"SELECT messages_input FROM '{quoted}'").fetchall() == [("quiet secret",)]


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    made = ParquetFile(tmp_path / "a.parquet")
    made.add([[None] * len((*COLUMNS, *ADDED))])
    made.abandon()
    assert list(tmp_path.iterdir()) == []
