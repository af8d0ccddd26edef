"""What entered is found in the recorded requests, what did not is not, and nobody decides too early."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.reading import NOW, LogReader, S
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.engines.lineage.lookout import GIVEN_UP_AFTER_NS, SETTLED_AFTER_NS, Asked, Lookout
from watchkeeper.queries.lineage import Sources
from watchkeeper.queries.whole import Whole
from watchkeeper.records.record import Record
from watchkeeper.records.source import Source

TEXT = "The Alder lamp can be returned within 30 days of delivery, in the box that it came in."
TRACE = "a" * 32


class Scene:
    """A lookout over an index, with texts and requests at hand."""

    def __init__(self, requests: Sequence[Asked] = (), now_ns: int = NOW) -> None:
        self.reader = LogReader(MemoryLog())
        self.requests, self.now_ns = list(requests), now_ns
        self.texts: dict[str, str | None] = {}
        self.written: list[Record] = []
        self.lookout = Lookout(self.reader, self.written.append, self._text, self._requests, lambda: self.now_ns)

    async def _text(self, source: Source) -> str | None:
        return self.texts.get(source.source_id, TEXT)

    async def _requests(self, trace_id: str) -> Sequence[Asked]:
        return self.requests if trace_id == TRACE else ()

    async def source(self, name: str = "s1", **fields: Any) -> None:
        made = Source(
            **{"source_id": name, "trace_id": TRACE, "document": "d", "at_ns": NOW, "status": "entered", **fields}
        )
        await self.reader.add([made])

    async def looked(self) -> Source | None:
        await self.lookout.round()
        await self.reader.add(self.written)
        found = await self.reader.ask(Whole(Sources(trace_id=TRACE), Source))
        self.written.clear()
        return found[0] if found and found[0].revision else None


def asked(text: str, span: str = "b" * 16, at_ns: int = NOW, exact: bool = True) -> Asked:
    body = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
    return Asked(span, at_ns, body, exact)


@pytest.mark.anyio
async def test_a_chunk_that_entered_is_found_with_its_bytes() -> None:
    scene = Scene([asked(f"Notes: {TEXT}")])
    await scene.source()
    found = await scene.looked()
    assert found is not None
    assert (found.seen, found.calls, found.kept_chars) == ("exact", ("b" * 16,), len(TEXT))
    assert scene.requests[0].body[found.seen_start : found.seen_end].decode() == TEXT


@pytest.mark.anyio
async def test_a_chunk_that_is_said_to_be_dropped_and_is_there_counts_as_entered() -> None:
    scene = Scene([asked(TEXT)])
    await scene.source(status="dropped", reason="over_budget")
    found = await scene.looked()
    assert found is not None
    assert (found.status, found.seen, found.entered) == ("dropped", "exact", True)


@pytest.mark.anyio
async def test_what_is_not_there_is_said_only_after_a_while() -> None:
    scene = Scene([asked("something else altogether, and long enough")])
    await scene.source()
    assert await scene.looked() is None
    scene.now_ns = NOW + SETTLED_AFTER_NS
    found = await scene.looked()
    assert found is not None
    assert (found.seen, found.entered) == ("declared", True)


@pytest.mark.anyio
async def test_a_request_that_comes_later_is_still_found() -> None:
    scene = Scene()
    await scene.source()
    assert await scene.looked() is None
    scene.requests.append(asked(TEXT, at_ns=NOW + 3 * S))
    scene.now_ns = NOW + 10 * S
    found = await scene.looked()
    assert found is not None
    assert found.seen == "exact"


@pytest.mark.anyio
async def test_a_trace_without_a_request_is_given_up() -> None:
    scene = Scene(now_ns=NOW + GIVEN_UP_AFTER_NS)
    await scene.source()
    found = await scene.looked()
    assert found is not None
    assert found.seen == "no_request"


@pytest.mark.anyio
@pytest.mark.parametrize(("text", "seen"), [(None, "textless"), ("30 days", "declared")])
async def test_what_cannot_be_looked_for_says_so_at_once(text: str | None, seen: str) -> None:
    scene = Scene([asked(TEXT)])
    scene.texts["s1"] = text
    await scene.source()
    found = await scene.looked()
    assert found is not None
    assert found.seen == seen


@pytest.mark.anyio
async def test_a_chunk_that_was_cut_counts_as_far_as_it_went() -> None:
    scene = Scene([asked(TEXT[:50])])
    await scene.source(status="truncated", kept_chars=50)
    found = await scene.looked()
    assert found is not None
    assert (found.seen, found.kept_chars) == ("part", 50)


@pytest.mark.anyio
@pytest.mark.parametrize(("status", "seen"), [("dropped", "declared"), ("candidate", "part")])
async def test_a_beginning_says_nothing_against_a_drop(status: str, seen: str) -> None:
    scene = Scene([asked(TEXT[:60])], now_ns=NOW + SETTLED_AFTER_NS)
    await scene.source(status=status)
    found = await scene.looked()
    assert found is not None
    assert found.seen == seen


@pytest.mark.anyio
async def test_all_calls_that_held_a_chunk_are_named_but_none_before_it() -> None:
    before = asked(TEXT, "1" * 16, NOW - 60 * S)
    scene = Scene([before, asked(TEXT, "2" * 16, NOW + S), asked(TEXT, "3" * 16, NOW + 2 * S)])
    await scene.source()
    found = await scene.looked()
    assert found is not None
    assert found.calls == ("2" * 16, "3" * 16)


@pytest.mark.anyio
async def test_messages_that_were_put_together_anew_have_no_offsets() -> None:
    scene = Scene([asked(TEXT, exact=False)])
    await scene.source()
    found = await scene.looked()
    assert found is not None
    assert (found.seen, found.seen_start, found.seen_end) == ("exact", None, None)


@pytest.mark.anyio
async def test_what_was_settled_is_not_written_twice_while_the_index_lags() -> None:
    scene = Scene([asked(TEXT)])
    await scene.source()
    assert [await scene.lookout.round(), await scene.lookout.round()] == [1, 0]
    assert len(scene.written) == 1
    assert [each.seen for each in scene.lookout.fresh(TRACE)] == ["exact"]


@pytest.mark.anyio
async def test_a_dropped_copy_of_a_text_that_entered_is_not_what_is_found() -> None:
    scene = Scene([asked(TEXT)])
    await scene.source("s1", digest="x")
    await scene.source("s2", digest="x", status="dropped", reason="duplicate")
    await scene.looked()
    found = await scene.reader.ask(Whole(Sources(trace_id=TRACE), Source))
    assert {each.source_id: (each.seen, each.entered) for each in found} == {
        "s1": ("exact", True),
        "s2": ("declared", False),
    }
