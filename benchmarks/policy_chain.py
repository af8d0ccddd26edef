"""Measures what a policy chain costs a call: an empty stage, ten policies without an opinion, budget and loop.

    python benchmarks/policy_chain.py [CALLS]

The limits are measured on SQLite cells in a temporary folder, so that their figures hold for this disk: each
reservation and each settlement waits for an fsync. Times are wall time of one event loop; nothing else is in the path.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar, Literal

import msgspec

from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.adapters.store.sqlite_cells import SQLiteCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.capabilities.policies.loop import Loop
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.kinds.facts import FactRequest, Facts
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.policy import Policy
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.decision import Decision
from watchkeeper.records.event import Bound, Event, Stage, ToolStep
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import new_span_id
from watchkeeper.records.span import Cost, Usage

USAGE, COST = Usage(input_tokens=500, output_tokens=100), Cost(usd=0.001, source="benchmark")
HISTORY_STEPS = 20


class Silent(msgspec.Struct, frozen=True, kw_only=True):
    """Looks at one field and has no opinion."""

    header: ClassVar[Header] = Header(id="silent", version="1", theme="safety", summary="No opinion.")
    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.REQUEST})
    on_error: ClassVar[Literal["open", "closed"]] = "open"

    def needs(self, event: Event) -> tuple[FactRequest, ...]:
        """Nothing."""
        return ()

    def decide(self, event: Event, facts: Facts) -> Decision | None:
        """No opinion unless the model has a forbidden name."""
        return Decision(verdict="deny", reason="x", sentence="x") if event.model == "forbidden" else None


def chain_of(cells: Cells | None, *policies: Policy) -> Chain:
    """A chain whose decisions go nowhere."""
    links = [Link(policy=policy, instance=f"p{place}") for place, policy in enumerate(policies)]
    return Chain(links, cells, lambda decision: None, time.time_ns)


def call(number: int, sessions: int = 64) -> Event:
    """One call of a run with a history of a few steps, sent again with each call, and one more."""
    session = number % sessions
    turn = number // sessions
    steps = tuple(
        ToolStep(agent="a", tool="f", arguments=f"{i}", result=f"{i}", call_id=f"call_{session}_{i}_0123456789")
        for i in range(turn, turn + HISTORY_STEPS)
    )
    return Event(
        stage=Stage.REQUEST,
        at_ns=1,
        trace_id="0" * 31 + "1",
        span_id=new_span_id(),
        identity=Identity(key="k1", session=f"s{session}", run=f"r{session}"),
        model="m",
        steps=steps,
        bound=Bound(input_tokens=600, output_tokens=400, nano_usd=2_000_000, price_source="benchmark"),
    )


async def timed(name: str, calls: int, one: Callable[[int], Awaitable[object]]) -> None:
    """Time calls one after another."""
    await one(0)
    started = time.perf_counter()
    for number in range(1, calls + 1):
        await one(number)
    took = time.perf_counter() - started
    print(f"{name:58} {took / calls * 1e6:10.2f} us a call")


async def crowd(name: str, calls: int, width: int, one: Callable[[int], Awaitable[object]]) -> None:
    """Time calls with `width` of them at once."""
    numbers = iter(range(calls))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(width)))
    took = time.perf_counter() - started
    print(f"{name:58} {took / calls * 1e6:10.2f} us a call, {calls / took:8.0f} calls a second at {width} at once")


async def limited(cells: Cells, name: str, calls: int) -> None:
    """Budget over key and session with a loop, reserved and settled."""
    chain = chain_of(
        cells, Budget(per="key", usd=1e6), Budget(per="session", usd=1e6, tokens=10**12), Loop(action="stop")
    )

    async def one(number: int) -> None:
        event = call(number)
        ruling = await chain.decide(event)
        assert ruling.stop is None, ruling.stop
        await chain.settle(event, USAGE, COST)

    await timed(f"{name}: two budgets and a loop, reserved and settled", calls, one)
    await crowd(f"{name}: the same", calls * 2, 64, one)


async def nothing() -> None:
    """What a call of a coroutine costs by itself."""


async def main(calls: int) -> None:
    """Print one line for each measurement."""
    plain = msgspec.structs.replace(call(0), steps=())
    empty, ten = chain_of(None, Silent()), chain_of(None, *(Silent() for _ in range(10)))
    reply = msgspec.structs.replace(plain, stage=Stage.REPLY)
    await timed("nothing (the loop of this benchmark)", calls * 50, lambda number: nothing())
    await timed("an empty stage", calls * 50, lambda number: empty.decide(reply))
    await timed("ten policies without an opinion", calls * 50, lambda number: ten.decide(plain))
    loop = chain_of(None, Loop(action="stop"))
    await timed(
        f"loop alone in memory, {HISTORY_STEPS} steps of history", calls, lambda number: loop.decide(call(number))
    )
    await limited(MemoryCells(), "memory cells", calls)
    with tempfile.TemporaryDirectory() as folder:
        cells = SQLiteCells.open(Path(folder) / "cells.sqlite")
        await limited(cells, "SQLite cells", calls)
        await cells.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000))
