"""Leaves no byte of deleted rows in a SQLite file or its write-ahead log."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from watchkeeper.adapters.store.errors import StoreError

PATIENCE_S = 30.0


def tidy(path: Path) -> None:
    """Write a SQLite file anew without what was deleted, and empty its write-ahead log; blocks.

    Other processes may use the file meanwhile and wait. Raises `StoreError` when it stays busy for half a minute.
    """
    if not path.exists():
        return
    deadline_s = time.monotonic() + PATIENCE_S
    connection = sqlite3.connect(path, timeout=PATIENCE_S, isolation_level=None)
    try:
        connection.execute("VACUUM")
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline_s:
                raise StoreError(f"{path} stays busy, so deleted rows may still be in its write-ahead log. Try again.")
            time.sleep(0.05)
    except sqlite3.OperationalError as error:
        raise StoreError(f"{path} could not be written anew ({error}); deleted rows may still be in it.") from error
    finally:
        connection.close()
