"""Judges get their endpoint where a suite runs, and one that grades its own kin is named."""

from __future__ import annotations

from contextlib import AsyncExitStack

import msgspec
import pytest

from watchkeeper.capabilities.scorers.exact import Exact
from watchkeeper.capabilities.scorers.judge import Judge as ModelJudge
from watchkeeper.compose.judging import attach_judges, kin_warnings
from watchkeeper.engines.experiments.dataset import SuiteError
from watchkeeper.engines.experiments.runner import Judge, Plan, composition
from watchkeeper.kinds.scorer import Subject
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Chance, Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.records.case import Case


def plan(model: str, judge_model: str, key: str | None = None) -> Plan:
    scorer = ModelJudge(model=judge_model, base_url="http://127.0.0.1:1/v1", api_key=key)
    return Plan(
        suite="s",
        target="t",
        cases=(),
        judges=(Judge(scorer=Exact()), Judge(scorer=scorer)),
        manifest=composition("t", {}, (), 0),
        parameters={"model": model},
    )


@pytest.mark.anyio
async def test_judges_are_attached_and_keep_their_digest() -> None:
    before = plan("claude-3", "gpt-4o", "env:JUDGE")
    async with AsyncExitStack() as stack:
        after = await attach_judges(before, stack, {"JUDGE": "k"})
        assert [each.parameters for each in after.judges] == [each.parameters for each in before.judges]
        assert "provider" in after.judges[1].scorer.__dict__


@pytest.mark.anyio
async def test_a_key_that_is_not_set_is_told() -> None:
    async with AsyncExitStack() as stack:
        with pytest.raises(SuiteError, match="export JUDGE="):
            await attach_judges(plan("a", "b", "env:JUDGE"), stack, {})


def test_a_judge_of_the_same_family_is_warned_of() -> None:
    (warning,) = kin_warnings(plan("gpt-4o-mini", "gpt-4.1"))
    assert "favour their kin" in warning
    assert kin_warnings(plan("claude-3-haiku", "gpt-4.1")) == []
    assert kin_warnings(plan("lab-small", "lab-large")) == []


@pytest.mark.anyio
async def test_a_judge_grades_over_http_and_an_unreadable_one_does_not() -> None:
    said = {"lab-judge": "It names the refund.\nVERDICT: yes", "lab-mumble": "Hard to say."}
    rules = tuple(
        Rule(name=model, when=When(model=model), chances=(Chance(weight=1, answer=text),))
        for model, text in said.items()
    )
    subject = Subject(
        kind="case",
        subject_id="c",
        output="refund",
        case=Case(case_id="c", dataset="d", messages="[]", expected="refund"),
    )
    with LabServer(LabConfig(rules=rules)) as lab:
        marks = []
        for model in said:
            asked = msgspec.structs.replace(
                plan("other", model),
                judges=(Judge(scorer=ModelJudge(model=model, base_url=lab.base_url)),),
            )
            async with AsyncExitStack() as stack:
                (judge,) = (await attach_judges(asked, stack)).judges
                (mark,) = await judge.scorer.score(subject)  # type: ignore[misc]
                marks.append(mark)
    assert [mark.value for mark in marks] == [1.0, None]
    assert "no verdict" in (marks[1].explanation or "")
