"""What the PostgreSQL Cells do beyond what all Cells do: several processes, a server that crashes, clear words."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres
from watchkeeper.adapters.store.errors import StoreClosed, StoreError
from watchkeeper.adapters.store.postgres_cells import PostgresCells
from watchkeeper.kinds.ports import Add, Applied, Delete, Put, Refused

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
ROOT = Path(__file__).parents[4]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.running() as running:
        yield running


@pytest.fixture
def dsn(server: postgres.Server) -> str:
    import psycopg

    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS watchkeeper_cells, watchkeeper_operations")
    return server.dsn


_SPENDER = """
import asyncio, sys
from watchkeeper.adapters.store.postgres_cells import PostgresCells
from watchkeeper.kinds.ports import Add, Applied, Put

async def main():
    cells = PostgresCells.open(sys.argv[1])
    async def spend(n):
        name = f"{sys.argv[2]}/{n}"
        # Keys in an order of their own: whoever locked in that order would deadlock with the others.
        ops = [Put(key=name, value=b""), Add(key="spent", delta=1, at_most=int(sys.argv[3])), Add(key=f"a{n}", delta=1)]
        answer = await cells.apply(ops if n % 2 else ops[::-1], name)
        if isinstance(answer, Applied):
            print(name, flush=True)
    for start in range(0, int(sys.argv[4]), 8):
        await asyncio.gather(*(spend(n) for n in range(start, start + 8)))
    await cells.close()

asyncio.run(main())
"""


def spender(dsn: str, name: str, at_most: int, rounds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SPENDER, dsn, name, str(at_most), str(rounds)],
        stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip


async def test_several_processes_never_exceed_a_limit_together(dsn: str) -> None:
    processes = [spender(dsn, f"p{n}", 100, 80) for n in range(4)]
    outputs = await asyncio.gather(*(asyncio.to_thread(p.communicate) for p in processes))
    assert [p.returncode for p in processes] == [0] * 4
    granted = [name for out, _ in outputs for name in out.split()]
    assert len(granted) == len(set(granted)) == 100
    cells = PostgresCells.open(dsn)
    assert await cells.get("spent") == 100
    assert sorted(key for key, _ in (await cells.scan("p")).items) == sorted(granted)
    await cells.close()


async def test_kill_9_of_a_process_loses_nothing_acknowledged(dsn: str) -> None:
    process = spender(dsn, "p", 10**9, 10**7)
    assert process.stdout is not None
    acknowledged = []
    for line in process.stdout:
        acknowledged.append(line.strip())
        if len(acknowledged) == 100:
            process.send_signal(signal.SIGKILL)
    process.wait()
    cells = PostgresCells.open(dsn)
    held = {key for key, _ in (await cells.scan("p/", limit=100_000)).items}
    assert set(acknowledged[:-1]) <= held
    assert await cells.get("spent") == len(held)
    await cells.close()


async def test_one_operation_in_two_processes_takes_effect_once(dsn: str) -> None:
    several = [PostgresCells.open(dsn) for _ in range(3)]
    answers = await asyncio.gather(*(c.apply([Add(key="n", delta=1)], f"op{i}") for i in range(30) for c in several))
    assert sum(isinstance(a, Applied) and not a.repeated for a in answers) == 30
    assert await several[0].get("n") == 30
    for cells in several:
        await cells.close()


async def test_two_that_delete_and_make_the_same_cell_lose_nothing(dsn: str) -> None:
    one, other = PostgresCells.open(dsn), PostgresCells.open(dsn)
    for round_ in range(40):
        await asyncio.gather(one.apply([Delete(key="k"), Add(key="n", delta=1)]), other.apply([Add(key="k", delta=1)]))
        await other.apply([Put(key="k", value=b"x")])
        assert await one.get("k") == b"x"
        assert await one.get("n") == round_ + 1
    await one.close()
    await other.close()


async def test_what_was_refused_leaves_no_row(dsn: str) -> None:
    import psycopg

    cells = PostgresCells.open(dsn)
    assert isinstance(await cells.apply([Add(key="n", delta=9, at_most=1)]), Refused)
    await cells.apply([Delete(key="never"), Add(key="m", delta=1)])
    await cells.close()
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT key FROM watchkeeper_cells").fetchall() == [(b"m",)]


async def test_a_server_that_crashes_and_comes_back_is_used_again(server: postgres.Server, dsn: str) -> None:
    cells = PostgresCells.open(dsn)
    await cells.apply([Add(key="n", delta=1)], "op1")
    server.stop("immediate")
    with pytest.raises(StoreError, match=r"cannot be reached|could not be written"):
        await cells.apply([Add(key="n", delta=1)], "op2")
    with pytest.raises(StoreError):
        await cells.get("n")
    server.start()
    assert isinstance(await cells.apply([Add(key="n", delta=1)], "op2"), Applied)
    assert await cells.apply([Add(key="n", delta=1)], "op1") == Applied(before={"n": 0}, repeated=True)
    assert await cells.get("n") == 2
    await cells.close()
    with pytest.raises(StoreClosed):
        await cells.get("n")


async def test_a_server_that_is_not_there_is_named_and_its_password_is_not(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be reached") as told:
        PostgresCells.open(f"host={tmp_path} user=x password=quiet-secret dbname=y")
    assert "quiet-secret" not in str(told.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "quiet-secret",
        "postgresql://u:p@quiet-secret@127.0.0.1:1/db",
        "postgresql://u:p@quiet-secret/more@127.0.0.1:1/db",
        "postgresql://u:quiet-secret%zz@127.0.0.1:1/db",
        "host=127.0.0.1 port=1 user=x password=a quiet-secret",
    ],
)
async def test_a_password_that_is_read_as_something_else_is_not_shown(dsn: str) -> None:
    with pytest.raises(StoreError, match="not shown here") as told:
        PostgresCells.open(dsn)
    assert "quiet" not in str(told.value)
    assert told.value.__cause__ is None


async def test_any_key_and_value_is_kept(dsn: str) -> None:
    cells = PostgresCells.open(dsn)
    keys = ["", "a\x00b", "ü\U0010ffff", "%_\\", "\ud800"]
    await cells.apply([Put(key=key, value=key.encode("utf-8", "surrogatepass") + b"\x00") for key in keys])
    assert [key for key, _ in (await cells.scan("")).items] == sorted(
        keys, key=lambda k: k.encode("utf-8", "surrogatepass")
    )
    assert await cells.get("a\x00b") == b"a\x00b\x00"
    await cells.close()
