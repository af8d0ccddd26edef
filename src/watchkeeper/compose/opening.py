"""Opens the index of a house; one that another version made is made anew by itself, and says how far it is."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import NamedTuple

from watchkeeper.adapters.store.duckdb_file import remove_file
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.errors import IndexOutdated
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.ingest import Ingester

TOLD_EVERY_S = 10.0
_log = logging.getLogger("watchkeeper.index")


class Opened(NamedTuple):
    """An index, and whether it is a new one in place of an outdated one."""

    log: DuckDBLog
    anew: bool


def open_index(home: Home) -> Opened:
    """The index of a data directory; raises `StoreError` when it cannot be opened."""
    try:
        return Opened(DuckDBLog.open(home.index), False)
    except IndexOutdated:
        _log.warning(
            "the index %s was made by another version; it is made anew from the journal, and no record is lost. "
            "Until that is done, answers are incomplete",
            home.index,
        )
        remove_file(home.index)
        return Opened(DuckDBLog.open(home.index), True)


async def catch_up(ingester: Ingester) -> None:
    """Index all there is, with a bar on a terminal and a line now and then elsewhere."""
    if sys.stderr.isatty():
        await _with_bar(ingester)
        return
    last_s = time.monotonic()
    while (await ingester.round()).frames:
        if time.monotonic() - last_s >= TOLD_EVERY_S:
            last_s = time.monotonic()
            say(ingester)
    _log.warning("the index is complete: %d records", ingester.records)


async def tell_until(ingester: Ingester, stopping: asyncio.Event) -> None:
    """A line now and then while somebody else indexes, until nothing is left or it is time to stop."""
    while not stopping.is_set():
        try:
            await asyncio.wait_for(stopping.wait(), TOLD_EVERY_S)
        except TimeoutError:
            if await asyncio.to_thread(ingester.lag_segments) == 0:
                _log.warning("the index is complete: %d records", ingester.records)
                return
            say(ingester)


def say(ingester: Ingester) -> None:
    """How far the index is."""
    _log.warning("indexed %d records; %d segments are left", ingester.records, ingester.lag_segments())


async def _with_bar(ingester: Ingester) -> None:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,} records"))
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("Making the index anew", total=None)
        while (await ingester.round()).frames:
            bar.update(task, completed=ingester.records)
