"""Keeps the book of what was reserved for calls in flight: made before a call, settled to real usage after it.

Each call has one cell `reservation/<span id>` that says who reserved how much on which meter. It is written in the same
transaction as the meters are charged, and whoever settles or releases must take it away in the same transaction as the
meters are corrected, so that each reservation is corrected exactly once. A process that dies in between leaves the cell
behind and the meters charged: `reservations` lists such cells and `reconcile` settles them once the truth is known.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from watchkeeper.kinds.facts import Reservation, Reserve
from watchkeeper.kinds.ports import Add, Applied, Cells, Op, Refused, Swap
from watchkeeper.records.event import Event
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, pack, unpack
from watchkeeper.records.span import Cost, Usage

PREFIX = "reservation/"
NANO = 1_000_000_000
CALLS = "calls"
"""The unit of a cap on how often something is done: what was reserved is what was used."""
MS = "ms"
"""The unit of a cap on wall time: how long the call took, from its reservation to its settlement."""
HELD_IN_MEMORY = 10_000
ATTEMPTS = 5


class Charge(Record):
    """An amount on a meter, in nano-dollars, tokens, calls or milliseconds as `unit` says."""

    meter: str
    unit: str
    amount: int


class Reserved(Record):
    """What one call has reserved. `note` says why it is still there after the call, where that is known.

    `turns` names the reservations that were made for the span, so that none is made twice.
    """

    span_id: str
    trace_id: str
    at_ns: int
    identity: Identity = Identity()
    charges: tuple[Charge, ...] = ()
    note: str | None = None
    turns: tuple[str, ...] = ()


class Want(NamedTuple):
    """One policy's wish to reserve; in shadow (`enforced` false) it is charged but never refuses a call."""

    request: Reserve
    enforced: bool


class Booked(NamedTuple):
    """What came of a call's wishes: what each meter held before, and which meter refused (None: granted)."""

    before: dict[str, int]
    refused: str | None = None

    def answer(self, want: Want) -> Reservation:
        """The fact for one wish. A wish in shadow is granted if it would have been."""
        request = want.request
        before = self.before.get(request.meter, 0)
        fits = before + request.amount <= request.limit
        granted = fits if self.refused is not None or not want.enforced else True
        return Reservation(granted=granted, before=before, amount=request.amount, limit=request.limit)


class Settlement(Record):
    """What became of a reservation: real amounts by meter, and the charges that stay because their truth is unknown."""

    settled: dict[str, int] = {}
    kept: tuple[Charge, ...] = ()
    note: str | None = None


NOTHING_RESERVED = Settlement()


class Attempt(NamedTuple):
    """A reservation that was asked for, and the store's answer to come."""

    event: Event
    wants: Sequence[Want]
    turn: str
    lines: list[Add]
    record: bytes
    reserved: Reserved
    answer: asyncio.Future[Applied | Refused]


class Plan(NamedTuple):
    """How a reservation is to be settled, and what that will come to."""

    ops: tuple[Op, ...]
    settlement: Settlement


