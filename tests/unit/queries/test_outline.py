"""The outline of a trace has every span, with what a waterfall shows."""

from __future__ import annotations

import pytest

from tests.conformance.samples import SAMPLES
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.outline import Outline
from watchkeeper.records.span import Span

pytestmark = pytest.mark.anyio


async def test_what_is_shown_is_as_it_was_recorded() -> None:
    span, log = SAMPLES["spans"], MemoryLog()
    assert isinstance(span, Span)
    await log.append(Batch(records=(span, Span(trace_id=span.trace_id, span_id="f" * 16, start_ns=99, name="bare"))))
    question = Outline(trace_id=span.trace_id)
    first, second = question.answer(await log.select(question.select()))
    for name in (
        "span_id",
        "parent_id",
        "start_ns",
        "end_ns",
        "status",
        "operation",
        "model",
        "cost",
        "tool",
        "preview",
    ):
        assert getattr(first, name) == getattr(span, name), name
    assert (first.identity.session, first.usage.input_tokens, first.finish_reasons) == (
        span.identity.session, span.usage.input_tokens, span.finish_reasons,
    )  # fmt: skip
    assert (second.name, second.cost, second.finish_reasons) == ("bare", None, ())
