"""Enforces the limits that a key carries: dollars, tokens or calls, in a minute, a day or all time.

Problem
    A key is handed to somebody else, and what they may spend should travel with it, not stand in a settings file that
    knows nothing of that key.

Method
    The limits of the key that was shown come with the event. Each is a meter of that key alone, and the most that the
    call can use is reserved on all of them before it goes on, in the same transaction as all other reservations; real
    usage settles it. Exactly at the limit is allowed. Calls are counted one by one: `calls=60/minute` is a rate.
    A call whose use cannot be bounded is denied under a limit in money or tokens, and one without a known price under
    a limit in money. Changing a limit never forgets what was used.

Limits
    Minutes and days are UTC clock minutes and days: a rate may be used up on both sides of a boundary, so that twice
    the rate can pass within any minute. The house seats this policy itself, before all others; it has no parameters
    and does nothing for a key without limits.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from watchkeeper.kinds.facts import FactRequest, Facts, Reserve
from watchkeeper.kinds.header import Header
from watchkeeper.records.decision import Decision, allow, deny
from watchkeeper.records.event import Event, KeyLimit, Stage
from watchkeeper.records.meter import key_limit_meter

_NANO = 1_000_000_000
_WINDOW_NS = {"minute": 60 * _NANO, "day": 86_400 * _NANO}
_WAIT = {"minute": "wait for the next minute, ", "day": "wait for midnight UTC, ", "total": ""}
_A = {"minute": " a minute", "day": " a day", "total": ""}


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the key that was shown; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="key_limits",
        version="1",
        theme="spend",
        summary="Enforces the limits in money, tokens and calls that a key carries.",
    )
    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.REQUEST})
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    only_under_limits: ClassVar[bool] = True
    """Whoever asks a chain need not ask this policy about a call whose key has no limits."""

    def needs(self, event: Event) -> tuple[FactRequest, ...]:
        """One reservation for each limit that can be bounded."""
        return tuple(_reservations(event).values()) if event.limits else ()

    def decide(self, event: Event, facts: Facts) -> Decision | None:
        """Allow the call when all of its reservations were granted; no opinion without limits."""
        if not event.limits:
            return None
        wanted = _reservations(event)
        for limit in event.limits:
            request = wanted.get(limit)
            if request is None:
                return _unbounded(event, limit)
            fact = facts.reservation(request)
            if not fact.granted:
                return deny(
                    "key_limit_reached",
                    f"The limit of key {event.identity.key} is {_amount(limit, limit.amount)}{_A[limit.window]}: "
                    f"{_held(limit, fact.before)} are used or reserved, and this call may use up to "
                    f"{_held(limit, fact.amount)}. Ask for less, {_WAIT[limit.window]}or have the limit raised.",
                )
        return allow("within_key_limits", f"Within the {len(event.limits)} limits of key {event.identity.key}.")


def _reservations(event: Event) -> dict[KeyLimit, Reserve]:
    bound, key = event.bound, event.identity.key
    found: dict[KeyLimit, Reserve] = {}
    for limit in event.limits:
        amount = 1 if limit.unit == "calls" else None
        if bound is not None and limit.unit == "tokens":
            amount = bound.input_tokens + bound.output_tokens
        elif bound is not None and limit.unit == "usd":
            amount = bound.nano_usd
        if amount is None:
            continue
        unit = "nano_usd" if limit.unit == "usd" else limit.unit
        width = _WINDOW_NS.get(limit.window)
        start = "total" if width is None else str(event.at_ns // width * width // _NANO)
        most = round(limit.amount * _NANO) if limit.unit == "usd" else int(limit.amount)
        found[limit] = Reserve(
            meter=key_limit_meter(key or "none", limit.window, start, unit), unit=unit, amount=amount, limit=most
        )
    return found


def _unbounded(event: Event, limit: KeyLimit) -> Decision:
    if event.bound is not None and limit.unit == "usd":
        return deny(
            "price_unknown",
            f"Key {event.identity.key} has a limit in money, and no price is known for model "
            f"{(event.model or '(none)')[:80]!r}. Add its price to [[prices]], or use a model that has one.",
        )
    return deny(
        "cannot_be_bounded",
        f"Key {event.identity.key} has a limit in {limit.unit}, and what this call may use cannot be known before it "
        "is made. Use a call with a known bound (chat completions with a token limit), or take the limit off the key.",
    )


def _amount(limit: KeyLimit, amount: float) -> str:
    if limit.unit == "usd":
        return f"${amount:,.9f}".rstrip("0").rstrip(".")
    return f"{amount:,.0f} {limit.unit}"


def _held(limit: KeyLimit, amount: int) -> str:
    return _amount(limit, amount / _NANO if limit.unit == "usd" else amount)
