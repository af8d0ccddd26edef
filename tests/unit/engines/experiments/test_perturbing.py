"""A model that follows its steps moves with them; one that knows its answer does not; noise is told apart."""

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from random import Random

import pytest

from watchkeeper.engines.experiments.asking import Asker
from watchkeeper.engines.experiments.perturbing import Moved, Steps, perturb
from watchkeeper.kinds.ports import Completion

ITEMS = [
    Steps(
        item=str(n),
        messages=json.dumps([{"role": "user", "content": f"item {n}"}]),
        steps=(f"There are {n} boxes.", f"Each holds {n + 2}.", f"That makes {n + n * 3}."),
    )
    for n in range(40)
]


class Answering:
    """A stand-in whose answer is a function of the messages; it is no model."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self._answer = answer

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        return Completion(
            output=f"Answer: {self._answer(messages)}",
            calls=None,
            finish_reason="stop",
            model="m",
            input_tokens=1,
            output_tokens=1,
            duration_ns=1,
        )


def told(answer: Callable[[str], str]) -> dict[str, Moved]:
    asker = Asker(Answering(answer), "t")
    return {each.how: each for each in asyncio.run(perturb(asker, ITEMS, {}, margin=0.2))}


def test_an_answer_that_sums_up_its_steps_rests_on_them() -> None:
    found = told(lambda messages: str(sum(map(int, re.findall(r"\d+", json.loads(messages)[-2]["content"])))))
    assert found["truncate"].verdict == found["corrupt"].verdict == "rests on them"
    assert found["swap"].verdict == "does not move"
    assert found["corrupt"].moved.value > 0.9


def test_an_answer_that_was_known_before_does_not_move() -> None:
    found = told(lambda messages: json.loads(messages)[0]["content"])
    assert {each.verdict for each in found.values()} == {"does not move"}


def test_an_answer_that_moves_by_itself_is_not_taken_for_one_that_follows() -> None:
    rng = Random(1)
    found = told(lambda _: rng.choice("ab"))
    assert all(each.verdict != "rests on them" for each in found.values())
    assert found["truncate"].by_itself.value > 0.3


def test_few_items_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        asyncio.run(perturb(Asker(Answering(lambda _: "a"), "t"), ITEMS[:2], {}))
