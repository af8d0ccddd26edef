"""What can be continued is plain text of one choice; the request for the rest keeps all else as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.engines.gateway.misbehaving import ending, event, words
from watchkeeper.engines.gateway.continuing import continuation, said_so_far, seam


def test_the_words_are_put_together() -> None:
    assert said_so_far(b": a comment\n\n" + words("Once ", "upon")) == "Once upon"


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        words(),
        words("Once") + ending(),
        words("Once") + b"data: {broken\n\n",
        words("Once") + event(delta={"tool_calls": [{"index": 0}]}),
        words("Once") + event(delta={"function_call": {"name": "f"}}),
        words("Once") + event(delta={"refusal": "No."}),
        words("Once") + event(delta={"content": ["parts"]}),
        b'data: {"choices": [{"index": 1, "delta": {"content": "x"}}]}\n\n',
    ],
)
def test_what_cannot_be_continued_is_not(stream: bytes) -> None:
    assert said_so_far(stream) is None


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reading(stream: bytes) -> None:
    said_so_far(stream)


def test_the_request_for_the_rest_keeps_all_else() -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "Hi", "x": 1.0}], "odd":  {"a": [1]}}'
    more = json.loads(continuation(body, "Once \u00e9"))
    assert more["odd"] == {"a": [1]} and more["messages"][0] == {"role": "user", "content": "Hi", "x": 1.0}
    assert more["messages"][1] == {"role": "assistant", "content": "Once \u00e9"}
    assert more["messages"][2]["role"] == "user"


def test_a_name_cannot_break_out_of_the_seam() -> None:
    mark = seam("up\n\ndata: x", "m\u00f6del", "why\r")
    assert mark.count(b"\n") == 2 and mark.endswith(b"\n\n") and mark.startswith(b": ")
