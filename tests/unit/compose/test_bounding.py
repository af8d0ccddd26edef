"""Whoever is bound to a tenant reads the replies of that tenant alone."""

import pytest

from tests.reading import NOW, LogReader
from tests.replying import Call, recorded
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.compose.bounding import BoundReader, bound_to
from watchkeeper.queries.replies import replied, told_of
from watchkeeper.queries.versions import version_of

VERSION = version_of("model:m")


@pytest.mark.anyio
async def test_replies_of_another_tenant_are_not_read() -> None:
    log = await recorded([Call("m", "ours", "mia", tenant="shop"), Call("m", "theirs", "leo", tenant="bank")])
    reader = BoundReader(log)
    assert len(await replied(reader, VERSION, 0, NOW, 9)) == 2
    with bound_to("shop"):
        (found,) = await replied(reader, VERSION, 0, NOW, 9)
    assert found.said is not None and found.said.text == "ours"
    told = told_of(found)
    assert told is not None and told.cluster == "shop mia"


@pytest.mark.anyio
async def test_a_reader_without_payloads_has_no_replies() -> None:
    log = await recorded([Call("m", "ours", "mia")])
    bare = BoundReader(LogReader(MemoryLog()))
    span = (await replied(log, VERSION, 0, NOW, 9))[0].span
    assert await bare.said(span) is None
