"""The Cells of a house are the embedded file unless the settings name a database."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.adapters.store.sqlite_cells import SQLiteCells
from watchkeeper.compose.cells import cells_of
from watchkeeper.config import Config, ConfigError, Server, load
from watchkeeper.engines.recorder.home import Home
from watchkeeper.kinds.ports import Add

pytestmark = pytest.mark.anyio


def config(cells: str) -> Config:
    return Config(server=msgspec.structs.replace(Server(), cells=cells))


async def test_the_file_is_the_default(tmp_path: Path) -> None:
    cells = cells_of(Config(), Home(tmp_path / "data"))
    assert isinstance(cells, SQLiteCells)
    await cells.close()


async def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="WK_LEDGER, which is not set"):
        cells_of(config("env:WK_LEDGER"), Home(tmp_path / "data"), {})


async def test_a_database_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be reached"):
        cells_of(config("env:WK_LEDGER"), Home(tmp_path / "data"), {"WK_LEDGER": f"host={tmp_path} dbname=x"})


def test_an_address_in_the_settings_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "watchkeeper.toml"
    file.write_text('[server]\ncells = "postgresql://ada:secret@db/ledger"\n')
    with pytest.raises(ConfigError, match=r"server\.cells") as told:
        load(file)
    assert "env:NAME" in str(told.value)


async def test_two_houses_on_one_machine_share_a_file(tmp_path: Path) -> None:
    environment = {"SHARED": f"sqlite:{tmp_path / 'shared.sqlite'}"}
    one, two = (cells_of(config("env:SHARED"), Home(tmp_path / name), environment) for name in ("one", "two"))
    await one.apply([Add(key="meter", delta=3)])
    assert await two.get("meter") == 3
    await one.close()
    await two.close()
