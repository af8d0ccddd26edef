"""What is remembered of responses that providers keep."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.engines.gateway.stage import NANO, PlainCells
from watchkeeper.engines.gateway.replies import HELD, KEPT_NS, Kept, Replies

pytestmark = pytest.mark.anyio
NOW = 2 * KEPT_NS


def kept(response_id: str = "resp_1", **changes: Any) -> Kept:
    given: dict[str, Any] = {
        "response_id": response_id, "at_ns": NOW, "tenant": "t", "session": None, "upstream": "main",
        "model": "m", "request_model": "m", "trace_id": "a" * 32, "span_id": "b" * 16, "root": response_id,
        "pending": True, **changes,
    }  # fmt: skip
    return Kept(**given)


async def test_another_process_finds_what_was_kept() -> None:
    cells = PlainCells()
    one, other = Replies(cells, lambda: NOW), Replies(cells, lambda: NOW)
    one.keep(kept())
    await one.closed()
    assert await other.find("resp_1") == kept()
    assert await other.find("resp_2") is None


async def test_without_cells_it_is_known_to_this_process() -> None:
    replies = Replies(None, lambda: NOW)
    replies.keep(kept())
    assert await replies.find("resp_1") == kept()
    assert await replies.settled(kept(), 7, ()) and not await replies.settled(kept(), 7, ())


async def test_of_two_processes_that_see_the_end_one_settles() -> None:
    cells = PlainCells()
    one, other = Replies(cells, lambda: NOW), Replies(cells, lambda: NOW)
    one.keep(kept())
    await one.closed()
    seen = await other.find("resp_1")
    assert seen is not None
    assert [await one.settled(kept(), 7, ()), await other.settled(seen, 7, ())] == [True, False]
    found = await Replies(cells, lambda: NOW).find("resp_1")
    assert found is not None and (found.pending, found.tokens) == (False, 7)


async def test_what_could_not_be_written_is_settled_by_the_process_that_knows_it() -> None:
    replies = Replies(PlainCells(), lambda: NOW)
    assert await replies.settled(kept(), 7, ())
    assert not await replies.settled(kept(), 7, ())


async def test_what_is_older_than_any_provider_keeps_is_forgotten() -> None:
    cells = PlainCells()
    replies = Replies(cells, lambda: NOW)
    replies.keep(kept("old", at_ns=NOW - KEPT_NS - NANO))
    replies.keep(kept("exactly", at_ns=NOW - KEPT_NS))
    await replies.closed()
    later = Replies(cells, lambda: NOW)
    assert await later.find("old") is None and await later.find("exactly") is not None
    later.begin_forgetting()
    await later.closed()
    assert sorted(cells.cells) == ["response/exactly"]


async def test_memory_is_bounded_and_odd_ids_do_no_harm() -> None:
    replies = Replies(None, lambda: NOW)
    for number in range(HELD + 5):
        replies.keep(kept(f"r{number}"))
    assert await replies.find("r0") is None and await replies.find(f"r{HELD}") is not None
    cells = PlainCells()
    replies = Replies(cells, lambda: NOW)
    for odd in ("x" * 5000, "a/b\n", "\ud800", ""):
        replies.keep(kept(odd))
        await replies.closed()
        assert await Replies(cells, lambda: NOW).find(odd) is not None or odd == "\ud800"
    assert all(len(key) < 200 for key in cells.cells)


async def test_what_lasts_at_the_provider_is_not_forgotten() -> None:
    cells = PlainCells()
    old = Replies(cells, lambda: NOW)
    old.keep(kept("file_1", lasting=True))
    old.keep(kept("resp_1"))
    await old.closed()
    later = Replies(cells, lambda: NOW + KEPT_NS + 1)
    later.begin_forgetting()
    await later.closed()
    assert await later.find("file_1") == kept("file_1", lasting=True)
    assert await later.find("resp_1") is None
