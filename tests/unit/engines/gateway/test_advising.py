"""Advice is a last message of a conversation; every other byte stays, and what it takes up is bounded."""

from __future__ import annotations

import json

import pytest

from watchkeeper.engines.gateway.advising import ROOM_BYTES, advised
from watchkeeper.engines.gateway.wire import read_fields

TOLD = {"role": "user", "content": "one\n\ntwo"}


@pytest.mark.parametrize(
    ("body", "name", "before"),
    [
        (b'{"model":"m",  "messages": [ {"role":"user","content":"x"} ],"n":1.0}', "messages", 1),
        (b'{"messages":[],"model":"m"}', "messages", 0),
        (b'{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":"x"}]}', "input", 1),
    ],
)
def test_the_advice_is_the_last_message_and_the_rest_stays(body: bytes, name: str, before: int) -> None:
    told = advised(body, read_fields(body), ("one", "two"))
    assert told is not None
    was, now = json.loads(body), json.loads(told)
    assert now[name] == [*was[name], TOLD] and len(was[name]) == before
    assert {k: v for k, v in now.items() if k != name} == {k: v for k, v in was.items() if k != name}
    assert told.startswith(body[: body.index(b"[") + 1])


def test_an_input_that_is_one_text_becomes_the_first_of_two_messages() -> None:
    body = rb'{"input":"say \u00fc \"x\"","model":"m"}'
    told = advised(body, read_fields(body), ("one", "two"))
    assert told is not None
    assert json.loads(told)["input"] == [{"role": "user", "content": 'say ü "x"'}, TOLD]


@pytest.mark.parametrize("body", [b'{"model":"m"}', b'{"model":"m","input":7}', b'{"messages":null}'])
def test_what_holds_no_conversation_is_told_nothing(body: bytes) -> None:
    assert advised(body, read_fields(body), ("one",)) is None


@pytest.mark.parametrize("text", ["x" * 9000, "\x01" * 9000, "ü" * 9000, "😀" * 9000])
def test_advice_never_takes_more_than_its_room(text: str) -> None:
    body = b'{"messages":[{"role":"user","content":"x"}]}'
    told = advised(body, read_fields(body), (text,))
    assert told is not None and len(told) - len(body) <= ROOM_BYTES
