"""Owns the fold of every run: in memory for the runs of the moment, in Cells so that it outlives a crash."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import NamedTuple
from weakref import WeakValueDictionary

from watchkeeper.engines.decide.fold import RunFold, Seen, folded, forgiven, seen_by
from watchkeeper.kinds.facts import RunActivity
from watchkeeper.kinds.ports import Cells, Delete, Refused, Swap
from watchkeeper.records.event import Event
from watchkeeper.records.ids import digest
from watchkeeper.records.record import pack, unpack

PREFIX = "run/"
RUNS_IN_MEMORY = 256
ATTEMPTS = 32


class _Held(NamedTuple):
    """A fold in memory, as it is stored, and what is asked of it again and again."""

    fold: RunFold
    stored: bytes | None
    seen: Seen
    activity: RunActivity


class Runs:
    """The folds of runs, most recently used first. Without cells it keeps them in memory only.

    Calls of one run take turns. Several processes may share the cells: a fold is written by compare-and-swap, and
    whoever loses folds its steps into the winner's. Errors of the store pass through to the caller.
    """

    def __init__(self, cells: Cells | None) -> None:
        self._cells = cells
        self._folds: OrderedDict[str, _Held] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def known(self, event: Event, run: str) -> RunActivity | None:
        """The activity of a run after the event, if that takes no round trip; else None, and nothing was done.

        It takes none without cells, or when the run is in memory and the event says nothing new about it.
        """
        key = _key(event.identity.tenant, run)
        held = self._folds.get(key)
        if held is not None and held.seen.all_of(event.steps, event.identity.session):
            self._folds.move_to_end(key)
            return held.activity
        if self._cells is not None:
            return None
        following = _with(RunFold() if held is None else held.fold, event)
        self._keep(key, following, None)
        return following.activity()

    def doubt(self, event: Event, run: str) -> None:
        """Look the run up anew at its next call: it was stopped, and a person may let it go on from elsewhere."""
        if self._cells is not None:
            self._folds.pop(_key(event.identity.tenant, run), None)

    async def after(self, event: Event, run: str) -> RunActivity:
        """Fold the event's steps into a run, persist it if it changed, and say what the run has done."""
        key = _key(event.identity.tenant, run)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            return await self._fold_in(event, run, key)

    async def _fold_in(self, event: Event, run: str, key: str) -> RunActivity:
        fold, stored = await self._load(key)
        for _ in range(ATTEMPTS):
            following = _with(fold, event)
            if following is fold or self._cells is None:
                self._keep(key, following, stored)
                return following.activity()
            data = pack(following)
            answer = await self._cells.apply([Swap(key=key, expected=stored, value=data)])
            if not isinstance(answer, Refused):
                self._keep(key, following, data)
                return following.activity()
            stored = answer.current if isinstance(answer.current, bytes) else None
            fold = RunFold() if stored is None else unpack(RunFold, stored)
        raise RuntimeError(
            f"Run {run[:80]!r} was changed by others {ATTEMPTS} times while one call was folded in. "
            "Give each task its own run id."
        )

    async def _load(self, key: str) -> tuple[RunFold, bytes | None]:
        held = self._folds.get(key)
        if held is not None:
            return held.fold, held.stored
        stored = None if self._cells is None else await self._cells.get(key)
        if not isinstance(stored, bytes):
            return RunFold(), None
        return unpack(RunFold, stored), stored

    def _keep(self, key: str, fold: RunFold, stored: bytes | None) -> None:
        held = self._folds.get(key)
        if held is None or held.fold is not fold:
            held = _Held(fold, stored, seen_by(fold), fold.activity())
        self._folds[key] = held if held.stored is stored else held._replace(stored=stored)
        self._folds.move_to_end(key)
        if len(self._folds) > RUNS_IN_MEMORY:
            self._folds.popitem(last=False)


def _with(fold: RunFold, event: Event) -> RunFold:
    return folded(fold, event.steps, event.identity.session, event.at_ns) if event.steps else fold


def run_cell(prefix: str, tenant: str, run: str) -> str:
    """The cell of a run. No names of a tenant and a run together reach the cell of another tenant's."""
    data = run.encode("utf-8", "backslashreplace")
    whose = tenant.replace("%", "%25").replace("/", "%2F")
    return f"{prefix}{whose}/{data.decode() if len(data) <= 120 else digest(data)}"


def _key(tenant: str, run: str) -> str:
    return run_cell(PREFIX, tenant, run)


async def resume_run(cells: Cells, tenant: str, run: str, now_ns: int) -> int | None:
    """Let a run go on that was stopped as a loop: what it has done so far counts no more.

    Its earlier calls stay known, so that a history that is sent again is not counted again. Says how many steps were
    set aside, None where no run of this name has done anything.
    """
    key = _key(tenant, run)
    for _ in range(ATTEMPTS):
        stored = await cells.get(key)
        if not isinstance(stored, bytes):
            return None
        fold = unpack(RunFold, stored)
        answer = await cells.apply([Swap(key=key, expected=stored, value=pack(forgiven(fold, now_ns)))])
        if not isinstance(answer, Refused):
            return len(fold.steps)
    raise RuntimeError(f"Run {run[:80]!r} was changed by others {ATTEMPTS} times meanwhile. Try again.")


async def forget_runs(cells: Cells, before_ns: int) -> int:
    """Delete the folds of runs that did nothing since `before_ns`; says how many there were."""
    cursor, gone = None, 0
    while True:
        page = await cells.scan(PREFIX, cursor)
        old = [
            key for key, value in page.items if isinstance(value, bytes) and unpack(RunFold, value).at_ns < before_ns
        ]
        if old:
            await cells.apply([Delete(key=key) for key in old])
        gone += len(old)
        cursor = page.cursor
        if cursor is None:
            return gone
