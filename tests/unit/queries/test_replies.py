"""Replies come with what followed them in their trace, up to the next call."""

import pytest

from tests.reading import NOW
from tests.replying import Call, recorded
from watchkeeper.analysis.consumers import Step
from watchkeeper.queries.replies import followed, replied
from watchkeeper.queries.versions import version_of


def row(span: str, operation: str, status: str = "ok", **more: str | None) -> dict[str, str | None]:
    return {"span_id": span, "operation": operation, "status": status, "tool": None, "name": span, **more}


def test_only_what_comes_before_the_next_call_follows_a_reply() -> None:
    trace = [
        row("before", "other"),
        row("call", "chat"),
        row("a", "execute_tool", tool="refund"),
        row("agent", "invoke_agent", "error"),
        row("b", "other", "error", service="ledger"),
        row("c", "other", "open"),
        row("next", "chat"),
        row("d", "other"),
    ]
    assert followed("call", trace) == (Step(name="refund", failed=False), Step(name="ledger: b", failed=True))
    assert followed("next", trace) == (Step(name="d", failed=False),)
    assert followed("unknown", trace) == ()


@pytest.mark.anyio
async def test_the_last_replies_of_a_version_are_read_oldest_first() -> None:
    calls = [Call("m", f"{n}", f"u{n}", failed=n == 3) for n in range(5)]
    log = await recorded([*calls, Call("other", "x"), Call("m", "bad", status="error")])
    found = await replied(log, version_of("model:m"), 0, NOW, 4)
    assert [each.said.text for each in found if each.said] == ["2", "3", "4"]
    assert [each.steps for each in found] == [(Step(name="ledger: read total", failed=n == 3),) for n in (2, 3, 4)]


@pytest.mark.anyio
async def test_a_version_without_calls_has_no_replies() -> None:
    assert await replied(await recorded([]), version_of("model:m"), 0, NOW, 4) == ()
