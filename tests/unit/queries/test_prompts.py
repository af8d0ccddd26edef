"""Calls with their requests: oldest first, those that count, and what is not there is said to be."""

from __future__ import annotations

import pytest

from tests.prompting import Called, asked, recorded
from tests.reading import NOW, LogReader
from watchkeeper.queries.prompts import prompted

pytestmark = pytest.mark.anyio


async def test_calls_come_oldest_first_with_their_requests() -> None:
    log = await recorded([Called(asked("a"), 1), Called(asked("b"), 2), Called(asked("c"), None)])
    found = await prompted(log, 0, NOW, 10)
    assert [(each.span.usage.input_tokens, each.request) for each in found] == [(1, asked("a")), (2, asked("b"))]
    assert len(await prompted(log, 0, NOW, 10, model="m-2")) == 0
    assert len(await prompted(log, 0, NOW, 2)) == 1, "the limit counts calls, the unbilled last one among them"


async def test_requests_that_cannot_be_had_are_none() -> None:
    log = await recorded([Called(asked("a"), 1)], kept=False)
    assert [each.request for each in await prompted(log, 0, NOW, 10)] == [None]
    bare = LogReader(log.log)
    assert [each.request for each in await prompted(bare, 0, NOW, 10)] == [None]


async def test_a_bare_list_of_messages_is_a_request_and_broken_bytes_are_none() -> None:
    log = await recorded([Called(asked("a"), 1), Called(asked("b"), 2), Called(asked("c"), 3)])
    first, second, third = sorted(log.requests)
    log.requests |= {first: b'[{"role":"user"}]', second: b"nope", third: b"7"}
    found = [each.request for each in await prompted(log, 0, NOW, 10)]
    assert found == [{"messages": [{"role": "user"}]}, None, None]
