"""Works through many things at a time until all are done, somebody stops it, or a cap in money is reached.

What was done before the end is kept and handed back; what was under way is cancelled, so that Ctrl-C need not wait for
an endpoint that hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from watchkeeper.engines.experiments.asking import CapReached

T = TypeVar("T")
R = TypeVar("R")
STOPPED = "It was stopped."


class Done(msgspec.Struct, Generic[R]):
    """What came of each thing that was done, in the order of the things; `ended_by` is None where all were.

    `stopped` says that a person ended it; else `ended_by` is the sentence of the cap.
    """

    each: list[R]
    ended_by: str | None = None
    stopped: bool = False


async def work_through(
    things: Iterable[T], do: Callable[[T], Awaitable[R]], width: int, stopping: asyncio.Event
) -> Done[R]:
    """Do something with each thing, `width` at a time; raises what `do` raises, except `CapReached`."""
    found: dict[int, R] = {}
    capped: list[str] = []
    listed = list(things)
    places = enumerate(listed)

    async def work() -> None:
        for index, thing in places:
            if capped or stopping.is_set():
                return
            try:
                found[index] = await do(thing)
            except CapReached as reached:
                capped.append(str(reached))
                return

    workers = [asyncio.create_task(work()) for _ in range(max(1, width))]
    stop = asyncio.create_task(stopping.wait())
    try:
        waiting: set[asyncio.Task[object]] = {*workers, stop}
        left = set(workers)
        while left and not stop.done():
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done & left:
                task.result()
            left -= done
            waiting -= done
    finally:
        for task in (*workers, stop):
            task.cancel()
        await asyncio.gather(*workers, stop, return_exceptions=True)
    kept = [found[index] for index in sorted(found)]
    if len(kept) == len(listed):
        return Done(kept)
    return Done(kept, STOPPED, True) if stopping.is_set() else Done(kept, capped[0])
