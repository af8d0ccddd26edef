"""Says which gateway process holds something in the Cells, and whether that process still lives.

Each process writes one cell, `holder/<nonce>`, every few seconds. Of the same house and writer only one process can
live, for it holds the journal's lock; so another nonce there means that the former process is gone, at once. Anybody
else's is taken for gone when its cell is older than the lease.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from pathlib import Path

from watchkeeper.kinds.ports import Cells, Delete, Put
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record, pack, unpack

PREFIX = "holder/"
LEASE_S = 30.0
BEAT_S = 5.0
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_log = logging.getLogger("watchkeeper.gateway")


class Holder(Record):
    """A gateway process: its house (data directory), its journal's writer, itself, and the boot of its machine."""

    house: str
    writer: str
    nonce: str
    boot: str = ""


class _Beat(Record):
    at_ns: int


class Presence:
    """This process as a holder. `start` begins to write that it lives, `stop` ends it."""

    def __init__(self, cells: Cells, secret: bytes, writer: str, clock_ns: Callable[[], int]) -> None:
        """`secret` is one that only this data directory has; a digest of it names the house."""
        self._cells, self._clock_ns = cells, clock_ns
        self.me = Holder(house=digest(b"house" + secret)[:16], writer=writer, nonce=secrets.token_hex(8), boot=_boot())
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Write that this process lives, now and every few seconds."""
        await self._beat()
        self._task = asyncio.create_task(self._go_on(), name="presence")

    async def stop(self) -> None:
        """Stop, and take the cell away: what this process still holds is nobody's."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        try:
            await self._cells.apply([Delete(key=PREFIX + self.me.nonce)])
        except Exception as error:  # noqa: BLE001 - any store of cells has errors of its own; the lease ends it anyway
            _log.warning("that this process has ended could not be written: %s", error)

    def mine(self, holder: Holder) -> bool:
        """Whether this very process is the holder."""
        return holder.nonce == self.me.nonce

    def home(self, holder: Holder) -> bool:
        """Whether a holder wrote its record into this data directory."""
        return holder.house == self.me.house

    async def gone(self, holder: Holder) -> bool:
        """Whether a holder has certainly ended; raises what the store of cells raises."""
        if self.mine(holder):
            return False
        if self.home(holder) and holder.writer == self.me.writer:
            return True
        value = await self._cells.get(PREFIX + holder.nonce)
        if not isinstance(value, bytes):
            return True
        return self._clock_ns() - unpack(_Beat, value).at_ns > LEASE_S * 1e9

    async def _beat(self) -> None:
        beat = _Beat(at_ns=self._clock_ns())
        await self._cells.apply([Put(key=PREFIX + self.me.nonce, value=pack(beat))], urgent=False)

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await self._beat()
            except Exception as error:  # noqa: BLE001 - the next beat may succeed; the lease is six beats long
                _log.warning("that this process lives could not be written: %s", error)


def _boot() -> str:
    """What tells this run of the machine from the one before; empty where the system does not say."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
