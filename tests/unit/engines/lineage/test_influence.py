"""Leaving a chunk out is answered by rates with an interval, and by nothing from too few samples."""

import json
from collections.abc import Mapping
from random import Random

import pytest

from watchkeeper.engines.lineage.influence import Candidate, influences
from watchkeeper.kinds.ports import Completion

FACT = "The storm lantern burns for 9 hours on one filling."
BESIDE = "The tent has room for two people and a dog."
REQUEST = json.dumps(
    {"model": "m", "stream": True, "messages": [{"role": "system", "content": f"{FACT}\n{BESIDE}"}]}
).encode()


class Model:
    """Knows the fact only from its context, and forgets it with a chance."""

    def __init__(self, forgets: float = 0.0, fails: bool = False) -> None:
        self.forgets, self.fails, self.chance = forgets, fails, Random(3)
        self.asked: list[Mapping[str, object]] = []

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        self.asked.append(parameters)
        knows = "9 hours" in json.loads(messages)[0]["content"] and self.chance.random() >= self.forgets
        return Completion(
            output="The storm lantern burns for 9 hours on one filling." if knows else "I do not know.",
            calls=None,
            finish_reason="stop",
            model="m",
            input_tokens=1,
            output_tokens=1,
            duration_ns=1,
            error="down" if self.fails else None,
        )


def candidate(text: str) -> Candidate:
    start = REQUEST.index(text.encode())
    return Candidate(source_id=text[:3], document=text[:3], start=start, end=start + len(text), sentences=(FACT,))


@pytest.mark.anyio
async def test_the_chunk_that_carries_the_answer_is_told_from_the_one_beside_it() -> None:
    told: list[int] = []
    own, other = await influences(REQUEST, [candidate(FACT), candidate(BESIDE)], Model(0.1), 20, progress=told.append)
    assert own.verdict == "the answer rests on it"
    assert own.difference.low > 0.5
    assert own.difference.n == 20
    assert other.verdict == "not resolved"
    assert sum(told) == 60


@pytest.mark.anyio
async def test_the_model_is_asked_plainly_and_as_wanted() -> None:
    model = Model()
    await influences(REQUEST, [candidate(FACT)], model, 5, overrides={"model": "other"})
    assert {parameters["model"] for parameters in model.asked} == {"other"}
    assert not any("stream" in parameters for parameters in model.asked)


@pytest.mark.anyio
async def test_calls_that_fail_are_counted_and_say_nothing() -> None:
    (found,) = await influences(REQUEST, [candidate(FACT)], Model(fails=True), 5)
    assert (found.failed, found.verdict) == (10, "not resolved")


@pytest.mark.anyio
@pytest.mark.parametrize(("request_", "samples", "says"), [(REQUEST, 1, "too few"), (b'{"input": 1}', 5, "no chat")])
async def test_what_cannot_be_asked_is_refused(request_: bytes, samples: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        await influences(request_, [], Model(), samples)


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_chunk_without_influence_is_seldom_blamed() -> None:
    """False alarms, measured: a model that says it half of the time with and without the chunk, 300 rounds."""
    blamed = 0
    for seed in range(300):
        model = Model(0.5)
        model.chance = Random(seed)
        (found,) = await influences(REQUEST, [candidate(BESIDE)], model, 20)
        blamed += found.verdict != "not resolved"
    assert blamed / 300 <= 0.05
