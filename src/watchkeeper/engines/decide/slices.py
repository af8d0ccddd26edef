"""Leases slices of budgets: a gateway takes an amount from a shared meter at once and serves calls from it in memory.

A lease adds its amount to the shared meter under the cap, in the one transaction that also writes the cell
`slice/<gateway>/<meter>`, so the meter always holds at least what was spent and never more than the cap. What is left
of a slice goes back when it idles, when the cap is near and when the gateway stops; a gateway that dies gives nothing
back: its cells stay, and its slices stay charged until somebody reconciles them. An answer of the store that was lost
is asked for again under the same operation id before anything else is done with that slice.

Limits: near the cap what lies unspent in the slices of other gateways is not to be had, so calls may be refused while
that much is left; a lowered cap reaches a slice that is out when the gateway next reads the caps. The fact `before` of
a call that a slice served is as old as the last transaction on its meter.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from watchkeeper.engines.decide.reservations import (
    PREFIX as RESERVATION,
)
from watchkeeper.engines.decide.reservations import (
    Booked,
    Reserved,
    Settlement,
    Want,
    enlarged,
    lines_of,
    real_use,
    summed,
)
from watchkeeper.kinds.ports import Add, Applied, Cells, Op, Refused, Swap
from watchkeeper.records.event import Event
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import Record, pack, unpack
from watchkeeper.records.span import Cost, Usage

PREFIX = "slice/"
NEAR = 2
"""A slice is leased only where this many more of its size would still fit below the cap; nearer, calls are exact."""
EXACT_S = 1.0
"""How long a meter near its cap is asked for each call before a slice is tried again."""
IDLE_S = 15.0
SWEEP_S = 5.0
RENEW_S = 60.0
"""A slice in use is written anew this often, so that its age tells a dead gateway from one that is busy."""

_NO_LIMIT = 2**63

Start = Callable[[Coroutine[Any, Any, Any]], object]


class Slice(Record):
    """What a gateway holds of a meter: at most `amount` of it is not settled yet. `at_ns` is the last sign of life."""

    gateway: str
    meter: str
    unit: str
    amount: int
    at_ns: int


class _Pending(NamedTuple):
    """A transaction whose answer has not come: what it adds to the meter, and what the cell holds after it."""

    operation_id: str
    ops: tuple[Op, ...]
    amount: int
    value: bytes | None


class _Lease:
    """One slice in memory. `left` may be spent, `open` is reserved by calls in flight."""

    def __init__(self, meter: str, unit: str) -> None:
        self.meter, self.unit = meter, unit
        self.left = self.open = self.held = 0
        self.limit = 0
        self.stored: bytes | None = None
        self.pending: _Pending | None = None
        self.exact_until = self.used_at = self.written_at = 0.0
        self.lock = asyncio.Lock()


class Slices:
    """The slices of one gateway. Errors of the store pass through; what a slice still holds needs no store.

    `start` begins work that outlives a call.
    """

    def __init__(
        self,
        cells: Cells,
        clock_ns: Callable[[], int],
        start: Start,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gateway = f"{os.getpid()}-{new_id('gw', clock_ns())}"
        self._cells, self._clock_ns, self._start, self._monotonic = cells, clock_ns, start, monotonic
        self._leases: dict[str, _Lease] = {}
        self._open: dict[str, Reserved] = {}
        self._timer: asyncio.TimerHandle | None = None

    def holds(self, span_id: str) -> bool:
        """Whether a call was served from slices and is not settled."""
        return span_id in self._open

    def take(self, event: Event, wants: Sequence[Want], waived: frozenset[str], turn: str) -> Booked | None:
        """Reserve from slices that are there, all meters or none; None where one is not."""
        lines = lines_of(wants, waived)
        now = self._monotonic()
        for line in lines:
            lease = self._leases.get(line.key)
            if lease is None or lease.left < line.delta or lease.pending is not None or _lowered(lease, line):
                return None
        before = {}
        for line in lines:
            lease = self._leases[line.key]
            before[line.key] = lease.held - lease.left
            lease.left -= line.delta
            lease.open += line.delta
            lease.used_at = now
        self._open[event.span_id] = enlarged(event, self._open.get(event.span_id), lines, wants, turn)
        return Booked(before)

    async def reserve(self, event: Event, wants: Sequence[Want], waived: frozenset[str], turn: str) -> Booked | None:
        """As `take`, with slices leased where there are none; None when the shared meters have to be asked."""
        sizes = _sizes(wants)
        units = {want.request.meter: want.request.unit for want in wants}
        self._sweep_later()
        for line in sorted(lines_of(wants, waived), key=lambda line: line.key):
            lease = self._leases.setdefault(line.key, _Lease(line.key, units[line.key]))
            async with lease.lock:
                if self._leases.setdefault(line.key, lease) is not lease:
                    return None  # it was forgotten while we waited, and another took its place
                if not await self._filled(lease, line, sizes[line.key]):
                    return None
        return self.take(event, wants, waived, turn)

    def settle(self, span_id: str, usage: Usage, cost: Cost | None, now_ns: int) -> Settlement:
        """Give back what a call did not use. Unknown use stays charged and is written down as a reservation."""
        reserved = self._open.pop(span_id)
        kept, settled = [], {}
        for charge in summed(reserved.charges):
            real = real_use(charge, usage, cost, reserved.at_ns, now_ns)
            lease = self._leases[charge.meter]
            lease.open -= charge.amount
            if real is None:
                kept.append(charge)
            else:
                settled[charge.meter] = real
                lease.left += charge.amount - real
                if lease.left < 0:
                    self._start(self._owe(lease))
        note = f"unknown after the call: {', '.join(sorted({charge.unit for charge in kept}))}" if kept else None
        if kept:
            self._start(self._write_down(msgspec.structs.replace(reserved, charges=tuple(kept), note=note)))
        return Settlement(settled=settled, kept=tuple(kept), note=note)

    def release(self, span_id: str) -> Settlement:
        """The call was certainly not sent: all of it goes back into the slices."""
        reserved = self._open.pop(span_id)
        for charge in reserved.charges:
            lease = self._leases[charge.meter]
            lease.open -= charge.amount
            lease.left += charge.amount
        return Settlement(settled={charge.meter: 0 for charge in reserved.charges})

    async def sweep(self) -> None:
        """Give back slices that idle or are near their cap, renew those in use, forget those that are done with."""
        now = self._monotonic()
        for lease in list(self._leases.values()):
            async with lease.lock:
                idle = now - lease.used_at > IDLE_S or now < lease.exact_until
                if lease.pending is not None or (lease.left > 0 and idle):
                    await self._give_back(lease)
                elif lease.stored is not None and now - lease.written_at > RENEW_S:
                    await self._contact(lease, 0)
            if lease.stored is None and not lease.open and not lease.left and lease.pending is None and idle:
                self._leases.pop(lease.meter, None)

    async def close(self) -> None:
        """Give everything back that was certainly not spent; calls in flight are written down as reservations."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for span_id in list(self._open):
            reserved = self._open.pop(span_id)
            for charge in reserved.charges:
                self._leases[charge.meter].open -= charge.amount
            await self._write_down(msgspec.structs.replace(reserved, note="its gateway stopped before it ended"))
        failed: Exception | None = None
        for lease in self._leases.values():
            async with lease.lock:
                try:
                    await self._give_back(lease)
                except Exception as error:  # noqa: BLE001  the others are given back all the same
                    failed = error
        if failed is not None:
            raise failed

    async def _filled(self, lease: _Lease, line: Add, size: int) -> bool:
        """Whether a slice holds enough for a call now; leases more where it may."""
        if lease.pending is not None:
            await self._repeat(lease)
        lowered = _lowered(lease, line)
        if lease.left >= line.delta and not lowered:
            return True
        if self._monotonic() < lease.exact_until:
            return False
        amount = max(size, line.delta - lease.left)
        at_most = None if line.at_most is None else line.at_most - NEAR * amount
        if not lowered and await self._contact(lease, amount, at_most):
            lease.limit = _NO_LIMIT if line.at_most is None else line.at_most
            lease.used_at = self._monotonic()
            return True
        lease.exact_until = self._monotonic() + EXACT_S
        await self._give_back(lease)
        lease.limit = 0
        return False

    async def _give_back(self, lease: _Lease) -> None:
        if lease.pending is not None:
            await self._repeat(lease)
        if lease.left != 0 or (lease.stored is not None and not lease.open):
            await self._contact(lease, -lease.left)

    async def _owe(self, lease: _Lease) -> None:
        """A call came out dearer than its bound: charge what the slice cannot cover, whatever the meter holds."""
        async with lease.lock:
            if lease.pending is not None:
                await self._repeat(lease)
            if lease.left < 0:
                await self._contact(lease, -lease.left)

    async def _contact(self, lease: _Lease, amount: int, at_most: int | None = None) -> bool:
        """Move an amount between the shared meter and the slice; False when the cap does not allow it."""
        for _ in range(2):
            unsettled = max(0, lease.left + amount) + lease.open
            record = Slice(
                gateway=self.gateway,
                meter=lease.meter,
                unit=lease.unit,
                amount=unsettled,
                at_ns=self._clock_ns(),
            )
            value = pack(record) if unsettled else None
            swap = Swap(key=f"{PREFIX}{self.gateway}/{lease.meter}", expected=lease.stored, value=value)
            ops: tuple[Op, ...] = (swap, Add(key=lease.meter, delta=amount, at_most=at_most))
            lease.pending = _Pending(new_id("op", self._clock_ns()), ops, amount, value)
            if amount < 0:
                lease.left += amount  # gone before it is asked for, so that it can never be spent twice
            answer = await self._repeat(lease)
            if isinstance(answer, Applied):
                return True
            if answer.index > 0 or amount <= 0:
                return False
        return False

    async def _repeat(self, lease: _Lease) -> Applied | Refused:
        """Carry out what is pending, or learn what came of it; it stays pending while the store does not answer."""
        pending = lease.pending
        assert pending is not None
        answer = await self._cells.apply(pending.ops, pending.operation_id)
        lease.pending = None
        lease.written_at = self._monotonic()
        if isinstance(answer, Applied):
            lease.stored = pending.value
            lease.held = answer.before.get(lease.meter, 0) + pending.amount
            if pending.amount > 0:
                lease.left += pending.amount
        elif answer.index == 0:
            # Somebody has reconciled this slice while we lived: what it held is not ours any more.
            lease.stored = answer.current if isinstance(answer.current, bytes) else None
            lease.left = min(lease.left, 0)
        return answer

    async def _write_down(self, reserved: Reserved) -> None:
        key = RESERVATION + reserved.span_id
        await self._cells.apply([Swap(key=key, expected=None, value=pack(reserved))])

    def _sweep_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep_now)

    def _sweep_now(self) -> None:
        self._timer = None
        if self._leases:
            self._start(self.sweep())
            self._sweep_later()


