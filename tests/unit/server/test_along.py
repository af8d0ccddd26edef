"""What happened to a call on its way is said in sentences, and what others wrote stays text."""

from __future__ import annotations

from typing import Any

from watchkeeper.records.span import Happening, Span
from watchkeeper.server.views.along import along


def span(*events: tuple[str, dict[str, Any]], **fields: Any) -> Span:
    happened = tuple(Happening(name=name, at_ns=2, attributes=said) for name, said in events)
    return Span(trace_id="a" * 32, span_id="b" * 16, name="x", start_ns=1, events=happened, **fields)


def test_an_ordinary_call_says_nothing() -> None:
    assert along(span(("watchkeeper.attempt", {"number": 1, "upstream": "lab", "http_status": 200}))) == ()


def test_a_call_that_fell_over_says_from_where_to_where_and_why() -> None:
    lines = along(
        span(
            ("watchkeeper.attempt", {"number": 1, "upstream": "dead", "model": "m", "failure": "unsent",
                                     "error": "upstream_unreachable"}),
            ("watchkeeper.rescue", {"kind": "fallback", "to": "backup", "model": "n",
                                    "reason": "upstream_unreachable"}),
        )
    )  # fmt: skip
    assert lines == (
        "Attempt 1: dead with m could not be reached.",
        "The call fell over to backup with n, because the one before it could not be reached.",
    )


def test_a_reason_or_kind_that_is_not_known_is_given_as_it_is() -> None:
    (line,) = along(span(("watchkeeper.rescue", {"kind": "fallback", "to": "{reason}", "reason": "odd\u202e"})))
    assert line == "The call fell over to {reason}, because the one before it failed (odd⟦RLO⟧)."
    assert along(span(("watchkeeper.rescue", {"kind": "magic"}))) == ("It was rescued (magic).",)


def test_advice_says_that_the_last_message_is_not_the_callers() -> None:
    (line,) = along(span(("watchkeeper.advised", {})))
    assert "the caller did not send it" in line
    (line,) = along(span(("watchkeeper.advice_not_given", {})))
    assert "no conversation" in line


def test_a_diverted_call_says_which_model_was_asked_instead() -> None:
    (line,) = along(span(("watchkeeper.diverted", {"from": "desk", "to": "strong\u202e", "reason": "cell_failing"})))
    assert line.startswith("A policy had 'strong") and "instead of 'desk' (cell_failing)" in line
    assert "\u202e" not in line


def test_a_cut_stream_says_so_and_what_to_do() -> None:
    cut = span(stream=True, error_type="upstream_disconnected", attributes={"watchkeeper.stream.content_chunks": 3})
    (line,) = along(cut)
    assert line.startswith("The stream was cut after 3 pieces of text")
    assert "on_broken_stream" in line
    assert along(span(stream=False, error_type="upstream_disconnected")) == ()


def test_a_call_whose_use_is_unknown_names_the_command_that_settles_it() -> None:
    (line,) = along(span(attributes={"watchkeeper.charged": "as reserved: the use is unknown"}))
    assert f"watchkeeper budget reconcile --span {'b' * 16}" in line
