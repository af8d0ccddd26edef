"""Measures what the ledger costs: reservations settled per second and their delay, with slices and without.

    python benchmarks/ledger.py [CALLS] [--postgres]

Each call reserves on two levels (organisation and key, in money and tokens), and is settled to a tenth of that; 64
calls are under way at once. Cells are in memory, a SQLite file in a temporary folder, and with --postgres a PostgreSQL
server of its own on a unix socket (its data in a temporary folder, fsync on). One process, one event loop; nothing else
is in the path. "far" is a cap that is never near, so that slices are leased; "near" has the cap close above what is
spent, so that every call is exact although slices are set.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.adapters.store.postgres_cells import PostgresCells
from watchkeeper.adapters.store.sqlite_cells import SQLiteCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.event import Bound, Event
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import new_span_id, new_trace_id
from watchkeeper.records.span import Cost, Usage

AT_ONCE = 64
USAGE, COST = Usage(input_tokens=50, output_tokens=10), Cost(usd=0.0001, source="benchmark")
CAPS = {"usd": 1_000_000.0, "tokens": 10**12}
SLICES = {"slice_usd": 5.0, "slice_tokens": 5_000_000}
NEAR = {"usd": 14.0, "tokens": 13_000_000}


def budgets(sliced: bool, near: bool) -> list[Budget]:
    """An organisation's and a key's budget."""
    given = {**(NEAR if near else CAPS), **(SLICES if sliced else {})}
    return [Budget(per="organisation", **given), Budget(per="key", **given)]  # type: ignore[arg-type]


async def measure(cells: Cells, calls: int, sliced: bool, near: bool = False) -> tuple[float, float, float]:
    """Calls per second, and the median and 99th percentile of the delay before a call may go on, in ms."""
    links = [Link(policy=each, instance=each.per) for each in budgets(sliced, near)]
    chain = Chain(links, cells, lambda decision: None, time.time_ns)
    delays: list[float] = []
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            event = Event(
                stage="request",
                at_ns=time.time_ns(),
                trace_id=new_trace_id(),
                span_id=new_span_id(),
                identity=Identity(key="k1"),
                model="m",
                bound=Bound(input_tokens=500, output_tokens=100, nano_usd=1_000_000, price_source="benchmark"),
            )
            began = time.perf_counter()
            ruling = await chain.rule(event)
            delays.append(time.perf_counter() - began)
            if ruling.stop is None:
                chain.settle(event, USAGE, COST)
            await asyncio.sleep(0)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    await chain.close()
    took = time.perf_counter() - began
    delays.sort()
    return calls / took, 1e3 * delays[len(delays) // 2], 1e3 * delays[len(delays) * 99 // 100]


def main() -> None:
    """Measure every store with and without slices, and print a table."""
    numbers = [word for word in sys.argv[1:] if word.isdigit()]
    calls = int(numbers[0]) if numbers else 5_000
    print("| cells | budgets | calls/s | delay p50 ms | delay p99 ms |\n|---|---|---|---|---|")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kinds = {"memory": lambda name: MemoryCells(), "SQLite": lambda name: SQLiteCells.open(folder / name)}
        if "--postgres" in sys.argv:
            from tests import postgres

            server = stack.enter_context(postgres.running())
            kinds["PostgreSQL"] = lambda name: PostgresCells.open(server.dsn)
        for kind, opened in kinds.items():
            for words, sliced, near in (
                ("exact", False, False),
                ("slices, far", True, False),
                ("slices, near", True, True),
            ):

                async def once(opened=opened, kind=kind, words=words, sliced=sliced, near=near) -> None:  # type: ignore[no-untyped-def]
                    cells = opened(f"{kind}-{words}".replace(" ", ""))
                    try:
                        rate, p50, p99 = await measure(cells, calls, sliced, near)
                    finally:
                        await cells.close()
                    print(f"| {kind} | {words} | {rate:,.0f} | {p50:.3f} | {p99:.3f} |", flush=True)

                asyncio.run(once())


if __name__ == "__main__":
    main()
