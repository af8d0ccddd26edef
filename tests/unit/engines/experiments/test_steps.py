"""Recorded steps: what is the same call, which result it got, and which steps went on from which."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watchkeeper.engines.experiments.steps import (
    Call,
    Cassette,
    Step,
    StepError,
    Turn,
    canonical,
    following,
    parameters_of,
    request_of,
    turn_of,
)


def asks(call_id: str, tool: str, arguments: str) -> dict[str, Any]:
    function = {"name": tool, "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def gives(call_id: str, content: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


USER = {"role": "user", "content": "Look both up."}
ONE = [USER]
TWO = [*ONE, asks("a", "look_up", '{"n": 1}'), gives("a", "first")]
THREE = [*TWO, asks("b", "look_up", '{"n":1}'), gives("b", "second")]


def step(number: int, messages: list[dict[str, Any]]) -> Step:
    return Step(number=number, span_id=f"{number:016x}", request={"model": "m", "messages": messages}, turn=Turn())


def test_arguments_are_equal_when_they_mean_the_same() -> None:
    assert canonical('{"b": 1, "a": [2]}') == canonical({"a": [2], "b": 1}) == '{"a":[2],"b":1}'
    assert canonical("not json") == "not json"


def test_a_cassette_gives_results_in_the_order_in_which_they_were_got_and_then_the_last() -> None:
    tape = Cassette([ONE, TWO, THREE])
    call = Call(tool="look_up", arguments='{"n":1}')
    assert [tape.result(call, nth) for nth in range(4)] == ["first", "second", "second", "second"]
    assert tape.result(Call(tool="look_up", arguments='{"n":2}'), 0) is None
    assert len(tape) == 2


def test_a_result_of_parts_is_kept_as_json() -> None:
    tape = Cassette([[USER, asks("a", "t", "{}"), gives("a", [{"type": "text", "text": "x"}])]])
    assert json.loads(tape.result(Call(tool="t", arguments="{}"), 0) or "") == [{"type": "text", "text": "x"}]


def test_the_steps_that_went_on_are_those_with_the_whole_history() -> None:
    other = step(3, [{"role": "user", "content": "Another conversation."}, {"role": "assistant", "content": "Yes."}])
    steps = [step(1, ONE), step(2, TWO), other, step(4, THREE)]
    assert [each.number for each in following(steps, steps[0])] == [1, 2, 4]
    assert [each.number for each in following(steps, steps[1])] == [2, 4]
    assert [each.number for each in following(steps, other)] == [3]


def test_a_chat_request_is_taken_as_it_was_recorded() -> None:
    raw = json.dumps({"model": "m", "messages": ONE, "temperature": 0.3, "stream": True, "tools": None}).encode()
    request, rebuilt = request_of(raw, [], "x")
    assert not rebuilt
    assert request["messages"] == ONE
    assert parameters_of(request) == {"model": "m", "temperature": 0.3}


@pytest.mark.parametrize(
    "raw", [None, b"not json", b'{"system": "s", "messages": [{"role": "user"}]}', b'{"messages": ["x"]}', b"[]"]
)
def test_any_other_request_is_rebuilt_from_its_messages(raw: bytes | None) -> None:
    said = [
        {"role": "user", "text": "Go."},
        {"role": "assistant", "text": "", "tool_calls": [{"name": "t", "arguments": "{}", "call_id": None}]},
        {"role": "tool", "text": "gone", "tool_call_id": "call_0"},
    ]
    request, rebuilt = request_of(raw, said, "m")
    assert rebuilt
    assert request["model"] == "m"
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "tool"]
    assert request["messages"][1]["tool_calls"][0]["id"] == request["messages"][2]["tool_call_id"] == "call_0"


def test_a_step_without_messages_cannot_be_taken_again() -> None:
    with pytest.raises(StepError, match="nothing to ask again"):
        request_of(None, [], "m")


def test_a_turn_is_what_was_said_and_asked_for() -> None:
    turn = turn_of([{"text": "Wait.", "tool_calls": [{"name": "t", "arguments": '{ "x": 1 }'}]}], "tool_calls")
    assert turn.action == 't({"x":1})'
    assert turn_of([{"text": "Done."}]).action == "answers"
