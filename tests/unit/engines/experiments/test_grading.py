"""Grades: always failing earns nothing, equal suites are told apart seldom, intervals cover, a stop keeps the rest."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import Any

import pytest

from watchkeeper.capabilities.scorers.exact import Exact
from watchkeeper.engines.experiments.arms import Bench
from watchkeeper.engines.experiments.asking import Asker, Restraint
from watchkeeper.engines.experiments.grading import Graded, Grading, Trial, contest, grade, inert_in
from watchkeeper.engines.experiments.mutants import mutants_of
from watchkeeper.engines.experiments.properties import Claim
from watchkeeper.engines.experiments.property_spec import Property, Rewrite
from watchkeeper.engines.experiments.runner import Judge, Plan, composition
from watchkeeper.engines.experiments.targets import FunctionTarget
from watchkeeper.records.case import Case

RIGHT = "It weighs 12 kg and arrives on 2026-02-28."
CASES = tuple(
    Case(
        case_id=f"d/{n}",
        dataset="d",
        messages=json.dumps([{"role": "user", "content": f"When does parcel {n} arrive?"}]),
        expected=RIGHT,
    )
    for n in range(30)
)
WORDING = Property(name="wording", holds="same", rewrite=Rewrite(pattern="When", by="Say when"))


def trials(rng: Random, kills: float, false: float = 0.0, each: int = 8, controls: int = 20) -> list[Trial]:
    return [
        Trial(
            mutant=mutant,
            by_scorers=rng.random() < (false if mutant.defect == "control" else kills),
            by_properties=False,
            changed=1,
            applies=1,
        )
        for mutant in mutants_of(each, controls)
    ]


def test_a_suite_that_always_fails_gets_nothing_and_one_that_is_right_gets_all() -> None:
    rng = Random(1)
    assert grade("s", trials(rng, 1.0, 1.0)).credit.value == 0.0
    best = grade("s", trials(rng, 1.0))
    assert (best.credit.value, best.caught, best.false_alarms) == (1.0, 40, 0)
    assert best.credit.low > 0.7
    assert [each.part for each in best.parts] == ["scorers", "properties", "all"]
    assert best.by_where["unrehearsed"].n + best.by_where["everywhere"].n == 40


def test_what_fits_no_answer_counts_nowhere_and_what_got_none_neither() -> None:
    rng = Random(2)
    good = trials(rng, 1.0)
    odd = [
        Trial(mutant=each.mutant, by_scorers=False, by_properties=False, changed=0, applies=0)
        if each.mutant.defect == "wrong_unit"
        else each
        for each in good
    ]
    found = grade("s", odd)
    assert (found.mutants, found.inert, found.credit.value) == (32, 8, 1.0)
    void = [
        Trial(mutant=each.mutant, by_scorers=True, by_properties=False, changed=1, applies=1, void=True)
        if each.mutant.defect == "control"
        else each
        for each in good
    ]
    assert (grade("s", void).controls, grade("s", void).void) == (0, 20)
    assert grade("s", void).credit.n == 0


def test_equal_suites_are_called_better_or_worse_in_at_most_five_in_a_hundred() -> None:
    rng = Random(3)
    called = 0
    for _ in range(600):
        found = contest(trials(rng, 0.5, 0.1, 4, 10), trials(rng, 0.5, 0.1, 4, 10))
        called += found.verdict != "not resolved"
    assert called / 600 <= 0.05


def test_the_interval_of_the_difference_in_credit_covers_as_it_says() -> None:
    rng = Random(4)
    covered = sum(
        (found := contest(trials(rng, 0.4, 0.1), trials(rng, 0.8, 0.2)).credit).low <= 0.3 <= found.high
        for _ in range(400)
    )
    assert covered / 400 >= 0.95 - 3 * (0.95 * 0.05 / 400) ** 0.5


def test_a_suite_that_kills_more_is_better_and_one_that_also_cries_wolf_is_not() -> None:
    rng = Random(5)
    few = trials(rng, 0.3)
    assert contest(few, trials(rng, 0.95)).verdict == "better"
    assert contest(trials(rng, 0.95), few).verdict == "worse"
    assert contest(few, trials(rng, 0.95, 0.9)).verdict != "better"


def bench_of(answer: Any, **restraint: Any) -> tuple[Bench, Asker]:
    plan = Plan(
        suite="s", target="t", cases=CASES, judges=(Judge(scorer=Exact()),), manifest=composition("t", {}, CASES, 0)
    )
    ask = Asker(FunctionTarget(answer), "t", restraint=Restraint(retries=0, **restraint))
    return Bench(plan, ask), ask


@pytest.mark.anyio
async def test_exact_match_misses_what_shows_only_elsewhere_and_a_property_adds_it() -> None:
    bench, ask = bench_of(lambda _: RIGHT)
    exact = Graded(name="exact", cases=CASES, judges=bench.plan.judges)
    both = Graded(name="both", cases=CASES, judges=bench.plan.judges, claims=(Claim(property=WORDING),))
    grading = Grading(bench, ask, CASES, inputs=60, concurrency=4, stopping=asyncio.Event())
    done = await grading.play([exact, both], mutants_of(4, 10))
    assert done.ended_by is None
    a, b = ([each[at] for each in done.each] for at in (0, 1))
    assert inert_in(a, b) == frozenset()
    alone, more = grade("exact", a), grade("both", b)
    assert alone.by_where["unrehearsed"].value == 0.0 and alone.by_where["everywhere"].value == 1.0
    assert alone.false_alarms == more.false_alarms == 0
    assert more.gain.low > 0
    found = contest(a, b)
    assert (found.verdict, found.only_a) == ("better", 0)
    assert found.p_value < 0.05


@pytest.mark.anyio
async def test_no_more_is_under_way_than_was_allowed() -> None:
    now = most = 0

    async def answer(_: object) -> str:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return RIGHT

    bench, ask = bench_of(answer)
    suite = Graded(name="s", cases=CASES, judges=bench.plan.judges, claims=(Claim(property=WORDING),))
    grading = Grading(bench, ask, CASES, inputs=10, concurrency=3, stopping=asyncio.Event())
    await grading.play([suite], mutants_of(1, 2))
    assert most == 3


@pytest.mark.anyio
@pytest.mark.parametrize(("share", "calls"), [(True, 30), (False, 30 * 7)])
async def test_a_question_is_asked_once_for_all_trials_or_anew_for_each(share: bool, calls: int) -> None:
    bench, ask = bench_of(lambda _: RIGHT)
    grading = Grading(bench, ask, CASES, inputs=10, concurrency=3, stopping=asyncio.Event(), share=share)
    await grading.play([Graded(name="s", cases=CASES, judges=bench.plan.judges)], mutants_of(1, 2))
    assert ask.told.asked == calls


@pytest.mark.anyio
async def test_a_failure_is_not_shared_with_those_who_ask_later() -> None:
    failed: set[str] = set()

    def once(messages: Any) -> str:
        text = messages[-1]["content"]
        if text not in failed:
            failed.add(text)
            raise TimeoutError
        return RIGHT

    bench, ask = bench_of(once)
    grading = Grading(bench, ask, CASES, inputs=10, concurrency=1, stopping=asyncio.Event())
    done = await grading.play([Graded(name="s", cases=CASES, judges=bench.plan.judges)], mutants_of(1, 2))
    assert [each[0].void for each in done.each] == [True, *[False] * 6]


@pytest.mark.anyio
async def test_stopped_in_the_middle_the_trials_so_far_are_kept() -> None:
    stopping, came = asyncio.Event(), 0

    def progress(_: object) -> None:
        nonlocal came
        came += 1
        if came == 5:
            stopping.set()

    bench, ask = bench_of(lambda _: RIGHT)
    grading = Grading(bench, ask, CASES, inputs=10, concurrency=2, stopping=stopping, progress=progress)
    done = await grading.play([Graded(name="s", cases=CASES, judges=bench.plan.judges)], mutants_of(4, 10))
    assert done.stopped and 5 <= len(done.each) < 30


@pytest.mark.anyio
async def test_a_target_that_mostly_fails_makes_trials_void() -> None:
    bench, ask = bench_of(lambda _: 1 / 0)
    grading = Grading(bench, ask, CASES, inputs=10, concurrency=4, stopping=asyncio.Event())
    done = await grading.play([Graded(name="s", cases=CASES, judges=bench.plan.judges)], mutants_of(1, 1))
    found = grade("s", [each[0] for each in done.each])
    assert (found.mutants, found.controls, found.void) == (0, 0, 6)
