"""What a format costs is found task by task, at the stated rates, and nothing is carried over from another task."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec
import pytest

from tests.unit.engines.experiments.sides import side
from watchkeeper.analysis.masked_mass import Masked
from watchkeeper.capabilities.scorers.exact import Exact
from watchkeeper.engines.experiments.arms import Answers, Bench
from watchkeeper.engines.experiments.formats import FORMS, FormatTax, answer_in, ask_forms, format_tax, parameters_of
from watchkeeper.engines.experiments.runner import Judge, Plan, composition
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.case import Case

pytestmark = pytest.mark.anyio


def simulated(
    accuracy: Mapping[str, Mapping[str, float]], seed: int, cases: int = 200, runs: int = 2
) -> tuple[dict[Any, Answers], dict[str, str]]:
    """Answers in every form; `accuracy` by task and form, 0.9 where it is not named. Tasks take turns."""
    names = sorted(accuracy)

    def say(form: str) -> Any:
        def one(case: int, rng: Random) -> dict[str, object]:
            share = accuracy[names[case % len(names)]].get(form, 0.9)
            output = "Answer: x" if form == "free" else '{"answer": "x"}'
            return {"right": rng.random() < share, "output": output, "output_tokens": 10 + len(form), "input_tokens": 5}

        return one

    answers = {form: side(form, say(form), cases=cases, runs=runs, seed=100 * seed + n) for n, form in enumerate(FORMS)}
    return answers, {f"c{case}": names[case % len(names)] for case in range(cases)}


def tax(accuracy: Mapping[str, Mapping[str, float]], seed: int = 1, **more: int) -> FormatTax:
    return format_tax(*simulated(accuracy, seed, **more), "exact", 0.1, lambda r: None)


def test_a_tax_in_one_task_is_found_and_not_carried_to_the_other() -> None:
    found = tax({"reasoning": {"json": 0.6, "strict": 0.6}, "extraction": {}}, cases=600)
    verdicts = {(row.task, row.form): row.verdict for row in found.rows}
    assert verdicts["reasoning", "json"] == verdicts["reasoning", "strict"] == "worse"
    assert verdicts["extraction", "json"] in ("equivalent", "non-inferior")
    advice = {each.task: each.form for each in found.advice}
    assert advice["reasoning"] in ("two pass", "reasoning first")
    assert advice["extraction"] == "json"
    assert found.rows[0].usd is None


def test_forms_that_cost_nothing_are_called_better_or_worse_at_the_stated_rate() -> None:
    """A/A: any form of a task called better or worse in at most 5% of tasks."""
    reports = 60
    alarms = sum(
        any(row.verdict in ("better", "worse") for row in tax({"one": {}}, seed=seed, cases=80, runs=1).rows)
        for seed in range(reports)
    )
    assert alarms / reports <= 0.05 + 3 * (0.05 * 0.95 / reports) ** 0.5


def test_too_few_cases_are_not_resolved_and_no_form_is_recommended() -> None:
    found = tax({"one": {"strict": 0.8}}, cases=12, runs=1)
    assert [each.form for each in found.advice] == [None]
    assert "ask more cases" in found.advice[0].sentence


def test_where_every_form_is_worse_free_text_is_recommended() -> None:
    found = tax({"one": dict.fromkeys(FORMS[1:], 0.4)}, cases=200)
    assert [each.form for each in found.advice] == ["free"]


@pytest.mark.parametrize(
    ("form", "output", "answer"),
    [
        ("free", "Because.\nAnswer: 42.", "42"),
        ("free", "Answer: 1\nNo, wait.\n**Answer:** 2", "2"),
        ("free", "It is 42.", None),
        ("json", '{"answer": 42}', "42"),
        ("strict", '{"answer": "Paris."}', "Paris"),
        ("strict", '```json\n{"answer": "Paris"}\n```', None),
        ("json", '{"reply": "Paris"}', None),
        ("reasoning first", '{"reasoning": "r", "answer": "x"}', "x"),
        ("json", "[1]", None),
        ("free", None, None),
    ],
)
def test_the_answer_is_taken_out_by_one_rule(form: Any, output: str | None, answer: str | None) -> None:
    assert answer_in(form, output) == answer


def test_what_masks_took_is_told_with_its_interval_and_whether_it_goes_with_the_loss() -> None:
    rng = Random(8)
    masses = {f"c{case}": rng.random() for case in range(200)}
    answers, tasks = simulated({"one": {}}, 3, runs=1)
    strict = [
        msgspec.structs.replace(
            result,
            masked=Masked(mass=masses[result.case_id], exact=True),
            scores=tuple(
                msgspec.structs.replace(score, value=float(masses[result.case_id] < 0.7)) for score in result.scores
            ),
        )
        for result in answers["strict"].results
    ]
    bound = [msgspec.structs.replace(r, masked=Masked(mass=0.2, exact=False)) for r in answers["json"].results]
    answers["strict"] = Answers(name="strict", results=tuple(strict))
    answers["json"] = Answers(name="json", results=tuple(bound))
    rows = {row.form: row for row in format_tax(answers, tasks, "exact", 0.1, lambda r: None).rows}
    told = rows["strict"]
    assert told.masked is not None
    assert told.early_sign is not None
    assert told.masked.low < sum(masses.values()) / 200 < told.masked.high
    assert told.masked_exact
    assert told.early_sign.low > 0.3
    assert rows["json"].masked is not None
    assert not rows["json"].masked_exact
    assert rows["json"].early_sign is None  # the same from all of them
    assert (rows["free"].masked, rows["two pass"].masked) == (None, None)


def test_a_mask_that_has_nothing_to_do_with_the_loss_is_a_sign_at_the_stated_rate() -> None:
    signs = 0
    for seed in range(60):
        rng = Random(777_777 + seed)  # not a seed that the simulated answers use
        answers, tasks = simulated({"one": {}}, seed, cases=80, runs=1)
        masked = [
            msgspec.structs.replace(r, masked=Masked(mass=rng.random(), exact=True)) for r in answers["json"].results
        ]
        answers["json"] = Answers(name="json", results=tuple(masked))
        rows = {row.form: row for row in format_tax(answers, tasks, "exact", 0.1, lambda r: None).rows}
        sign = rows["json"].early_sign
        assert sign is not None
        signs += sign.excludes(0.0)
    assert signs / 60 <= 0.05 + 3 * (0.05 * 0.95 / 60) ** 0.5


async def test_log_probabilities_are_asked_for_only_where_they_are_wanted() -> None:
    for masked in (False, True):
        provider = Obedient()
        await ask_forms(Bench(plan_of(1), provider), 1, masked)
        assert {parameters.get("logprobs") for _, parameters in provider.asked} == {True if masked else None}


def plan_of(count: int) -> Plan:
    cases = tuple(
        Case(case_id=f"c{n}", dataset="d", messages=json.dumps([{"role": "user", "content": f"{n}?"}]), expected="7")
        for n in range(count)
    )
    return Plan(
        suite="s", target="t", cases=cases, judges=(Judge(scorer=Exact()),), manifest=composition("t", {}, cases, 0),
        parameters={"model": "m"},
    )  # fmt: skip


class Obedient:
    """Keeps to every form, and counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, object]]] = []

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        await asyncio.sleep(0)
        self.asked.append((messages, parameters))
        said = '{"reasoning": "r", "answer": "7"}' if "response_format" in parameters else "So it is.\nAnswer: 7"
        return Completion(
            output=said, calls=None, finish_reason="stop", model="m", input_tokens=10, output_tokens=5, duration_ns=1000
        )


async def test_every_form_is_asked_as_it_is_meant_and_the_answer_alone_is_judged() -> None:
    provider = Obedient()
    answers = await ask_forms(Bench(plan_of(3), provider), 1)
    assert {form: each.values("exact") for form, each in answers.items()} == {
        form: {"c0": [1.0], "c1": [1.0], "c2": [1.0]} for form in FORMS
    }
    assert len(provider.asked) == 3 * 6
    second = [json.loads(messages) for messages, _ in provider.asked if "Put the answer" in messages]
    assert [talk[1]["content"] for talk in second] == ["So it is.\nAnswer: 7"] * 3
    assert {result.output_tokens for result in answers["two pass"].results} == {10}
    kinds = sorted(str(dict(p).get("response_format", {"type": "none"})["type"]) for _, p in provider.asked)  # type: ignore[index]
    assert kinds == ["json_object"] * 3 + ["json_schema"] * 9 + ["none"] * 6


def test_the_reasons_stand_before_the_answer_in_the_schema() -> None:
    form = parameters_of("reasoning first")["response_format"]["json_schema"]["schema"]
    assert list(form["properties"]) == ["reasoning", "answer"]
