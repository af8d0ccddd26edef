"""Where two prompts part, and what it is that changed there."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.prefix import divergence, parts_of

RULES = "You are a clerk who answers in one sentence. "


def chat(system: str, *texts: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, *({"role": "user", "content": text} for text in texts)]
    return {"messages": messages}


@pytest.mark.parametrize(
    ("one", "other", "kind", "old", "new"),
    [
        ("Now 2026-11-20T12:00:07Z. ", "Now 2026-11-20T12:00:09Z. ", "timestamp", "2026-11-20T12:00:07Z.", None),
        ("Now 2026-11-20. ", "Now 2026-12-01. ", "timestamp", "2026-11-20.", "2026-12-01."),
        ("At 1763640000 ", "At 1763640031 ", "timestamp", "1763640000", "1763640031"),
        ("It is 12:30 now. ", "It is 12:31 now. ", "timestamp", "12:30", "12:31"),
        (
            "For 7f3a9c00-0000-4000-8000-000000000001: ",
            "For 9b3a9c00-0000-4000-8000-000000000002: ",
            "id",
            "7f3a9c00-0000-4000-8000-000000000001:",
            None,
        ),
        ("Call req_A1b2C3d4E5 ", "Call req_Z9y8X7w6V5 ", "id", "req_A1b2C3d4E5", None),
        ("Turn 7 of many. ", "Turn 8 of many. ", "counter", "7", "8"),
        ("Be  brief. ", "Be brief. ", "white space", None, None),
        ("Be brief. ", "Be polite. ", "text", "brief.", "polite."),
    ],
)
def test_what_changed_is_named(one: str, other: str, kind: str, old: str | None, new: str | None) -> None:
    where = divergence(parts_of(chat(one + RULES, "Hi.")), parts_of(chat(other + RULES, "Hi.", "And?")))
    assert where is not None
    assert (where.path, where.role, where.kind) == ("messages[0].content", "system", kind)
    assert old is None or where.old == old
    assert new is None or where.new == new
    assert where.shared_bytes >= len(RULES) + len("Hi.")


def test_keys_in_another_order_are_told_from_another_object() -> None:
    one, other = '{"limit": "high", "tone": "warm"}', '{"tone": "warm", "limit": "high"}'
    where = divergence(parts_of(chat(one)), parts_of(chat(other)))
    assert where is not None and where.kind == "key order"
    where = divergence(parts_of(chat(one)), parts_of(chat('{"limit": "low", "tone": "warm"}')))
    assert where is not None and where.kind == "text"


def test_a_history_that_grew_has_no_divergence() -> None:
    assert divergence(parts_of(chat(RULES, "a")), parts_of(chat(RULES, "a", "b"))) is None
    assert divergence(parts_of(chat(RULES, "a", "b")), parts_of(chat(RULES, "a"))) is None


def test_the_offset_counts_bytes_of_all_that_comes_before() -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    one = parts_of({"tools": tools, **chat("Größe 1", "x")})
    other = parts_of({"tools": tools, **chat("Größe 2", "x")})
    where = divergence(one, other)
    assert where is not None
    assert where.offset == len(one[0].text.encode()) + len("Größe ".encode())


@pytest.mark.parametrize(
    ("request_", "paths"),
    [
        ({"system": [{"type": "text", "text": "s"}], "messages": []}, ["system[0].text"]),
        ({"instructions": "i", "input": "hello"}, ["instructions", "input"]),
        ({"input": [{"type": "function_call_output", "output": "o"}]}, ["input[0].output"]),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "t"}, {"type": "image_url"}]}]},
            ["messages[0].content[0].text", "messages[0].content[1]"],
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "c"}]}]}, ["messages[0].tool_calls"]),
        ({"messages": "no list"}, ["messages"]),
        ({}, []),
    ],
)
def test_prompts_of_every_interface_have_parts(request_: dict[str, Any], paths: list[str]) -> None:
    assert [part.path for part in parts_of(request_)] == paths


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_two_texts_have_a_place_or_are_the_same(one: str, other: str) -> None:
    where = divergence(parts_of(chat(one)), parts_of(chat(other)))
    assert (where is None) == (one == other)
    if where is not None:
        assert one.encode()[: where.offset] == other.encode()[: where.offset]
        assert 0 <= where.shared_bytes <= where.total_bytes