class Ledger:
    """Reserves, settles and releases on one store of cells. Errors of the store pass through to the caller."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._held: OrderedDict[str, tuple[bytes, Reserved]] = OrderedDict()

    def holds(self, span_id: str) -> bool:
        """Whether a span has a reservation that was made here."""
        return span_id in self._held

    async def reserve(self, event: Event, wants: Sequence[Want], waived: frozenset[str], turn: str) -> Booked:
        """Make all reservations of a call in one transaction, or none.

        A meter that several policies name is charged once, under the lowest limit that is enforced; the meters in
        `waived` are charged whatever they hold. `turn` tells apart the reservations that one span makes one after the
        other; one that was made before is not made again.
        """
        attempt = self.begin(event, wants, waived, turn)
        if attempt is not None:
            answer = await attempt.answer
            return self.granted(attempt, answer) if isinstance(answer, Applied) else await self.refused(attempt, answer)
        held = _read(await self._cells.get(PREFIX + event.span_id))
        return await self._add(event, wants, lines_of(wants, waived), turn, held)

    def begin(self, event: Event, wants: Sequence[Want], waived: frozenset[str], turn: str) -> Attempt | None:
        """Ask for a span's first reservation; None when it has one already. Then `granted` or `refused` follows."""
        if event.span_id in self._held:
            return None
        lines = lines_of(wants, waived)
        reserved = enlarged(event, None, lines, wants, turn)
        record = pack(reserved)
        swap = Swap(key=PREFIX + event.span_id, expected=None, value=record)
        answer = asyncio.ensure_future(self._cells.apply((swap, *lines)))
        return Attempt(event, wants, turn, lines, record, reserved, answer)

    def granted(self, attempt: Attempt, answer: Applied) -> Booked:
        """Take note of a reservation that was made."""
        self._hold(attempt.event.span_id, attempt.record, attempt.reserved)
        return Booked(answer.before)

    async def refused(self, attempt: Attempt, answer: Refused) -> Booked:
        """What comes of an attempt that was not granted: a meter was full, or the span has a reservation."""
        if answer.index > 0:
            return await self._refusal(answer, attempt.lines)
        return await self._add(attempt.event, attempt.wants, attempt.lines, attempt.turn, _read(answer.current))

    async def _add(
        self, event: Event, wants: Sequence[Want], lines: list[Add], turn: str, held: tuple[bytes, Reserved] | None
    ) -> Booked:
        """Reserve for a span that may have reserved before."""
        for _ in range(ATTEMPTS):
            if held is not None and turn in held[1].turns:
                self._hold(event.span_id, *held)
                return await self._repeat(lines)
            reserved = enlarged(event, None if held is None else held[1], lines, wants, turn)
            record = pack(reserved)
            expected = None if held is None else held[0]
            swap = Swap(key=PREFIX + event.span_id, expected=expected, value=record)
            answer = await self._cells.apply((swap, *lines))
            if isinstance(answer, Applied):
                self._hold(event.span_id, record, reserved)
                return Booked(answer.before)
            if answer.index > 0:
                return await self._refusal(answer, lines)
            held = _read(answer.current)
        raise RuntimeError(
            f"The reservation of span {event.span_id} was changed by others {ATTEMPTS} times in a row. "
            "Two callers share this span id; give each call its own."
        )

    async def settle(self, span_id: str, usage: Usage, cost: Cost | None, now_ns: int | None = None) -> Settlement:
        """Correct the meters to what was really used; what is not known stays charged, and its note says so."""
        found = await self._find(span_id)
        if found is None:
            return NOTHING_RESERVED
        plan = _plan(span_id, found, usage, cost, now_ns)
        answer = await self._cells.apply(plan.ops, urgent=False)
        self._held.pop(span_id, None)
        return plan.settlement if isinstance(answer, Applied) else NOTHING_RESERVED

    def settling(
        self,
        span_id: str,
        usage: Usage,
        cost: Cost | None,
        now_ns: int,
        failed: Callable[[BaseException], Settlement],
    ) -> asyncio.Future[Settlement] | None:
        """As `settle`, asked for at once, when the reservation is known here; else None. Takes no task.

        `failed` says what the settlement is when the store fails.
        """
        found = self._held.get(span_id)
        if found is None:
            return None
        plan = _plan(span_id, found, usage, cost, now_ns)
        answer = asyncio.ensure_future(self._cells.apply(plan.ops, urgent=False))
        settled: asyncio.Future[Settlement] = answer.get_loop().create_future()

        def tell(answer: asyncio.Future[Applied | Refused]) -> None:
            error = asyncio.CancelledError() if answer.cancelled() else answer.exception()
            if error is None:
                self._held.pop(span_id, None)
            if settled.done():
                return
            if error is not None:
                settled.set_result(failed(error))
            else:
                settled.set_result(plan.settlement if isinstance(answer.result(), Applied) else NOTHING_RESERVED)

        answer.add_done_callback(tell)
        return settled

    async def release(self, span_id: str) -> Settlement:
        """Give a reservation back whole: only for a call that was certainly not sent."""
        found = await self._find(span_id)
        if found is None:
            return NOTHING_RESERVED
        held, charges = found[0], found[1].charges
        ops = [Add(key=charge.meter, delta=-charge.amount) for charge in charges]
        answer = await self._cells.apply((Swap(key=PREFIX + span_id, expected=held, value=None), *ops))
        self._held.pop(span_id, None)
        if isinstance(answer, Refused):
            return NOTHING_RESERVED
        return Settlement(settled={charge.meter: 0 for charge in charges})

    async def _repeat(self, lines: list[Add]) -> Booked:
        """The answer to a reservation that was made before: what the meters hold besides it."""
        before = {}
        for line in lines:
            current = await self._cells.get(line.key)
            before[line.key] = current - line.delta if isinstance(current, int) else 0
        return Booked(before)

    async def _refusal(self, answer: Refused, lines: list[Add]) -> Booked:
        before = {}
        for line in lines:
            current = answer.current if line.key == answer.key else await self._cells.get(line.key)
            before[line.key] = current if isinstance(current, int) else 0
        return Booked(before, answer.key)

    async def _find(self, span_id: str) -> tuple[bytes, Reserved] | None:
        held = self._held.get(span_id)
        return held if held is not None else _read(await self._cells.get(PREFIX + span_id))

    def _hold(self, span_id: str, record: bytes, reserved: Reserved) -> None:
        self._held[span_id] = record, reserved
        if len(self._held) > HELD_IN_MEMORY:
            self._held.popitem(last=False)


def _read(cell: int | bytes | None) -> tuple[bytes, Reserved] | None:
    return (cell, unpack(Reserved, cell)) if isinstance(cell, bytes) else None


