"""Prepares what the page and the API say of budgets: amounts in dollars and seconds, how full, how old."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchkeeper.engines.decide.books import Left, Line, Orphan
from watchkeeper.server.views.wording import UNKNOWN, duration, usd
from watchkeeper.server.visible import visible

_UNITS = {"nano_usd": ("usd", 1e9), "ms": ("seconds", 1e3)}
_NEARLY = 0.8
_GRACE_NS = 600 * 1_000_000_000
"""A reservation older than this is most likely nobody's any more."""


def line_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Meters for programs: amounts as numbers in `unit`."""
    return [
        {
            "meter": line.meter,
            "level": line.of.level,
            "owner": line.of.owner,
            "tenant": line.of.tenant,
            "key": line.of.key,
            "book": line.of.book,
            "window": line.window,
            "start": line.of.start,
            "unit": _unit(line.of.unit)[0],
            "cap": None if line.cap is None else _scaled(line.cap, line.of.unit),
            "held": _scaled(line.held, line.of.unit),
            "settled": _scaled(line.settled, line.of.unit),
            "reserved": _scaled(line.reserved, line.of.unit),
            "leased": _scaled(line.leased, line.of.unit),
            "share": line.share,
            "policy": line.policy,
            "enforced": line.enforced,
            "set_by": line.set_by,
        }
        for line in lines
    ]


def open_rows(open_: Sequence[Orphan]) -> list[dict[str, Any]]:
    """Open reservations, oldest first."""
    return [
        {
            "span": each.reserved.span_id,
            "trace": each.reserved.trace_id,
            "at_ns": each.reserved.at_ns,
            "age_s": each.age_ns / 1e9,
            "age": duration(each.age_ns),
            "orphan": each.age_ns > _GRACE_NS or each.reserved.note is not None,
            "note": _note(each.reserved.note),
            "key": each.reserved.identity.key,
            "charges": [
                {"meter": c.meter, "unit": _unit(c.unit)[0], "amount": _scaled(c.amount, c.unit)}
                for c in each.reserved.charges
            ],
        }
        for each in sorted(open_, key=lambda each: -each.age_ns)
    ]


def left_rows(slices: Sequence[Left]) -> list[dict[str, Any]]:
    """Slices that are out, oldest first."""
    return [
        {
            "gateway": each.slice.gateway,
            "meter": each.slice.meter,
            "unit": _unit(each.slice.unit)[0],
            "amount": _scaled(each.slice.amount, each.slice.unit),
            "age_s": each.age_ns / 1e9,
            "age": duration(each.age_ns),
            "orphan": each.age_ns > _GRACE_NS,
        }
        for each in sorted(slices, key=lambda each: -each.age_ns)
    ]


def budget_rows(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """Meters for the page, in words."""
    return [
        {
            "whose": _whose(line),
            "level": line.of.level,
            "book": "" if line.of.book == "scope" else visible(line.of.book),
            "window": line.window,
            "cap": UNKNOWN if line.cap is None else amount(line.cap, line.of.unit),
            "held": amount(line.held, line.of.unit),
            "settled": amount(line.settled, line.of.unit),
            "reserved": amount(line.reserved, line.of.unit),
            "leased": amount(line.leased, line.of.unit) if line.leased else "",
            "percent": None if line.share is None else round(100 * min(1.0, max(0.0, line.share)), 1),
            "state": _state(line),
            "shadow": line.policy is not None and not line.enforced,
            "by": "" if line.set_by is None else visible(line.set_by),
        }
        for line in lines
    ]


def amount(value: int, unit: str) -> str:
    """An amount on a meter as people read it."""
    if unit == "nano_usd":
        return usd(value / 1e9)
    return duration(value * 1_000_000) if unit == "ms" else f"{value:,} {unit}"


def _state(line: Line) -> str:
    if line.share is None:
        return ""
    return "full" if line.share >= 1 else "nearly" if line.share >= _NEARLY else ""


def _whose(line: Line) -> str:
    if line.of.owner is not None:
        return visible(line.of.owner)
    return "names none" if line.of.key is None else f"names none (key {visible(line.of.key)})"


def _unit(unit: str) -> tuple[str, float]:
    return _UNITS.get(unit, (unit, 1))


def _scaled(value: int, unit: str) -> float:
    scale = _unit(unit)[1]
    return value if scale == 1 else value / scale


def _note(note: str | None) -> str | None:
    """Why a reservation stays, for a reader; what the books say of a use that nobody told is said in words."""
    if note is None or not note.startswith("unknown after the call"):
        return note
    return "nobody said how many tokens the call used, so it stays charged with what was reserved"
