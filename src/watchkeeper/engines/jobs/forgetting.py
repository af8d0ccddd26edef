"""Takes somebody out of the cells of jobs and effects; that an effect was done stays, so that it is not done again."""

from __future__ import annotations

import msgspec

from watchkeeper.engines.jobs.effects import PREFIX as EFFECTS
from watchkeeper.engines.jobs.effects import Held
from watchkeeper.engines.jobs.state import OPEN, JobState
from watchkeeper.engines.jobs.state import PREFIX as JOBS
from watchkeeper.engines.recorder.belonging import Circle, redacted
from watchkeeper.kinds.ports import Cells, Delete, Op, Swap
from watchkeeper.records.effect import Effect
from watchkeeper.records.record import pack, unpack


async def forget_work(cells: Cells, circle: Circle, pseudonym: str) -> int:
    """Delete somebody's jobs, and take names, objects and receipts out of their effects; returns how many cells."""
    changed = 0
    for prefix in (JOBS, EFFECTS):
        cursor: str | None = None
        while True:
            page = await cells.scan(prefix, cursor)
            for key, value in page.items:
                ops = _without(key, value, circle, pseudonym) if isinstance(value, bytes) else []
                if ops:
                    await cells.apply(ops)
                    changed += 1
            cursor = page.cursor
            if cursor is None:
                break
    return changed


def _without(key: str, value: bytes, circle: Circle, pseudonym: str) -> list[Op]:
    if key.startswith(JOBS):
        if not circle.holds(unpack(JobState, value)):
            return []
        return [Delete(key=key), Delete(key=OPEN + key.removeprefix(JOBS))]
    held = unpack(Held, value)
    if not circle.holds(held.effect):
        return []
    left = redacted(held.effect, pseudonym)
    assert isinstance(left, Effect)
    return [Swap(key=key, expected=value, value=pack(msgspec.structs.replace(held, effect=left)))]
