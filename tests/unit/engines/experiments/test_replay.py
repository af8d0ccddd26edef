"""Replay and fork: tools are never run, failures are counted apart, and a change is found only where there is one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from watchkeeper.engines.experiments.replay import Change, Walk, Walker, arm_of, differences
from watchkeeper.engines.experiments.steps import Call, Cassette, Turn
from watchkeeper.kinds.ports import Completion

CALL = {"id": "a", "type": "function", "function": {"name": "look_up", "arguments": '{"n":1}'}}
USER = {"role": "user", "content": "Look it up."}
TAPE = Cassette(
    [[USER, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "a", "content": "42"}]]
)
REQUEST: dict[str, Any] = {"model": "m", "messages": [USER], "temperature": 0.5}
LOOKS_UP = Turn(calls=(Call(tool="look_up", arguments='{"n":1}'),))
SAYS = Turn(text="It is 42.")


class Scripted:
    """A model that looks up, and answers with what it got; `wanders` is how often it asks for what was not recorded."""

    def __init__(self, wanders: float = 0.0, fails: bool = False) -> None:
        self.rng, self.wanders, self.fails = Random(3), wanders, fails
        self.asked: list[tuple[list[dict[str, Any]], Mapping[str, object]]] = []

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        said = json.loads(messages)
        self.asked.append((said, parameters))
        if self.fails:
            return _completion(error="HTTP 500: out of order")
        if said[-1]["role"] == "tool":
            return _completion(output=f"It is {said[-1]['content']}.")
        number = 2 if self.rng.random() < self.wanders else 1
        return _completion(calls=json.dumps([{"name": "look_up", "arguments": json.dumps({"n": number})}]))


def _completion(output: str | None = None, calls: str | None = None, error: str | None = None) -> Completion:
    return Completion(
        output=output,
        calls=calls,
        finish_reason="stop",
        model="m",
        input_tokens=5,
        output_tokens=7,
        duration_ns=1,
        error=error,
    )


def walk(model: Scripted, samples: int = 1, **options: Any) -> list[Walk]:
    (walks,) = asyncio.run(Walker(model, TAPE, **options).walks([REQUEST], samples))
    return walks


def test_a_walk_goes_on_over_recorded_results_to_the_answer() -> None:
    model = Scripted()
    (one,) = walk(model, price=lambda _: 0.25)
    assert one.turns[0].calls == LOOKS_UP.calls
    assert (one.turns[1].text, one.ended, one.cost_usd) == ("It is 42.", "answered", 0.5)
    said, parameters = model.asked[1]
    assert [message["role"] for message in said] == ["user", "assistant", "tool"]
    assert said[1]["tool_calls"][0]["id"] == said[2]["tool_call_id"]
    assert parameters == {"model": "m", "temperature": 0.5}


def test_a_call_that_was_not_recorded_ends_the_walk_and_is_named() -> None:
    (one,) = walk(Scripted(wanders=1.0))
    assert (one.ended, one.at) == ("unrecorded_call", 'look_up({"n":2})')


def test_one_turn_asks_once() -> None:
    model = Scripted()
    (one,) = walk(model, forward=False)
    assert (len(model.asked), one.ended) == (1, "too_long")


def test_a_model_that_never_answers_is_stopped() -> None:
    class Endless(Scripted):
        async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
            return _completion(calls=json.dumps([{"name": "look_up", "arguments": '{"n":1}'}]))

    (one,) = walk(Endless())
    assert (one.ended, len(one.turns)) == ("too_long", 30)


def test_failures_are_counted_and_are_in_no_rate() -> None:
    arm = arm_of("replay", walk(Scripted(fails=True), 3), [LOOKS_UP, SAYS])
    assert (arm.walks, arm.failed, arm.first_error) == (3, 3, "HTTP 500: out of order")
    assert (arm.same_step.n, arm.same_step.low, arm.same_step.high) == (0, 0, 1)


def test_the_same_run_again_is_the_same_in_every_rate() -> None:
    arm = arm_of("replay", walk(Scripted(), 8), [LOOKS_UP, SAYS])
    rates = (arm.same_step, arm.same_tools, arm.same_path, arm.same_answer)
    assert all(rate.value == 1 and rate.low < 1 for rate in rates)
    assert (arm.actions, arm.endings) == ({'look_up({"n":1})': 8}, {"answered": 8})


def test_other_arguments_are_the_same_tools_and_another_step() -> None:
    arm = arm_of("replay", walk(Scripted(wanders=1.0), 4), [LOOKS_UP, SAYS])
    assert (arm.same_step.value, arm.same_tools.value, arm.same_path.value) == (0, 1, 0)


def test_a_change_is_made_in_model_prompt_and_fields() -> None:
    request = {**REQUEST, "messages": [{"role": "system", "content": "Old."}, USER]}
    changed = Change(model="n", prompt="New.", fields={"temperature": 0}).apply(request)
    assert (changed["model"], changed["temperature"]) == ("n", 0)
    assert changed["messages"] == [{"role": "system", "content": "New."}, USER]
    assert request["messages"][0]["content"] == "Old."


def test_a_change_that_changes_what_is_done_is_found() -> None:
    found = differences(walk(Scripted(), 20), walk(Scripted(wanders=0.9), 20), [LOOKS_UP, SAYS])
    named = {each.what: each for each in found}
    assert named['first does look_up({"n":1})'].verdict == "changed"
    assert named['first does look_up({"n":1})'].difference.high < 0
    assert found[0].p_value <= found[-1].p_value


def test_one_sample_each_resolves_nothing() -> None:
    found = differences(walk(Scripted(), 1), walk(Scripted(wanders=1.0), 1), [LOOKS_UP, SAYS])
    assert {each.verdict for each in found} == {"not resolved"}


@pytest.mark.slow
def test_two_equal_sides_are_called_changed_in_fewer_than_one_fork_in_twenty() -> None:
    """The family-wise false-alarm rate of a fork: 2,000 forks in which nothing was changed, by simulation."""
    rng, forks, alarms = Random(5), 2_000, 0
    for _ in range(forks):
        sides = [[_random_walk(rng) for _ in range(20)] for _ in range(2)]
        alarms += any(each.verdict == "changed" for each in differences(*sides, [LOOKS_UP, SAYS]))
    assert alarms / forks < 0.05


def _random_walk(rng: Random) -> Walk:
    action = rng.choices((1, 2, 3), (6, 3, 1))[0]
    first = Turn(calls=(Call(tool="look_up", arguments=json.dumps({"n": action})),))
    if rng.random() < 0.7:
        return Walk(turns=(first, SAYS), ended="answered")
    return Walk(turns=(first,), ended="unrecorded_call", at="x")
