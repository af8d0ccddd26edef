"""Copies a SQLite file that others write to meanwhile: one moment of it, whole."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from watchkeeper.adapters.store.errors import StoreError

PAGES_AT_ONCE = 512
PAUSE_S = 0.005


def copy(source: Path, target: Path) -> None:
    """Copy a SQLite file with its write-ahead log into a new file, mode 0600; raises `StoreError`.

    SQLite's own online backup: a writer makes it begin again rather than see half of a change.
    """
    os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    try:
        reading = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
        writing = sqlite3.connect(target)
        try:
            reading.backup(writing, pages=PAGES_AT_ONCE, sleep=PAUSE_S)
        finally:
            writing.close()
            reading.close()
    except sqlite3.Error as error:
        raise StoreError(f"{source} could not be copied: {error}. Is there room where the copy is to lie?") from error
