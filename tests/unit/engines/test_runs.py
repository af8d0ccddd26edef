"""The folds of runs: they outlive a restart, and several processes fold into one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.engines.decide_scene import SickCells, call, chain_of, open_cells
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.capabilities.policies.loop import Loop
from watchkeeper.engines.decide.contracts import Contracts
from watchkeeper.engines.decide.runs import RUNS_IN_MEMORY, Runs, forget_runs, resume_run
from watchkeeper.kinds.facts import Contract
from watchkeeper.records.event import ToolStep
from watchkeeper.records.identity import Identity

pytestmark = pytest.mark.anyio


def step(number: int, result: str = "same", agent: str = "a") -> ToolStep:
    return ToolStep(agent=agent, tool="f", arguments="x", result=result, call_id=f"{agent}{number}")


async def test_a_loop_is_remembered_over_a_restart(tmp_path: Path) -> None:
    cells = open_cells("sqlite", tmp_path)
    chain, _ = chain_of(cells, Loop(action="stop"))
    for number in range(4):
        assert (await chain.decide(call(steps=(step(number),)))).stop is None
    await cells.close()
    cells = open_cells("sqlite", tmp_path)
    chain, _ = chain_of(cells, Loop(action="stop"))
    ruling = await chain.decide(call(steps=(step(4),)))
    assert ruling.stop is not None and ruling.stop.reason == "loop_repeat"
    await cells.close()


async def test_two_processes_fold_one_run_and_lose_no_step(tmp_path: Path) -> None:
    cells = open_cells("sqlite", tmp_path)
    both = Runs(cells), Runs(cells)
    steps = [(runs, step(number, agent=name)) for number in range(5) for runs, name in zip(both, "ab", strict=True)]
    await asyncio.gather(*(runs.after(call(steps=(each,)), "r1") for runs, each in steps))
    activity = await both[0].after(call(steps=(step(99),)), "r1")
    assert activity.total == 11 and len({each.call_id for each in activity.steps}) == 11
    await cells.close()


async def test_a_history_that_says_nothing_new_costs_no_round_trip() -> None:
    cells = SickCells(MemoryCells())
    runs = Runs(cells)
    event = call(steps=(step(1), step(2)))
    assert runs.known(event, "r1") is None
    await runs.after(event, "r1")
    before = cells.applied
    again = runs.known(event, "r1")
    assert again is not None and again.total == 2 and cells.applied == before


async def test_runs_of_two_tenants_with_one_name_are_two() -> None:
    runs = Runs(MemoryCells())
    await runs.after(call(steps=(step(1),), identity=Identity(tenant="a")), "r1")
    other = await runs.after(call(steps=(step(2),), identity=Identity(tenant="b")), "r1")
    assert other.total == 1


async def test_a_run_that_left_memory_is_read_again() -> None:
    runs = Runs(MemoryCells())
    for number in range(RUNS_IN_MEMORY + 1):
        await runs.after(call(steps=(step(1),)), f"r{number}")
    assert runs.known(call(), "r0") is None
    assert (await runs.after(call(steps=(step(2),)), "r0")).total == 2


async def test_any_name_of_a_run_makes_a_key_that_the_store_takes(tmp_path: Path) -> None:
    cells = open_cells("sqlite", tmp_path)
    runs = Runs(cells)
    for name in ("x" * 100_000, "\ud800", "a/b", "", "日" * 50):
        assert (await runs.after(call(steps=(step(1),)), name)).total == 1
    await cells.close()


async def test_old_runs_are_forgotten_and_young_ones_stay() -> None:
    cells = MemoryCells()
    runs = Runs(cells)
    for at_ns in (5, 10, 15):
        await runs.after(call(steps=(step(1),), at_ns=at_ns), f"r{at_ns}")
    assert await forget_runs(cells, before_ns=10) == 1
    assert [key for key, _ in (await cells.scan("run/")).items] == ["run/default/r10", "run/default/r15"]


@pytest.mark.parametrize(("one", "other"), [(("a", "b/c"), ("a/b", "c")), (("a%2Fb", "c"), ("a/b", "c"))])
async def test_no_names_of_a_tenant_and_a_run_reach_the_run_of_another_tenant(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    cells = MemoryCells()
    await Runs(cells).after(call(steps=(step(1),), identity=Identity(tenant=one[0])), one[1])
    assert await resume_run(cells, *other, 0) is None
    activity = await Runs(cells).after(call(steps=(step(2),), identity=Identity(tenant=other[0])), other[1])
    assert activity.total == 1
    contracts = Contracts(cells)
    await contracts.of(Contract(tenant=one[0], run=one[1], done="x", steps=3), 0)
    assert (await contracts.of(Contract(tenant=other[0], run=other[1]), 0)).steps is None