def sliced(wants: Iterable[Want]) -> bool:
    """Whether every meter of a call may be leased; else the shared meters have to be asked anyway."""
    return all(want.request.slice for want in wants)


def _lowered(lease: _Lease, line: Add) -> bool:
    """Whether a cap has come down below the one that the slice was leased under."""
    return line.at_most is not None and line.at_most < lease.limit


def _sizes(wants: Iterable[Want]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for want in wants:
        meter = want.request.meter
        sizes[meter] = min(want.request.slice, sizes.get(meter, want.request.slice))
    return sizes


async def slices(cells: Cells) -> AsyncIterator[Slice]:
    """Every slice that is out, those of dead gateways too."""
    cursor = None
    while True:
        page = await cells.scan(PREFIX, cursor)
        for _, value in page.items:
            if isinstance(value, bytes):
                yield unpack(Slice, value)
        cursor = page.cursor
        if cursor is None:
            return


async def reconcile_slice(cells: Cells, held: Slice, used: int) -> bool:
    """End a dead gateway's slice by the word of whoever knows: `used` of it was spent. False when it has changed.

    Raises `ValueError` when `used` is not within the slice.
    """
    if not 0 <= used <= held.amount:
        raise ValueError(f"Of this slice at most {held.amount} can have been used, not {used}. Say 0 to {held.amount}.")
    swap = Swap(key=f"{PREFIX}{held.gateway}/{held.meter}", expected=pack(held), value=None)
    return isinstance(await cells.apply([swap, Add(key=held.meter, delta=used - held.amount)]), Applied)
