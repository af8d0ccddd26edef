"""One body, many adapters: every Log and every Cells that the suite runs over."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests import postgres
from tests.conformance import recorded
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.adapters.store.postgres_cells import PostgresCells
from watchkeeper.adapters.store.sqlite_cells import SQLiteCells
from watchkeeper.kinds.ports import Batch, Cells, Log, Watermark
from watchkeeper.queries.question import Question
from watchkeeper.records.span import Span

LOGS: dict[str, Callable[[Path], Log]] = {
    "memory": lambda _: MemoryLog(),
    "duckdb": lambda folder: DuckDBLog.open(folder / "index" / "log.duckdb"),
}
CELLS: dict[str, Callable[[Path], Cells]] = {
    "memory": lambda _: MemoryCells(),
    "sqlite": lambda folder: SQLiteCells.open(folder / "cells.sqlite"),
}


@pytest.fixture(params=sorted(LOGS))
async def log(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Log]:
    """An empty Log."""
    opened = LOGS[request.param](tmp_path)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A real PostgreSQL server."""
    with postgres.running() as server:
        yield server


def _postgres(server: postgres.Server) -> PostgresCells:
    import psycopg

    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS watchkeeper_cells, watchkeeper_operations")
    return PostgresCells.open(server.dsn)


@pytest.fixture(params=[*sorted(CELLS), pytest.param("postgres", marks=pytest.mark.slow)])
async def cells(request: pytest.FixtureRequest, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Cells]:
    """Empty Cells."""
    if request.param == "postgres":
        opened: Cells = _postgres(request.getfixturevalue("postgres_server"))
    else:
        opened = CELLS[request.param](tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
def traffic() -> list[Span]:
    """The spans of the recorded traffic."""
    return recorded.spans()


@pytest.fixture
async def full(log: Log, traffic: list[Span]) -> Log:
    """A Log that holds the recorded traffic, in batches as an ingester brings them."""
    everything = [*traffic, *recorded.scores(traffic), *recorded.sessions(), *recorded.decisions()]
    for start in range(0, len(everything), 97):
        mark = Watermark(writer="w1", segment=1, offset=start)
        await log.append(Batch(records=tuple(everything[start : start + 97]), watermark=mark))
    return log


@pytest.fixture
def files_of() -> Callable[[Path], dict[str, bytes]]:
    """The bytes of every file below a folder, by path."""
    return lambda folder: {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def ask(full: Log) -> Callable[[Question], Awaitable[list[dict]]]:
    """Ask the full Log; the items of the answer."""

    async def ask(question: Question) -> list[dict]:
        return list(question.answer(await full.select(question.select())).items)

    return ask
