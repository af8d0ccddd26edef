"""A reader answers while it may, lets go when it is told to, and goes on where it is told to."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.adapters.store.duckdb_file import open_file
from watchkeeper.adapters.store.duckdb_reader import Reader
from watchkeeper.adapters.store.errors import StoreError


def test_a_pause_holds_questions_back_until_it_goes_on(tmp_path: Path) -> None:
    connection = open_file(tmp_path / "log.duckdb", 128, 1)
    reader = Reader(connection)
    assert reader.read("SELECT 1", []) == [(1,)]
    reader.pause()
    asked = reader.worker.submit(lambda: reader.read("SELECT 2", []))
    assert not asked.done()
    connection.close()
    connection = open_file(tmp_path / "log.duckdb", 128, 1)
    reader.go_on(connection)
    assert asked.result(timeout=10) == [(2,)]
    reader.close()
    connection.close()


def test_without_a_connection_it_says_so(tmp_path: Path) -> None:
    connection = open_file(tmp_path / "log.duckdb", 128, 1)
    reader = Reader(connection)
    reader.pause()
    connection.close()
    reader.go_on(None)
    with pytest.raises(StoreError, match="opened again"):
        reader.worker.submit(lambda: reader.read("SELECT 1", [])).result(timeout=10)
    reader.close()
