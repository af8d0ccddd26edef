"""What was said in logs becomes the preview of its span, whichever came first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.engines.recorder.joining import LogPreviews, preview_of
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.explorer import Trace
from watchkeeper.records.logged import Logged
from watchkeeper.records.record import Record
from watchkeeper.records.span import Span

START_NS = 1_760_000_000_000_000_000
TRACE = "a" * 32
SPAN = Span(
    trace_id=TRACE, span_id="b" * 16, start_ns=START_NS, end_ns=START_NS + 9, name="chat", operation="chat", revision=1
)  # fmt: skip


def said(number: int, **given: Any) -> Logged:
    fields = {"log_id": str(number), "at_ns": START_NS + number, "trace_id": TRACE, "span_id": "b" * 16} | given
    return Logged(**fields)


ASKED, ANSWERED = said(1, asked="Where?"), said(2, answered="Here.")


def preview(batches: Sequence[Sequence[Record]]) -> str:
    async def run() -> str:
        log = MemoryLog()
        for batch in batches:
            await log.append(Batch(records=await LogPreviews(log).settle(tuple(batch))))
        question = Trace(trace_id=TRACE)
        (row,) = question.answer(await log.select(question.select())).items
        return str(row["preview"])

    return asyncio.run(run())


@pytest.mark.parametrize(
    "batches",
    [
        [[SPAN, ASKED, ANSWERED]],
        [[ASKED], [SPAN], [ANSWERED]],
        [[SPAN], [ANSWERED], [ASKED]],
        [[ANSWERED, ASKED], [SPAN]],
        [[SPAN], [ASKED, ANSWERED], [ASKED, ANSWERED]],
        [[ASKED, SPAN], [SPAN, ANSWERED]],
    ],
)
def test_the_order_does_not_matter(batches: list[list[Record]]) -> None:
    assert preview(batches) == "Where?\nHere."


def test_a_preview_of_the_span_s_own_stays() -> None:
    own = Span(**{name: getattr(SPAN, name) for name in SPAN.__struct_fields__} | {"preview": "mine"})
    assert preview([[own], [ASKED, ANSWERED]]) == "mine"


def test_logs_of_another_span_say_nothing_of_this_one() -> None:
    assert preview([[said(1, asked="No", span_id="c" * 16)], [SPAN]]) == ""


def test_the_last_question_and_all_answers_stand() -> None:
    assert preview_of([(1, "first", ""), (2, "second", ""), (3, "", "one"), (3, "", "one"), (4, "", "two")]) == (
        "second\none two"
    )
