"""Context assembly is told of in a few lines: what entered, what was dropped and why, and for which call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import watchkeeper
from watchkeeper.sdk import assembly
from watchkeeper.sdk.client import current_client


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What would have been posted."""
    items: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(current_client(), "send", lambda path, value: items.append((path, value)))
    monkeypatch.setattr(current_client(), "capture_content", True)
    yield items


def test_each_chunk_is_told_with_what_became_of_it(sent: list[tuple[str, dict[str, Any]]]) -> None:
    with watchkeeper.context(query="how long?", index_version="i7") as context:
        first = context.candidate("returns.md", text="within 30 days", version="3", score=0.9)
        second = context.candidate("tents.md", text="two people")
        context.enter(first)
        context.drop(second, reason="below_threshold")
        context.truncate("shades.md", 5, text="linen or paper")
        context.candidate("later.md")
    told = [value for _, value in sent]
    assert {path for path, _ in sent} == {"/api/v1/sources"}
    assert [each["status"] for each in told] == ["entered", "dropped", "truncated", "candidate"]
    assert [each["rank"] for each in told] == [1, 2, 3, 4]
    assert told[1]["reason"] == "below_threshold"
    assert (told[2]["kept_chars"], told[2]["reason"]) == (5, "over_budget")
    assert {each["index_version"] for each in told} == {"i7"}
    assert len({each["trace_id"] for each in told}) == 1
    assert len({each["id"] for each in told}) == 4


def test_headers_join_the_model_call_to_the_context(sent: list[tuple[str, dict[str, Any]]]) -> None:
    with watchkeeper.session("s-1", user="mia"), watchkeeper.context() as context:
        headers = context.headers()
        context.enter("a.md")
    assert headers["traceparent"].split("-")[1] == sent[0][1]["trace_id"]
    assert headers["X-Watchkeeper-User"] == "mia"
    assert sent[0][1]["identity"] == {"session": "s-1", "user": "mia"}


def test_a_context_can_be_for_a_trace_that_is_named(sent: list[tuple[str, dict[str, Any]]]) -> None:
    with watchkeeper.context(trace="a" * 32, span="b" * 16) as context:
        context.enter("a.md")
    watchkeeper.sources([{"document": "b.md", "status": "entered"}], trace="c" * 32, query="q")
    assert (sent[0][1]["trace_id"], sent[0][1]["span_id"]) == ("a" * 32, "b" * 16)
    assert (sent[1][1]["trace_id"], sent[1][1]["span_id"], sent[1][1]["query"]) == ("c" * 32, None, "q")


def test_no_text_leaves_the_process_when_content_is_not_captured(
    sent: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_client(), "capture_content", False)
    watchkeeper.sources([{"document": "a.md", "text": "a secret"}])
    assert "text" not in sent[0][1]
    assert (sent[0][1]["chars"], len(sent[0][1]["digest"])) == (8, 32)


def test_a_block_that_fails_is_told_of_too(sent: list[tuple[str, dict[str, Any]]]) -> None:
    with pytest.raises(RuntimeError), watchkeeper.context() as context:
        context.enter("a.md")
        raise RuntimeError
    assert len(sent) == 1


def test_a_field_that_there_is_not_is_named_where_it_was_written() -> None:
    with pytest.raises(ValueError, match="no field 'txt'"), watchkeeper.context() as context:
        context.candidate("a.md", txt="x")
    with pytest.raises(ValueError, match="without a document"):
        watchkeeper.sources([{"text": "x"}])


def test_chunks_beyond_the_bound_are_counted(
    sent: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "MOST_CHUNKS", 3)
    with watchkeeper.context() as context:
        for number in range(5):
            context.enter(f"{number}.md")
    assert (len(sent), context.left_out) == (3, 2)
