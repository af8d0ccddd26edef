"""Says what the ledger holds: every meter with its cap, what is settled, reserved and leased, and what was left behind.

What a meter holds is settled plus reserved plus leased. The three are read one after the other while calls go on, so
they can be apart by the calls of that moment; the meter itself is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from watchkeeper.engines.decide.caps import Cap, caps
from watchkeeper.engines.decide.reservations import Reserved, reservations
from watchkeeper.engines.decide.slices import Slice, slices
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.meter import PREFIX, Meter, read_meter, scope_of
from watchkeeper.records.record import Record
from watchkeeper.records.window import window_start

KEY_LIMITS = "key_limits"
"""The policy that rules on what keys carry themselves."""


class Declared(NamedTuple):
    """A cap in the settings: which meters it is about, in whose use, and how much."""

    policy: str
    book: str
    level: str
    window: str
    unit: str
    limit: int
    enforced: bool


class Line(Record):
    """One meter. Amounts are in its unit (nano-dollars, tokens, calls, milliseconds); `cap` None: none is known.

    `set_by` says who set the cap where it is not the settings'. `current` is whether its window is the present one.
    """

    meter: str
    of: Meter
    held: int
    settled: int
    reserved: int
    leased: int
    current: bool
    window: str = "total"
    cap: int | None = None
    policy: str | None = None
    enforced: bool = False
    set_by: str | None = None

    @property
    def share(self) -> float | None:
        """How much of the cap is used, from 0; None without a cap. A cap of nothing is used up."""
        if self.cap is None:
            return None
        return self.held / self.cap if self.cap else 1.0


class Orphan(Record):
    """A reservation that is still open: of a call in flight, or of one whose end nobody knows (`note` says why)."""

    reserved: Reserved
    age_ns: int


class Left(Record):
    """A slice that is out, and how long ago its gateway last gave a sign of life."""

    slice: Slice
    age_ns: int


class Books(Record):
    """The whole ledger at one moment."""

    lines: tuple[Line, ...]
    open: tuple[Orphan, ...]
    slices: tuple[Left, ...]


async def books(cells: Cells, declared: Sequence[Declared], now_ns: int) -> Books:
    """Read the ledger. It takes one pass over meters, reservations, slices and caps."""
    held = await _meters(cells)
    open_ = [each async for each in reservations(cells)]
    out = [each async for each in slices(cells)]
    set_ = await caps(cells)
    reserved: dict[str, int] = {}
    for each in open_:
        for charge in each.charges:
            reserved[charge.meter] = reserved.get(charge.meter, 0) + charge.amount
    leased: dict[str, int] = {}
    for slice_ in out:
        leased[slice_.meter] = leased.get(slice_.meter, 0) + slice_.amount
    lines = [
        _line(name, amount, (reserved.get(name, 0), leased.get(name, 0)), declared, set_, now_ns)
        for name, amount in held.items()
    ]
    found = [line for line in lines if line is not None]
    found.sort(key=lambda line: (not line.current, -(line.share or 0.0), line.meter))
    return Books(
        lines=tuple(found),
        open=tuple(Orphan(reserved=each, age_ns=max(0, now_ns - each.at_ns)) for each in open_),
        slices=tuple(Left(slice=each, age_ns=max(0, now_ns - each.at_ns)) for each in out),
    )


async def _meters(cells: Cells) -> dict[str, int]:
    found: dict[str, int] = {}
    cursor = None
    while True:
        page = await cells.scan(PREFIX, cursor)
        found |= {key: value for key, value in page.items if isinstance(value, int)}
        cursor = page.cursor
        if cursor is None:
            return found


def _line(
    name: str,
    held: int,
    kept: tuple[int, int],
    declared: Sequence[Declared],
    set_: dict[str, Cap],
    now_ns: int,
) -> Line | None:
    of = read_meter(name)
    if of is None:
        return None
    rule = _rule(of, declared, now_ns)
    own = set_.get(scope_of(name))
    window = _window(of, rule, now_ns)
    reserved, leased = kept
    return Line(
        meter=name,
        of=of,
        held=held,
        settled=held - reserved - leased,
        reserved=reserved,
        leased=leased,
        current=window != "ended",
        window=window,
        cap=own.limit if own is not None else rule.limit if rule is not None else None,
        policy=KEY_LIMITS if of.window is not None else None if rule is None else rule.policy,
        enforced=of.window is not None or (rule is not None and rule.enforced),
        set_by=None if own is None else own.by,
    )


def _window(of: Meter, rule: Declared | None, now_ns: int) -> str:
    """The window that a meter counts in; "ended" where that is not the present one."""
    if of.start == "total":
        return "total"
    if of.window is not None:  # of a key's own limit, which no settings declare
        return of.window if window_start(of.window, now_ns) == of.start else "ended"
    return "ended" if rule is None else rule.window


def _rule(of: Meter, declared: Sequence[Declared], now_ns: int) -> Declared | None:
    """The cap in the settings that a meter is under now: the lowest that is enforced, else the lowest."""
    fitting = [
        each
        for each in declared
        if (each.book, each.level, each.unit) == (of.book, of.level, of.unit)
        and window_start(each.window, now_ns) == of.start
    ]
    return min(fitting, key=lambda each: (not each.enforced, each.limit), default=None)
