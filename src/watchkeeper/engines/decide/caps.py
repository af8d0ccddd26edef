"""Caps that a person has set for one owner, in the place of the ones in the settings.

A cap belongs to a scope: a meter without its window, so that it goes on into the next day. It lies in one cell and is
in force in every gateway within `FRESH_S`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import msgspec

from watchkeeper.kinds.facts import Reserve
from watchkeeper.kinds.ports import Cells, Delete, Put
from watchkeeper.records.meter import scope_of
from watchkeeper.records.record import Record, pack, unpack

PREFIX = "cap/"
FRESH_S = 1.0


class Cap(Record):
    """A limit in the unit of its meter (nano-dollars, tokens, calls, milliseconds), who set it and when."""

    limit: int
    by: str
    at_ns: int


class Caps:
    """The caps that were set, as they were at most `FRESH_S` ago while they are asked for."""

    def __init__(self, cells: Cells, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._cells, self._monotonic = cells, monotonic
        self._limits: dict[str, int] = {}
        self._read_at: float | None = None
        self._reading = False
        self.loading: asyncio.Future[object] | None = None
        """The first reading while it is under way, for all calls that wait for it."""

    @property
    def known(self) -> bool:
        """Whether they were ever read."""
        return self._read_at is not None

    @property
    def due(self) -> bool:
        """Whether they should be read again, and nobody does."""
        return not self._reading and (self._read_at is None or self._monotonic() - self._read_at > FRESH_S)

    async def load(self) -> None:
        """Read them; what they were stays in force while that fails."""
        self._reading = True
        try:
            at = self._monotonic()
            self._limits = {scope: cap.limit for scope, cap in (await caps(self._cells)).items()}
            self._read_at = at
        finally:
            self._reading, self.loading = False, None

    def of(self, request: Reserve) -> Reserve:
        """A reservation under the cap that is in force for it."""
        if not self._limits:
            return request
        limit = self._limits.get(scope_of(request.meter))
        return request if limit is None else msgspec.structs.replace(request, limit=limit)


async def caps(cells: Cells) -> dict[str, Cap]:
    """All caps that were set, by scope."""
    found: dict[str, Cap] = {}
    cursor = None
    while True:
        page = await cells.scan(PREFIX, cursor)
        found |= {key[len(PREFIX) :]: unpack(Cap, value) for key, value in page.items if isinstance(value, bytes)}
        cursor = page.cursor
        if cursor is None:
            return found


async def set_cap(cells: Cells, scope: str, cap: Cap | None) -> None:
    """Set the cap of a scope; None takes it away, so that the settings are in force again."""
    key = PREFIX + scope
    await cells.apply([Delete(key=key) if cap is None else Put(key=key, value=pack(cap))])
