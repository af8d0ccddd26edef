"""Opens the Cells of a house: the embedded file, or a database (PostgreSQL, a SQLite file) that several share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from watchkeeper.adapters.store.postgres_cells import PostgresCells
from watchkeeper.adapters.store.sqlite_cells import SQLiteCells
from watchkeeper.config import EMBEDDED, Config, ConfigError
from watchkeeper.engines.recorder.home import Home

_FILE = "sqlite:"


def cells_of(config: Config, home: Home, environ: Mapping[str, str] | None = None) -> SQLiteCells | PostgresCells:
    """The Cells that `[server] cells` names; raises `ConfigError` or `StoreError` with what to do."""
    if config.server.cells == EMBEDDED:
        return SQLiteCells.open(home.cells)
    name = config.server.cells.removeprefix("env:")
    dsn = (os.environ if environ is None else environ).get(name)
    if not dsn:
        raise ConfigError(
            f"{config.file or 'settings'}: `server.cells` reads the environment variable {name}, which is not set. "
            "Put the address of the database there: postgresql://user:password@host/database, or sqlite:/path/to/file."
        )
    if dsn.startswith(_FILE):
        return SQLiteCells.open(Path(dsn.removeprefix(_FILE)))
    return PostgresCells.open(dsn)