def lines_of(wants: Iterable[Want], waived: frozenset[str]) -> list[Add]:
    """What a call's wishes come to: one line for each meter, under the lowest limit that is enforced."""
    lines: dict[str, Add] = {}
    for want in wants:
        request = want.request
        limit = request.limit if want.enforced and request.meter not in waived else None
        known = lines.get(request.meter)
        if known is None:
            lines[request.meter] = Add(key=request.meter, delta=request.amount, at_most=limit)
        else:
            limits = [each for each in (limit, known.at_most) if each is not None]
            lines[request.meter] = Add(
                key=request.meter, delta=max(request.amount, known.delta), at_most=min(limits, default=None)
            )
    return list(lines.values())


def _plan(span_id: str, found: tuple[bytes, Reserved], usage: Usage, cost: Cost | None, now_ns: int | None) -> Plan:
    held, reserved = found
    adds: list[Op] = []
    kept, settled = [], {}
    for charge in summed(reserved.charges):
        real = real_use(charge, usage, cost, reserved.at_ns, now_ns)
        if real is None:
            kept.append(charge)
        else:
            settled[charge.meter] = real
            adds.append(Add(key=charge.meter, delta=real - charge.amount))
    note = f"unknown after the call: {', '.join(sorted({charge.unit for charge in kept}))}" if kept else None
    rest = pack(msgspec.structs.replace(reserved, charges=tuple(kept), note=note)) if kept else None
    swap = Swap(key=PREFIX + span_id, expected=held, value=rest)
    return Plan((swap, *adds), Settlement(settled=settled, kept=tuple(kept), note=note))


def enlarged(event: Event, held: Reserved | None, lines: list[Add], wants: Sequence[Want], turn: str) -> Reserved:
    """What a call has reserved once these lines are granted too."""
    units = {want.request.meter: want.request.unit for want in wants}
    charges = tuple([Charge(meter=line.key, unit=units[line.key], amount=line.delta) for line in lines])
    return Reserved(
        span_id=event.span_id,
        trace_id=event.trace_id,
        at_ns=event.at_ns,
        identity=event.identity,
        charges=charges if held is None else held.charges + charges,
        turns=(turn,) if held is None else (*held.turns, turn),
    )


def summed(charges: tuple[Charge, ...]) -> Sequence[Charge]:
    """One charge for each meter: a span that reserved in turns used its tokens only once."""
    if len({charge.meter for charge in charges}) == len(charges):
        return charges
    amounts: dict[tuple[str, str], int] = {}
    for charge in charges:
        place = (charge.meter, charge.unit)
        amounts[place] = amounts.get(place, 0) + charge.amount
    return [Charge(meter=meter, unit=unit, amount=amount) for (meter, unit), amount in amounts.items()]


def real_use(charge: Charge, usage: Usage, cost: Cost | None, began_ns: int, ended_ns: int | None) -> int | None:
    """What a call used of what a charge is about; None is unknown."""
    if charge.unit == CALLS:
        return charge.amount
    if charge.unit == "nano_usd":
        return None if cost is None else round(cost.usd * NANO)
    if charge.unit == MS:
        return None if ended_ns is None else max(0, ended_ns - began_ns) // 1_000_000
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return usage.input_tokens + usage.output_tokens


class Outcome(Record):
    """What is known of a call whose process died: its usage, cost and end (unix ns), or that it was never sent."""

    usage: Usage = Usage()
    cost: Cost | None = None
    sent: bool = True
    end_ns: int | None = None


class Reconciled(Record):
    """How many orphaned reservations were settled, given back, and left charged for want of knowledge."""

    settled: int = 0
    released: int = 0
    kept: int = 0


async def reservations(cells: Cells, before_ns: int | None = None) -> AsyncIterator[Reserved]:
    """Every reservation that is still open, made before `before_ns` where that is given, in order of span id."""
    cursor = None
    while True:
        page = await cells.scan(PREFIX, cursor)
        for _, value in page.items:
            if isinstance(value, bytes):
                reserved = unpack(Reserved, value)
                if before_ns is None or reserved.at_ns < before_ns:
                    yield reserved
        cursor = page.cursor
        if cursor is None:
            return


async def reconcile(cells: Cells, outcome_of: Callable[[str], Awaitable[Outcome | None]], before_ns: int) -> Reconciled:
    """Settle the reservations that a dead process left behind, made before `before_ns` (when this process started).

    `outcome_of` says for a span id what really came of the call; None is unknown, and the reservation stays charged:
    money that may have been spent is never given back for lack of news.
    """
    ledger = Ledger(cells)
    settled = released = kept = 0
    for reserved in [each async for each in reservations(cells, before_ns)]:
        outcome = await outcome_of(reserved.span_id)
        if outcome is None:
            kept += 1
        elif not outcome.sent:
            released += bool((await ledger.release(reserved.span_id)).settled)
        else:
            settlement = await ledger.settle(reserved.span_id, outcome.usage, outcome.cost, outcome.end_ns)
            settled += bool(settlement.settled) and not settlement.kept
            kept += bool(settlement.kept)
    return Reconciled(settled=settled, released=released, kept=kept)
