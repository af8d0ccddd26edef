"""Without content in the index: what people and models wrote is gone, what is counted stays."""

from __future__ import annotations

import pytest

from watchkeeper.engines.recorder.lean import Lean
from watchkeeper.records.decision import Decision
from watchkeeper.records.drop import Drop
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span, Usage


@pytest.mark.anyio
async def test_words_go_and_figures_stay() -> None:
    span = Span(
        trace_id="t", span_id="s", start_ns=1, name="chat", preview="SECRET", message="SECRET",
        attributes={"a": "SECRET"}, usage=Usage(input_tokens=3),
    )  # fmt: skip
    score = Score(score_id="s", subject_kind="trace", subject_id="t", name="n", at_ns=1, event_ns=1, value=0.5,
                  explanation="SECRET")  # fmt: skip
    decision = Decision(verdict="deny", reason="r", sentence="SECRET", facts={"x": "SECRET"})
    drop = Drop(what="span", reason="r", count=1, first_ns=1, last_ns=1)
    left = await Lean().settle((span, score, decision, drop))
    assert "SECRET" not in repr(left)
    assert (left[0].usage.input_tokens, left[1].value, left[2].reason, left[3]) == (3, 0.5, "r", drop)  # type: ignore[attr-defined]
