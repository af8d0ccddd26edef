"""Properties: a planted dependence is found and shrunk, flicker is no violation, and rates carry intervals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from watchkeeper.capabilities.generators.names import Names
from watchkeeper.capabilities.generators.perturb import Perturb
from watchkeeper.engines.experiments.properties import Checked, Property, check
from watchkeeper.kinds.ports import Completion
from watchkeeper.kinds.variant import PARENT
from watchkeeper.records.case import Case

pytestmark = pytest.mark.anyio


def case(number: int, text: str) -> Case:
    return Case(case_id=f"c{number}", dataset="d", messages=json.dumps([{"role": "user", "content": text}]))


def said(text: str | None, error: str | None = None) -> Completion:
    none: dict[str, Any] = dict.fromkeys(("calls", "finish_reason", "model", "input_tokens", "output_tokens"))
    return Completion(output=text, duration_ns=0, error=error, **none)


def pairs(generator: Any, cases: list[Case]) -> tuple[tuple[Case, Case], ...]:
    by_id = {each.case_id: each for each in cases}
    return tuple((by_id[str(made.attributes[PARENT])], made) for made in generator.generate(cases, Random(3)))


def asked_of(answer: Any) -> Any:
    async def ask(messages: str, parameters: Mapping[str, object], draw: str) -> Completion:
        await asyncio.sleep(0)
        return said(answer(json.loads(messages)[-1]["content"]))

    return ask


LOANS = [
    case(n, f"Please decide the loan of Anna, income {n} thousand. She has paid all earlier ones.") for n in range(100)
]


async def found(answer: Any, relation: str = "same", generator: Any = None, **options: Any) -> Checked:
    wanted = Property(name="p", relation=relation, pairs=pairs(generator or Names(), LOANS))  # type: ignore[arg-type]
    return await check(wanted, asked_of(answer), {}, **options)


async def test_a_dependence_on_the_script_of_a_name_is_found_and_shrunk_to_the_name() -> None:
    came = await found(lambda text: "granted" if text.isascii() else "refused", reruns=10)
    assert came.verdict == "violated" and came.flicker.value == 0.0 and came.excess.low > 0.3
    worst = came.counterexamples[0]
    assert (worst.answer, worst.variant_answer) == ("granted", "refused")
    assert [splice.kind for splice in worst.splices] == ["name"] and worst.rate.value == 1.0 and worst.rate.n == 10


async def test_of_several_mistakes_only_the_one_that_matters_is_left() -> None:
    came = await found(lambda text: "ok" if "Please" in text else "what?", generator=Perturb(edits=8))
    assert came.verdict == "violated"
    assert all(len(each.splices) == 1 for each in came.counterexamples)


async def test_an_invariant_system_holds() -> None:
    came = await found(lambda text: "granted")
    assert (came.verdict, came.counterexamples) == ("holds", ())


async def test_a_system_that_flickers_by_itself_is_given_a_rate_and_no_blame() -> None:
    rng = Random(8)
    came = await found(lambda text: rng.choice(("granted", "refused")))
    assert came.verdict != "violated" and 0.3 < came.flicker.value < 0.7 and 0.3 < came.violations.value < 0.7


async def test_a_relation_that_must_flip_is_violated_where_it_does_not() -> None:
    assert (await found(lambda text: "granted", "differs")).verdict == "violated"


async def test_calls_that_fail_are_in_no_rate() -> None:
    async def ask(messages: str, parameters: Mapping[str, object], draw: str) -> Completion:
        return said(None, "HTTP 500") if "income 1 " in messages else said("granted")

    came = await check(Property(name="p", relation="same", pairs=pairs(Names(), LOANS)), ask, {})
    assert (came.pairs, came.unanswered) == (99, 1)


def test_equal_systems_are_blamed_no_oftener_than_stated() -> None:
    """A/A: 200 systems that flicker in 0 to 40% of answers whatever is asked; at most 2.5% may be called violated."""
    wanted = Property(name="p", relation="same", pairs=pairs(Names(), LOANS))

    async def play() -> int:
        wrong = 0
        for seed in range(200):
            rng = Random(seed)
            odd = 0.4 * rng.random()
            came = await check(wanted, asked_of(lambda text, r=rng, p=odd: "b" if r.random() < p else "a"), {}, shown=0)
            wrong += came.verdict == "violated"
        return wrong

    assert asyncio.run(play()) <= 5
