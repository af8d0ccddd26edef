"""Slices as a chain uses them: no round trip while they last, nothing lost when a call is stopped or unknown."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.engines.decide_scene import OpenScene, Scene, SickCells, call, chain_of
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.engines.decide.reservations import reservations
from watchkeeper.engines.decide.slices import slices
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.decision import deny
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Cost, Usage

pytestmark = pytest.mark.anyio

KEY = "meter/scope/key/default/=k1/total/tokens"
USED = Usage(input_tokens=1, output_tokens=1)
FREE = Cost(usd=0, source="test")


async def held(cells: Cells, meter: str = KEY) -> int:
    found = await cells.get(meter)
    return found if isinstance(found, int) else 0


async def test_calls_far_from_the_cap_take_one_transaction_for_a_slice_and_none_each() -> None:
    cells = SickCells(MemoryCells())
    chain, _ = chain_of(cells, Budget(per="key", tokens=100_000, slice_tokens=1_000))
    for _ in range(100):
        event = call()
        assert (await chain.decide(event)).stop is None
        await chain.settle(event, USED, FREE)
    assert cells.applied == 1 and await held(cells) == 1_000
    await chain.close()
    assert await held(cells) == 200 and [each async for each in slices(cells)] == []


async def test_where_one_budget_has_no_slice_every_call_is_exact() -> None:
    cells = SickCells(MemoryCells())
    budgets = Budget(per="key", tokens=100_000, slice_tokens=1_000), Budget(per="session", tokens=500)
    chain, _ = chain_of(cells, *budgets)
    await chain.decide(call())
    assert await held(cells) == 10 and [each async for each in slices(cells)] == []


async def test_a_call_that_another_policy_stops_gives_its_part_of_the_slice_back() -> None:
    cells = MemoryCells()
    stop = Scene(rules=lambda event, facts: deny("no", "No.") if event.model == "stop" else None)
    chain, _ = chain_of(cells, Budget(per="key", tokens=100_000, slice_tokens=1_000), stop)
    for _ in range(3):
        assert (await chain.decide(call(model="stop"))).stop is not None
    await chain.close()
    assert await held(cells) == 0


async def test_two_hundred_calls_at_once_over_slices_spend_what_fits_and_no_more() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="key", tokens=1_000, slice_tokens=100))
    rulings = await asyncio.gather(*(chain.decide(call()) for _ in range(200)))
    assert sum(ruling.stop is None for ruling in rulings) == 100
    assert await held(cells) == 1_000


async def test_without_cells_the_slice_is_spent_and_then_the_budget_fails_in_its_own_direction() -> None:
    cells = SickCells(MemoryCells())
    chain, _ = chain_of(cells, Budget(per="key", tokens=1_000, slice_tokens=100), OpenScene())
    assert (await chain.decide(call())).stop is None
    cells.broken = True
    rulings = [await chain.decide(call()) for _ in range(12)]
    assert [ruling.stop is None for ruling in rulings] == [True] * 9 + [False] * 3
    assert {ruling.stop.reason for ruling in rulings if ruling.stop} == {"facts_unavailable"}
    cells.broken = False
    assert (await chain.decide(call())).stop is None


async def test_a_chain_that_closes_writes_calls_in_flight_down_as_reservations() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="key", tokens=1_000, slice_tokens=100))
    event = call()
    await chain.decide(event)
    await chain.close()
    (left,) = [each async for each in reservations(cells)]
    assert left.span_id == event.span_id and left.note == "its gateway stopped before it ended"
    assert await held(cells) == 10


async def test_many_owners_have_slices_of_their_own() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="session", tokens=1_000, slice_tokens=100))
    events = [call(identity=Identity(key="k1", session=f"s{number}")) for number in range(20)]
    await asyncio.gather(*(chain.decide(event) for event in events))
    assert len([each async for each in slices(cells)]) == 20
    await asyncio.gather(*(chain.settle(event, USED, FREE) for event in events))
    await chain.close()
    assert await held(cells, "meter/scope/session/default/=s7/total/tokens") == 2
