"""Slices of a budget, over every Cells: the total never exceeds the cap, whatever dies or is lost in between."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.decide.reservations import Ledger, Want, reservations
from watchkeeper.engines.decide.slices import Slices, reconcile_slice, slices
from watchkeeper.kinds.facts import Reserve
from watchkeeper.kinds.ports import Applied, Cells, Op, Page, Refused
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.ids import new_span_id
from watchkeeper.records.span import Cost, Usage

pytestmark = pytest.mark.anyio

METER, CAP, SIZE, WORST = "meter/scope/key/default/=k1/total/nano_usd", 1_000, 100, 10


class Line:
    """A line to shared cells that can lose a request, or the answer to one that was carried out."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.asked = 0
        self.gone = False
        self.lose_request = self.lose_answer = False
        self.late: random.Random | None = None

    async def apply(self, ops: Sequence[Op], operation_id: str | None = None, urgent: bool = True) -> Applied | Refused:
        self.asked += 1
        if self.late is not None:
            await asyncio.sleep(self.late.random() / 200)
        if self.gone or self.lose_request:
            self.lose_request = False
            raise StoreError("the line is down")
        answer = await self.cells.apply(ops, operation_id, urgent)
        if self.lose_answer:
            self.lose_answer = False
            raise StoreError("the answer was lost")
        return answer

    async def get(self, key: str) -> int | bytes | None:
        return await self.cells.get(key)

    async def scan(self, prefix: str, cursor: str | None = None, limit: int = 1000) -> Page:
        return await self.cells.scan(prefix, cursor, limit)

    async def close(self) -> None: ...


class Gateway:
    """One gateway's ledger and slices."""

    def __init__(self, cells: Cells, size: int = SIZE) -> None:
        self.line = Line(cells)
        self.size = size
        self.work: set[asyncio.Task[Any]] = set()
        self.slices = Slices(self.line, lambda: 1, self._start)
        self.ledger = Ledger(self.line)

    def _start(self, work: Any) -> object:
        task = asyncio.ensure_future(work)
        self.work.add(task)
        return task

    async def idle(self) -> None:
        await asyncio.gather(*self.work, return_exceptions=True)
        self.work.clear()

    async def reserve(self, amount: int = WORST, cap: int = CAP) -> Event | None:
        """A call that may use `amount`; None when it is refused."""
        event = Event(stage=Stage.REQUEST, at_ns=1, trace_id="0" * 31 + "1", span_id=new_span_id())
        wants = [Want(Reserve(meter=METER, unit="nano_usd", amount=amount, limit=cap, slice=self.size), True)]
        booked = self.slices.take(event, wants, frozenset(), "")
        if booked is None:
            booked = await self.slices.reserve(event, wants, frozenset(), "")
        if booked is None:
            booked = await self.ledger.reserve(event, wants, frozenset(), "")
        return event if booked.refused is None else None

    async def settle(self, event: Event, used: int | None) -> None:
        """The call has used so much; None is unknown."""
        cost = None if used is None else Cost(usd=used / 1e9, source="test")
        if self.slices.holds(event.span_id):
            self.slices.settle(event.span_id, Usage(), cost, 1)
        else:
            await self.ledger.settle(event.span_id, Usage(), cost, 1)


