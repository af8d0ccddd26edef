"""The line of a session."""

from __future__ import annotations

from watchkeeper.server.views.sessions import session_rows

ITEM = {
    "session": "a b&c", "start_ns": 10, "end_ns": 2_000_000_010, "traces": 2, "user": None, "calls": 1234, "errors": 1,
    "denied": 0, "input_tokens": None, "output_tokens": 5, "cost_usd": None,
}  # fmt: skip


def test_a_session_leads_to_its_traces_and_unknown_is_not_zero() -> None:
    (row,) = session_rows([ITEM])
    assert row.href == "/ui/traces?session=a+b%26c&since=all"
    assert (row.calls, row.tokens, row.user, row.cost) == ("1,234", "5", "–", "–")
    assert row.lasted.startswith("2")


def test_a_session_without_an_end_has_no_length() -> None:
    (row,) = session_rows([{**ITEM, "end_ns": None, "output_tokens": None}])
    assert (row.lasted, row.tokens) == ("–", "–")
