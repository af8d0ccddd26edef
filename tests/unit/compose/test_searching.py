"""Files for searching are made by a process beside the store, which ends with it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.unit.engines.test_search import babble
from watchkeeper.compose.searching import Searching, grams_of, prepare
from watchkeeper.engines.recorder import journal as journals
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.search import Sought
from watchkeeper.queries.timespan import FAR_NS

pytestmark = pytest.mark.anyio


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 100_000)
    home, rng = Home(tmp_path / "data"), Random(1)
    journal = Journal(home.journal, "w0", home.secret("chunks"))
    for _ in range(300):
        journal.put(babble(rng).encode(), "request")
    journal.close()
    return home


async def test_all_sealed_segments_are_prepared_once(home: Home) -> None:
    missing = len(grams_of(home).missing())
    assert missing > 1
    assert prepare(home) == missing
    assert prepare(home) == 0
    found = await Searching(home).search(Sought(text="zebra pangolin", since_ns=0, until_ns=FAR_NS), 30)
    assert found.coverage.unindexed_segments == 0
    assert found.coverage.spared_bytes > found.coverage.searched_bytes


@pytest.mark.slow
async def test_the_store_has_them_made_beside_its_work(home: Home) -> None:
    searching, stopping = Searching(home), asyncio.Event()
    running = asyncio.create_task(searching.run(stopping))
    for _ in range(600):
        if not grams_of(home).missing():
            break
        await asyncio.sleep(0.1)
    stopping.set()
    await asyncio.wait_for(running, 30)
    assert grams_of(home).missing() == []


@pytest.mark.slow
async def test_nothing_is_prepared_while_there_is_more_urgent_work(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchkeeper.compose.searching.LOOK_EVERY_S", 0.05)
    asked, busy = 0, True

    def is_busy() -> bool:
        nonlocal asked
        asked += 1
        return busy

    missing = grams_of(home).missing()
    stopping = asyncio.Event()
    running = asyncio.create_task(Searching(home, is_busy).run(stopping))
    while asked < 5:
        await asyncio.sleep(0.02)
    assert grams_of(home).missing() == missing
    busy = False
    for _ in range(600):
        if not grams_of(home).missing():
            break
        await asyncio.sleep(0.1)
    stopping.set()
    await asyncio.wait_for(running, 30)
    assert grams_of(home).missing() == []
