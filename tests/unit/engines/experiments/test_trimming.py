"""The cases that choose what is deleted are others than those that confirm it, and unanswered cases forbid a pass."""

from __future__ import annotations

import pytest

from tests.unit.engines.experiments.prompting_world import Fake
from watchkeeper.engines.experiments.trimming import gate, halves, trim
from watchkeeper.records.case import Case

pytestmark = pytest.mark.anyio
PROMPT = "Be kind. Never lie."


def test_halves_are_about_equal_and_do_not_part_a_cluster() -> None:
    cases = [Case(case_id=str(n), dataset="d", messages="[]", cluster=f"k{n // 2}") for n in range(400)]
    choosing, confirming = halves(cases)
    assert len(choosing) + len(confirming) == 400
    assert 140 < len(choosing) < 260
    assert not {case.cluster for case in choosing} & {case.cluster for case in confirming}
    assert halves(cases[::-1])[0][::-1] == choosing


async def answered(name: str, prompt: str, draw: str) -> Fake:
    """Right in every case, but that the shorter prompt leaves ten cases without an answer."""
    del draw
    missing = 0 if prompt == PROMPT else 10
    return Fake(name, {str(n): [1.0] for n in range(200 - missing)})


async def test_cases_that_only_the_full_prompt_answers_forbid_a_pass() -> None:
    from watchkeeper.analysis.clauses import clauses_of

    ruling = await trim(PROMPT, [clauses_of(PROMPT)[0].clause_id], answered, "exact", 0.1)  # type: ignore[arg-type]
    assert ruling.passed is None
    assert "10 cases have a value on one side only" in ruling.sentences[0]


async def test_nothing_to_delete_is_no_permission() -> None:
    ruling = await trim(PROMPT, [], answered, "exact", 0.1)  # type: ignore[arg-type]
    assert (ruling.passed, ruling.prompt) == (None, None)


async def test_a_score_that_no_case_has_is_an_error() -> None:
    async def silent(name: str, prompt: str, draw: str) -> Fake:
        del prompt, draw
        return Fake(name, {})

    with pytest.raises(ValueError, match="No case has a value of 'exact'"):
        await gate(PROMPT, PROMPT + " Count the days.", silent, "exact", 0.1)  # type: ignore[arg-type]
