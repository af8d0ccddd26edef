"""Clauses are told apart by what they do, at the stated rates; where nothing matters, nothing is claimed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.engines.experiments.prompting_world import DEAD, LOAD, World, thirty_clauses
from watchkeeper.analysis.clauses import clauses_of
from watchkeeper.engines.experiments.profiler import Profile, Profiler, Wanted, grid
from watchkeeper.engines.experiments.trimming import gate, trim

pytestmark = pytest.mark.anyio
WANTED = Wanted(score="exact", margin=0.05)
PROMPT, NAMED = thirty_clauses()
NEEDS = {text: 0.2 for text, kind in NAMED.items() if kind == LOAD}
HARMS = {text: 0.2 for text, kind in NAMED.items() if "at least 90" in text}
IDS = {clause.text: clause.clause_id for clause in clauses_of(PROMPT)}


def of(found: Profile, kind: str) -> list[str]:
    return [clause.role for clause in found.clauses if NAMED[clause.text] == kind]


async def test_thirty_clauses_are_told_apart_with_the_stated_power() -> None:
    """200 cases, effects of 20 points, 1% noise: each load-bearing clause is found at least four times in five."""
    loads: list[str] = []
    dead: list[str] = []
    harms: list[str] = []
    arms = 0
    for seed in range(8):
        world = World(seed, 200, NEEDS, HARMS, noise=0.01, right=0.95)
        found = await Profiler(PROMPT, world, WANTED).profile()
        loads += of(found, LOAD)
        dead += of(found, DEAD)
        harms += [each.role for each in found.clauses if each.text in HARMS]
        arms += world.arms
        assert [set(find.clauses) for find in found.finds if find.kind == "contradiction"] == [
            {IDS["- Answer in at most 40 words."], IDS["- Answer in at least 90 words."]}
        ]
    assert loads.count("load-bearing") >= 0.8 * len(loads)
    assert harms.count("harmful") >= 0.8 * len(harms)
    assert dead.count("load-bearing") + dead.count("harmful") <= 1
    assert dead.count("neutral") >= 0.8 * len(dead)


async def test_a_prompt_of_which_nothing_matters_gets_no_such_verdict_but_at_the_stated_rate() -> None:
    """A/A: 5% noise; any "load-bearing" or "harmful" among 30 clauses in at most 5% of profiles (Holm)."""
    profiles, alarms = 60, 0
    for seed in range(profiles):
        found = await Profiler(PROMPT, World(seed, 80, {}, {}, noise=0.05, right=0.85), WANTED).profile()
        alarms += any(each.role in ("load-bearing", "harmful") for each in found.clauses)
    assert alarms / profiles <= 0.05 + 3 * (0.05 * 0.95 / profiles) ** 0.5


async def test_quiet_groups_save_arms_and_a_steady_model_needs_no_clause_alone() -> None:
    world = World(1, 200, {}, {}, noise=0.0, right=0.9)
    found = await Profiler(PROMPT, world, WANTED).profile()
    assert {each.role for each in found.clauses} == {"neutral"}
    assert not any(each.alone for each in found.clauses)
    assert world.arms == found.arms == 2 + len(grid(clauses_of(PROMPT))) < len(found.clauses)


async def test_too_few_cases_resolve_nothing() -> None:
    found = await Profiler(PROMPT, World(2, 20, {}, {}, noise=0.02, right=0.9), WANTED).profile()
    assert {each.role for each in found.clauses} == {"not resolved"}


async def test_a_trimmed_prompt_passes_non_inferiority() -> None:
    dead = [IDS[text] for text, kind in NAMED.items() if kind == DEAD]
    ruling = await trim(PROMPT, dead, World(3, 300, NEEDS, HARMS, noise=0.01, right=0.95), "exact", 0.05)
    assert ruling.passed is True
    assert ruling.prompt is not None
    assert len(clauses_of(ruling.prompt)) == 18
    assert ruling.tokens_after < ruling.tokens_before


async def test_the_removal_of_a_load_bearing_clause_is_refused() -> None:
    for text in NEEDS:
        ruling = await trim(PROMPT, [IDS[text]], World(4, 200, NEEDS, HARMS, noise=0.01, right=0.95), "exact", 0.05)
        assert ruling.passed is False
        assert ruling.prompt is None


async def test_two_clauses_that_stand_in_for_each_other_are_not_deleted_together() -> None:
    """Each alone is neutral; the deletion's own test sees what leave-one-out cannot."""
    twins = "Say the order number. Repeat the order number at the end. Be kind."
    first, second, _ = clauses_of(twins)

    class Twins(World):
        async def __call__(self, name: str, prompt: str, draw: str) -> Any:
            spoilt = "order number" not in prompt
            self.needs = {"order": 0.5} if spoilt else {}
            return await super().__call__(name, prompt, draw)

    def world(seed: int) -> Twins:
        return Twins(seed, 200, {"order": 0.5}, {}, noise=0.0, right=0.95)

    found = await Profiler(twins, world(5), WANTED).profile()
    assert set(found.named("neutral")) >= {first.clause_id, second.clause_id}
    ruling = await trim(twins, [first.clause_id, second.clause_id], world(6), "exact", 0.05)
    assert ruling.passed is False


async def test_growth_without_evidence_does_not_pass_the_gate() -> None:
    grown = PROMPT + "\n- Mention the weather of the warehouse in your thoughts."
    assert (await gate(PROMPT, grown, None, None, None)).passed is False
    world = World(7, 300, NEEDS, {}, noise=0.0, right=0.9)
    ruling = await gate(PROMPT, grown, world, "exact", 0.05)
    assert ruling.passed is False
    assert "without" not in ruling.sentences[0]
    assert "not shown to be better" in ruling.sentences[0]


async def test_growth_that_pays_passes_and_so_does_growth_within_the_allowance() -> None:
    line = "- Count the thirty days from the delivery date."
    old = PROMPT.replace(line + "\n", "")
    ruling = await gate(old, PROMPT, World(8, 200, NEEDS, {}, noise=0.01, right=0.9), "exact", 0.05)
    assert ruling.passed is True
    assert (await gate(old, PROMPT, None, None, None, 0.10)).passed is True


async def test_what_went_needs_evidence_also_where_the_prompt_shrinks() -> None:
    line = "- Count the thirty days from the delivery date."
    new = PROMPT.replace(line + "\n", "")
    assert (await gate(PROMPT, new, None, None, None)).passed is False
    assert (await gate(PROMPT, new, World(9, 200, NEEDS, {}, noise=0.01, right=0.9), "exact", 0.05)).passed is False
    assert (await gate(PROMPT, PROMPT, None, None, None)).passed is True


async def test_a_prompt_of_one_clause_is_refused_with_the_reason() -> None:
    with pytest.raises(ValueError, match="has 1 clauses"):
        Profiler("Be kind.", World(0, 1, {}, {}, noise=0.0, right=1.0), WANTED)
