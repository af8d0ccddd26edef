"""Rates of violation on equal sides: nothing is called sensitive or broken more often than it should be."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

from watchkeeper.capabilities.generators.shards import Shards
from watchkeeper.engines.experiments.asking import Asker
from watchkeeper.engines.experiments.properties import Budget, Claim, Properties, _Trial, summary
from watchkeeper.engines.experiments.property_spec import Property, Rewrite
from watchkeeper.engines.experiments.targets import FunctionTarget
from watchkeeper.records.case import Case

SAME = Property(name="p", holds="same", under="perturb", allowed=0.1)


def case(number: int, text: str = "") -> Case:
    return Case(case_id=str(number), dataset="d", messages=json.dumps([{"role": "user", "content": text}]))


def tried(rng: Random, rate: float, excess: float = 0.0, cases: int = 60, children: int = 3) -> list[_Trial]:
    """Trials of a flaky system: answers to repeated questions differ at `rate`, to changed ones `excess` more often."""
    made = []
    for number in range(cases):
        base = Case(case_id=str(number), dataset="d", messages="[]")
        for _ in range(children):
            why = "differs" if rng.random() < rate + excess else None
            made.append(_Trial(base=base, made=base, why=why, noisy=rng.random() < rate))
    return made


def test_a_flaky_system_is_called_sensitive_in_at_most_five_in_a_hundred() -> None:
    rng = Random(1)
    called = sum(summary(SAME, tried(rng, 0.2), None).cause == "sensitive" for _ in range(400))
    assert called / 400 <= 0.025 + 3 * (0.025 * 0.975 / 400) ** 0.5


def test_a_rate_at_the_allowed_one_is_called_broken_in_at_most_five_in_a_hundred() -> None:
    rng = Random(2)
    called = sum(summary(SAME, tried(rng, 0.1), None).ruling == "broken" for _ in range(400))
    assert called / 400 <= 0.05


def test_a_sensitive_system_is_found() -> None:
    rng = Random(3)
    found = [summary(SAME, tried(rng, 0.1, 0.2), None) for _ in range(50)]
    assert sum(each.cause == "sensitive" and each.ruling == "broken" for each in found) >= 45


def test_where_most_inputs_failed_there_is_no_ruling() -> None:
    base = Case(case_id="c", dataset="d", messages="[]")
    trials = [_Trial(base=base, made=None, error="refused") for _ in range(10)]
    found = summary(SAME, trials, None)
    assert (found.ruling, found.unanswered, found.inputs) == ("not resolved", 10, 0)
    assert found.first_error == "refused"


@pytest.mark.parametrize(
    ("broke", "held", "lost", "ruling"),
    [
        (0, 100, 0, "holds"),
        (0, 100, 2, "holds"),
        (0, 100, 20, "not resolved"),
        (60, 40, 0, "broken"),
        (60, 40, 40, "broken"),
        (20, 80, 0, "broken"),
        (20, 80, 60, "not resolved"),
    ],
)
def test_there_is_a_verdict_only_where_the_unanswered_could_not_turn_it(
    broke: int, held: int, lost: int, ruling: str
) -> None:
    trials = [_Trial(base=case(n), made=None, why="differs" if n < broke else None) for n in range(broke + held)]
    trials += [_Trial(base=case(1000 + n), made=None, error="down") for n in range(lost)]
    found = summary(SAME, trials, None)
    assert (found.ruling, found.inputs, found.unanswered) == (ruling, broke + held, lost)
    assert (found.ruling == "not resolved") == ("could turn" in found.why)


def test_answers_that_cannot_be_judged_are_in_no_rate() -> None:
    some = [_Trial(base=case(n), made=None, unjudged="no name" if n < 60 else None) for n in range(160)]
    every = [_Trial(base=case(n), made=None, unjudged="no name") for n in range(10)]
    assert (summary(SAME, some, None).ruling, summary(SAME, some, None).unjudged) == ("holds", 60)
    assert (summary(SAME, every, None).ruling, summary(SAME, every, None).why) == (
        "not resolved",
        "no input could be judged",
    )


def test_a_repeated_question_without_an_answer_leaves_the_violation_known() -> None:
    trials = [_Trial(base=case(n), made=None, why="differs", noisy=None if n % 2 else False) for n in range(40)]
    found = summary(SAME, trials, None)
    assert (found.violations, found.ruling, found.cause) == (40, "broken", "sensitive")
    assert found.noise is not None and found.noise.n == 20


@pytest.mark.anyio
async def test_a_rerun_without_an_answer_is_neither_broken_nor_holding() -> None:
    rng = Random(4)

    def target(messages: list[Any]) -> str:
        if rng.random() < 0.2:
            raise TimeoutError("too slow")
        return "yes" if messages[-1]["content"].isascii() else "no"

    cases = tuple(case(n, f"Emma asks for {n} euros.") for n in range(60))
    wanted = Property(name="any name", holds="same", rewrite=Rewrite(pattern="Emma", by="Zoé"))
    look = Properties(Asker(FunctionTarget(target), "t"), {}, Budget(reruns=40, shown=2, concurrency=4))
    found = await look.look(Claim(property=wanted), cases, asyncio.Event())
    assert found.ruling == "broken" and 0 < found.unanswered < 60
    assert found.violations == found.inputs
    assert found.first_error is not None and "too slow" in found.first_error
    for example in found.counterexamples:
        assert example.unanswered > 0
        assert (example.rate.value, example.rate.n + example.unanswered) == (1.0, 40)
    assert found.unanswered_again > 0


@pytest.mark.anyio
async def test_stopped_in_the_middle_it_tells_what_it_has() -> None:
    stopping = asyncio.Event()

    async def target(messages: list[Any]) -> str:
        if messages[-1]["content"].startswith("20 "):
            stopping.set()
            await asyncio.sleep(3600)
        return "yes"

    cases = tuple(case(n, f"{n} euros are asked for") for n in range(60))
    look = Properties(Asker(FunctionTarget(target), "t"), {}, Budget(concurrency=2))
    found = await look.look(Claim(property=Property(name="p", holds="at_most", words=3)), cases, stopping)
    assert found.stopped == "It was stopped."
    assert found.inputs < 60


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"holds": "same"}, "compares two questions"),
        ({"holds": "flips", "under": "perturb"}, "needs `labels`"),
        ({"holds": "at_most"}, "needs `chars` or `words`"),
        ({"holds": "scored"}, "needs `scorer`"),
        ({"holds": "at_most", "words": 1, "read": "("}, "not a regular expression"),
    ],
)
def test_a_property_that_cannot_be_meant_is_refused(wanted: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Property(name="p", **wanted)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_where_more_than_one_text_differs_nothing_is_made_small() -> None:
    text = "I have 9 lamps. I give 2 of them away. How many are left?"
    wanted = Property(name="p", holds="same", under="shards")
    look = Properties(Asker(FunctionTarget(lambda messages: str(len(messages))), "t"), {}, Budget())
    claim = Claim(property=wanted, generator=Shards())
    found = await look.look(claim, tuple(case(n, f"{text} {n}") for n in range(20)), asyncio.Event())
    assert (found.ruling, found.counterexamples, found.unconfirmed) == ("broken", (), 3)
