"""A reply is given again from the record only where the record holds the very bytes that were sent."""

from __future__ import annotations

import pytest

from watchkeeper.engines.gateway.keyed import LONGEST_TAIL, end_of, made_from
from watchkeeper.records.body import Body
from watchkeeper.records.span import Span, Status, Usage

KEPT = b'{"id":"1"}'


def span(*bodies: Body, **changes: object) -> Span:
    given = {"trace_id": "t", "span_id": "s", "start_ns": 0, "name": "chat", "status": Status.OK, "http_status": 200}
    return Span(**{**given, "bodies": bodies, **changes})  # type: ignore[arg-type]


def body(**changes: object) -> Body:
    return Body(**{"name": "reply", "size_bytes": len(KEPT), **changes})  # type: ignore[arg-type]


def test_the_same_bytes_are_made_from_the_record() -> None:
    assert made_from(span(body()), KEPT, lambda _: KEPT).body == body()


def test_what_we_added_at_the_end_is_kept_beside_it_up_to_a_limit() -> None:
    assert made_from(span(body()), KEPT + b"tail", lambda _: KEPT).tail == b"tail"
    assert made_from(span(body()), KEPT + b"x" * LONGEST_TAIL, lambda _: KEPT).body is not None
    made = made_from(span(body()), KEPT + b"x" * (LONGEST_TAIL + 1), lambda _: KEPT)
    assert (made.body, made.why) == (None, "what is on record is not the bytes that were sent")


def test_a_reply_from_which_something_was_taken_out_is_not_given_again() -> None:
    made = made_from(span(body(redactions=2)), KEPT, lambda _: KEPT)
    assert (made.body, made.why) == (None, "2 sensitive values were taken out of it when it was recorded")


def test_a_reply_that_is_not_on_record_is_not_given_again() -> None:
    assert made_from(span(), KEPT, lambda _: KEPT).why == "it is not on record"


@pytest.mark.parametrize(
    ("status", "error", "untouched", "end"),
    [
        (200, None, False, "done"),
        (200, "malformed_reply", False, "done"),
        (200, "stream_incomplete", False, "unknown"),
        (504, "upstream_timeout", False, "unknown"),
        (502, "upstream_unreachable", True, "free"),
        (400, "invalid", True, "free"),
        (429, "rate", True, "free"),
        (500, "500", False, "unknown"),
        (503, "503", True, "free"),
        (529, "overloaded", True, "free"),
        (None, "cancelled", False, "unknown"),
    ],
)
def test_a_key_is_spent_when_something_may_have_been_charged(
    status: int | None, error: str | None, untouched: bool, end: str
) -> None:
    ended = span(http_status=status, error_type=error, status=Status.OK if error is None else Status.ERROR)
    assert end_of(ended, True, untouched)[0] == end
    assert end_of(ended, False, untouched)[0] == "free"
    assert end_of(None, True, False)[0] == "unknown"


@pytest.mark.parametrize(
    "charged", [{"attributes": {"watchkeeper.attempts.unmetered": 1}}, {"usage": Usage(input_tokens=9)}]
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_key_is_spent_when_an_attempt_before_a_refused_one_may_have_been_charged(
    charged: dict[str, object], status: int
) -> None:
    end, why = end_of(span(http_status=status, status=Status.ERROR, **charged), True, False)
    assert end == "unknown" and f"status {status}" in (why or "")
    assert end_of(span(http_status=status, status=Status.ERROR), True, False) == ("free", None)
