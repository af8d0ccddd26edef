"""Tasks in turns: what is less reliable is told from what is less apt, and equal systems are quiet."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

from watchkeeper.capabilities.scorers.exact import Exact
from watchkeeper.engines.experiments.asking import Asker, CapReached
from watchkeeper.engines.experiments.runner import Judge
from watchkeeper.engines.experiments.stress import FORMS, Run, Stress, side_by_side
from watchkeeper.engines.experiments.targets import FunctionTarget
from watchkeeper.records.case import Case

RUNS = 10


def played(rng: Random, chances: list[tuple[float, float]], graded: bool = False) -> list[Run]:
    """Runs of tasks that are right with these chances, whole and in turns."""
    return [
        Run(
            task=str(task),
            form=form,
            number=number,
            score=chance * rng.random() if graded else float(rng.random() < chance),
        )
        for task, both in enumerate(chances)
        for number in range(RUNS)
        for form, chance in zip(FORMS, both, strict=True)
    ]


@pytest.mark.parametrize("graded", [False, True])
def test_equal_systems_are_called_different_in_at_most_five_in_a_hundred(graded: bool) -> None:
    rng, called = Random(11), 0
    for _ in range(400):
        chances = [(chance, chance) for chance in (rng.random() for _ in range(20))]
        found = side_by_side(played(rng, chances, graded), RUNS, 400)
        called += found.ruling != "not shown"
    assert called / 400 <= 0.05 + 3 * (0.05 * 0.95 / 400) ** 0.5  # two questions at 2.5% each; 4.8% in 3,000


def test_what_wavers_is_less_reliable_and_what_never_gets_some_right_is_less_apt() -> None:
    rng = Random(12)
    wavers = [side_by_side(played(rng, [(1.0, 0.5)] * 20), RUNS, 400).ruling for _ in range(20)]
    weak = [side_by_side(played(rng, [(1.0, float(n % 2)) for n in range(20)]), RUNS, 400).ruling for _ in range(20)]
    assert set(wavers) == {"less reliable"}
    assert set(weak) == {"less apt"}


def test_intervals_of_the_unreliability_cover_the_mean_of_the_tasks() -> None:
    """Tasks are drawn, so what is covered is the mean over all tasks; ten runs each, on both sides."""
    rng = Random(13)

    def change(tasks: int) -> Any:
        return side_by_side(played(rng, [(1.0, rng.choice((0.9, 0.5))) for _ in range(tasks)]), RUNS, 20 * tasks)

    truth = change(2_000).unreliability_change.value
    found = [change(40).unreliability_change for _ in range(300)]
    covered = sum(each.low <= truth <= each.high for each in found)
    assert covered / 300 >= 0.95 - 3 * (0.95 * 0.05 / 300) ** 0.5


def test_one_task_and_few_runs_show_nothing() -> None:
    rng = Random(14)
    assert side_by_side(played(rng, [(1.0, 0.5)]), RUNS, 20).ruling == "not shown"
    assert side_by_side(played(rng, [(1.0, 0.0)] * 3), RUNS, 60).ruling == "not shown"
    assert side_by_side([], RUNS, 20).ruling == "not resolved"


def test_a_run_without_an_answer_is_left_out_of_both_forms_and_half_of_them_leave_it_open() -> None:
    rng = Random(15)
    runs = played(rng, [(1.0, 0.5)] * 20)

    def lost(share: int) -> list[Run]:
        return [
            Run(task=run.task, form=run.form, number=run.number, error="down")
            if run.form == "sharded" and run.number < share
            else run
            for run in runs
        ]

    some, most = side_by_side(lost(3), RUNS, 400), side_by_side(lost(6), RUNS, 400)
    assert (some.failed, some.ruling, some.whole.tasks) == (60, "less reliable", 20)
    assert (most.failed, most.ruling, most.first_error) == (120, "not resolved", "down")


def pairs(count: int) -> list[tuple[Case, Case]]:
    made = []
    for number in range(count):
        said = ["When does it arrive?", f"It is parcel {number}."]
        whole = Case(
            case_id=str(number),
            dataset="d",
            messages=json.dumps([{"role": "user", "content": " ".join(said)}]),
            expected="now",
        )
        turns = json.dumps([{"role": "user", "content": each} for each in said])
        made.append((whole, Case(case_id=f"{number}~", dataset="d", messages=turns, expected="now")))
    return made


@pytest.mark.anyio
async def test_turns_are_asked_with_the_answers_in_between() -> None:
    seen: list[list[str]] = []

    def target(messages: list[Any]) -> str:
        seen.append([f"{each['role']}: {each['content']}" for each in messages])
        return "now" if "parcel" in messages[-1]["content"] else "which one?"

    stress = Stress(Asker(FunctionTarget(target), "t"), {}, Judge(scorer=Exact()), concurrency=1)
    found = await stress.play(pairs(1), 2, asyncio.Event())
    assert (found.played, found.planned, found.ended_by, found.whole.average.value) == (4, 4, None, 1.0)
    assert ["user: When does it arrive?", "assistant: which one?", "user: It is parcel 0."] in seen


@pytest.mark.anyio
async def test_a_cap_and_a_stop_keep_what_was_played() -> None:
    stopping = asyncio.Event()

    class Capped:
        asked = 0

        async def __call__(self, messages: str, parameters: Any, draw: str) -> Any:
            self.asked += 1
            if self.asked > 40:
                raise CapReached("no money left")
            return await FunctionTarget(lambda _: "now").complete(messages, parameters)

    found = await Stress(Capped(), {}, Judge(scorer=Exact()), concurrency=2).play(pairs(10), 10, stopping)
    assert (found.ended_by, found.stopped) == ("no money left", False)
    assert 0 < found.played < found.planned == 200
    stopping.set()
    again = await Stress(Capped(), {}, Judge(scorer=Exact())).play(pairs(10), 10, stopping)
    assert again.stopped and again.played == 0 and again.ruling == "not resolved"
