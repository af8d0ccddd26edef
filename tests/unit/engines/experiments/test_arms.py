"""Arms ask the same cases: they share answers where they ask the same, have their own where they are to, and say so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.adapters.store.sqlite_answers import SQLiteAnswers
from watchkeeper.capabilities.scorers.exact import Exact
from watchkeeper.engines.experiments.arms import (
    Bench,
    Unfinished,
    against,
    prompt_of,
    score_of,
    together,
    with_prompt,
)
from watchkeeper.engines.experiments.asking import Asker, Restraint
from watchkeeper.engines.experiments.dataset import SuiteError
from watchkeeper.engines.experiments.runner import Judge, Plan, composition
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.case import Case

pytestmark = pytest.mark.anyio


class Counting:
    """Answers with how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        del messages, parameters
        await asyncio.sleep(0)
        self.asked += 1
        return Completion(
            output=str(self.asked), calls=None, finish_reason="stop", model="m", input_tokens=7, output_tokens=1,
            duration_ns=1,
        )  # fmt: skip


def case(name: str, *messages: dict[str, Any], **fields: Any) -> Case:
    talk = [*messages, {"role": "user", "content": name}]
    return Case(case_id=name, dataset="d", messages=json.dumps(talk), expected="1", **fields)


def plan(*cases: Case) -> Plan:
    return Plan(
        suite="s", target="t", cases=cases, judges=(Judge(scorer=Exact()),), manifest=composition("t", {}, cases, 0)
    )


async def test_arms_that_ask_the_same_share_answers_and_a_draw_of_its_own_does_not(tmp_path: Path) -> None:
    provider, cache = Counting(), SQLiteAnswers(tmp_path / "answers.sqlite")
    bench = Bench(plan(case("a"), case("b")), Asker(provider, "t", cache=cache))
    first = await bench("first")
    again = await bench("again")
    assert [r.output for r in again.results] == [r.output for r in first.results]
    assert (provider.asked, bench.kept) == (2, 2)
    control = await bench("control", draw="control.")
    assert provider.asked == 4
    assert {r.output for r in control.results} == {"3", "4"}
    assert control.input_tokens == 7
    cache.close()


async def test_an_arm_that_a_cap_ends_is_unfinished_and_says_what_it_has() -> None:
    ask = Asker(Counting(), "t", restraint=Restraint(cap_usd=0.0), most=lambda *_: 1.0)
    with pytest.raises(Unfinished, match="0 of 2 questions of 'arm' were answered") as raised:
        await together(Bench(plan(case("a"), case("b")), ask)("arm"))
    assert not raised.value.stopped


async def test_an_arm_that_somebody_stops_is_unfinished() -> None:
    stopping = asyncio.Event()
    stopping.set()
    with pytest.raises(Unfinished) as raised:
        await Bench(plan(*(case(str(n)) for n in range(50))), Counting(), stopping=stopping)("arm")
    assert raised.value.stopped


def test_the_prompt_is_the_one_that_all_cases_have() -> None:
    system = {"role": "system", "content": "Be kind."}
    assert prompt_of([case("a", system), case("b", system)]) == "Be kind."
    with pytest.raises(SuiteError, match="no system message"):
        prompt_of([case("a")])
    with pytest.raises(SuiteError, match="2 different system messages"):
        prompt_of([case("a", system), case("b")])


def test_a_prompt_takes_the_place_of_the_old_one_under_its_role() -> None:
    old = case("a", {"role": "developer", "content": "old"})
    assert json.loads(with_prompt("new")(old).messages)[0] == {"role": "developer", "content": "new"}
    assert json.loads(with_prompt(" ")(old).messages) == [{"role": "user", "content": "a"}]
    assert json.loads(with_prompt("new")(case("a")).messages)[0] == {"role": "system", "content": "new"}


def test_cases_of_one_cluster_count_together() -> None:
    a = {str(n): [0.0] for n in range(20)}
    b = {str(n): [float(n < 10)] for n in range(20)}
    alone = against(a, b, {})
    clustered = against(a, b, {str(n): str(n // 10) for n in range(20)})
    assert alone.verdict == "better"
    assert clustered.verdict == "not resolved"


def test_a_score_that_nobody_gives_is_an_error() -> None:
    assert score_of(plan(case("a")), None) == "exact"
    with pytest.raises(SuiteError, match="there are: exact"):
        score_of(plan(case("a")), "schema")