async def test_a_slice_serves_many_calls_in_one_transaction(cells: Cells) -> None:
    gateway = Gateway(cells)
    calls = [await gateway.reserve() for _ in range(SIZE // WORST)]
    assert all(calls) and gateway.line.asked == 1
    assert await cells.get(METER) == SIZE
    await gateway.slices.close()


async def test_what_was_not_used_goes_back_into_the_slice_and_at_the_end_to_the_meter(cells: Cells) -> None:
    gateway = Gateway(cells)
    for _ in range(50):
        event = await gateway.reserve()
        assert event is not None
        await gateway.settle(event, 1)
    assert gateway.line.asked == 1
    await gateway.slices.close()
    assert await cells.get(METER) == 50
    assert [each async for each in slices(cells)] == []


async def test_two_gateways_spend_all_but_what_lies_in_the_other_ones_slice_and_never_more(cells: Cells) -> None:
    gateways = [Gateway(cells), Gateway(cells)]
    granted = 0
    for number in range(400):
        event = await gateways[number % 2].reserve()
        granted += event is not None
    assert await cells.get(METER) == CAP
    assert granted == CAP // WORST


async def test_a_slice_is_spent_while_the_store_is_out_of_reach_and_then_the_store_is_missed(cells: Cells) -> None:
    gateway = Gateway(cells)
    assert await gateway.reserve()
    gateway.line.gone = True
    for _ in range(SIZE // WORST - 1):
        assert await gateway.reserve()
    with pytest.raises(StoreError):
        await gateway.reserve()


async def test_a_gateway_that_dies_leaves_its_slice_charged_until_somebody_says_what_was_spent(cells: Cells) -> None:
    dead = Gateway(cells)
    event = await dead.reserve()
    assert event is not None
    (left,) = [each async for each in slices(cells)]
    assert left.amount == SIZE and await cells.get(METER) == SIZE
    with pytest.raises(ValueError, match="at most 100"):
        await reconcile_slice(cells, left, SIZE + 1)
    assert await reconcile_slice(cells, left, 7)
    assert not await reconcile_slice(cells, left, 7)
    assert await cells.get(METER) == 7 and [each async for each in slices(cells)] == []


async def test_a_slice_that_is_reconciled_under_a_living_gateway_is_not_spent_any_more(cells: Cells) -> None:
    gateway = Gateway(cells)
    await gateway.settle(await gateway.reserve() or pytest.fail(), 10)
    (left,) = [each async for each in slices(cells)]
    await reconcile_slice(cells, left, 10)
    await gateway.slices.close()
    assert await cells.get(METER) == 10


async def test_unknown_use_of_a_slice_is_written_down_as_a_reservation(cells: Cells) -> None:
    gateway = Gateway(cells)
    event = await gateway.reserve()
    assert event is not None
    await gateway.settle(event, None)
    await gateway.idle()
    await gateway.slices.close()
    (left,) = [each async for each in reservations(cells)]
    assert left.span_id == event.span_id and left.note == "unknown after the call: nano_usd"
    assert await cells.get(METER) == WORST


async def test_a_call_dearer_than_its_bound_is_charged_in_full(cells: Cells) -> None:
    gateway = Gateway(cells, size=WORST)
    event = await gateway.reserve()
    assert event is not None
    await gateway.settle(event, 35)
    await gateway.idle()
    await gateway.slices.close()
    assert await cells.get(METER) == 35


async def test_a_cap_that_comes_down_reaches_a_slice_that_is_out(cells: Cells) -> None:
    gateway = Gateway(cells)
    await gateway.settle(await gateway.reserve() or pytest.fail(), 10)
    assert await gateway.reserve(cap=15) is None
    assert await cells.get(METER) == 10


@pytest.mark.parametrize("seed", range(60))
async def test_at_no_crash_point_is_more_spent_than_the_meter_holds_or_the_cap_allows(seed: int) -> None:
    """Gateways come, lose requests and answers, and die at any moment; `spent` is what the provider would bill."""
    rng = random.Random(seed)
    cells = MemoryCells()
    gateways = [Gateway(cells, rng.choice((20, 50, 100))) for _ in range(3)]
    flying: list[tuple[Gateway, Event]] = []
    spent = 0
    for _ in range(400):
        gateway = rng.choice(gateways)
        act = rng.random()
        gateway.line.lose_request, gateway.line.lose_answer = rng.random() < 0.1, rng.random() < 0.1
        try:
            if act < 0.6:
                event = await gateway.reserve(rng.randint(1, WORST))
                if event is not None:
                    flying.append((gateway, event))
            elif act < 0.9 and flying:
                owner, event = flying.pop(rng.randrange(len(flying)))
                if rng.random() < 0.2:
                    await owner.settle(event, None)
                    spent += 1
                else:
                    used = rng.randint(0, 1)
                    spent += used
                    await owner.settle(event, used)
            elif act < 0.95:
                await gateway.slices.sweep()
            elif act < 0.97:
                gateways[gateways.index(gateway)] = Gateway(cells, gateway.size)
                spent += sum(owner is gateway for owner, _ in flying)
                flying = [pair for pair in flying if pair[0] is not gateway]
        except StoreError:
            pass
        held = await cells.get(METER) or 0
        assert isinstance(held, int)
        assert spent + len(flying) <= held <= CAP
    for gateway in gateways:
        await gateway.idle()


@pytest.mark.parametrize("seed", range(12))
async def test_when_all_have_ended_the_meter_holds_exactly_what_was_spent(seed: int) -> None:
    """Calls, sweeps that find every slice idle, and a slow store, all at once and in any order."""
    rng = random.Random(seed)
    cells = MemoryCells()
    gateways = [Gateway(cells, size) for size in (30, 100)]
    for gateway in gateways:
        gateway.line.late = rng
        gateway.slices._monotonic = lambda: rng.random() * 40  # every slice is idle, or near its cap, or neither
    spent = 0

    async def one(gateway: Gateway) -> None:
        nonlocal spent
        await asyncio.sleep(rng.random() / 50)
        event = await gateway.reserve(rng.randint(1, WORST))
        if event is None:
            return
        await asyncio.sleep(rng.random() / 50)
        used = rng.randint(0, WORST)
        spent += used
        await gateway.settle(event, used)

    async def sweep(gateway: Gateway) -> None:
        for _ in range(20):
            await asyncio.sleep(rng.random() / 100)
            await gateway.slices.sweep()

    calls = [one(rng.choice(gateways)) for _ in range(300)]
    await asyncio.gather(*calls, *(sweep(gateway) for gateway in gateways))
    for gateway in gateways:
        await gateway.idle()
        await gateway.slices.close()
    assert await cells.get(METER) == spent
    assert [each async for each in slices(cells)] == []
