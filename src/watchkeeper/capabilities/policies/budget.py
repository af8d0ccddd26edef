"""Keeps an organisation, team, key, user, session, run or agent below a cap, by reserving before each call.

Problem
    A limit that is read from a bill, or checked only after the call, is found out when the money is gone. Fifty calls
    at once all see the same free budget and all spend it.

Method
    Before the call the most that it can use (`event.bound`: its input, the output it may write, the time it may take)
    is reserved on a meter for each unit that is capped: money, tokens, calls, seconds of wall time. The call goes on
    only if settled plus reserved amounts stay at or below the cap, so exactly at the cap is allowed. The engine makes
    all reservations of a chain in one transaction and settles them to real usage afterwards. A call that cannot be
    bounded is denied (`cannot_be_bounded`), and so is one without a known price under a cap in money (`price_unknown`)
    unless `on_unknown_price` is "allow". An organisation is the tenant of the key. A call that names no session (run,
    user, agent, team) is counted on the meter that all such calls of its key share, and without a key on the tenant's.

    A meter belongs to its scope and window and not to the cap: raising a cap never forgets what was spent, and a second
    budget of the same scope (a lower cap in shadow, say) reads the same meter, on which each call is charged once. Give
    `meter_name` to count apart. `watchkeeper budget set` puts another cap in the place of this one for one owner.

    A call that states no limit of its own reserves what its upstream may write, or `reserve_tokens` where that is less.
    A stream that writes more than was reserved is cut with an error and settled at the counted use.

    With `slice_usd`, `slice_tokens` or `slice_calls` a gateway leases that much of the meter in one transaction and
    serves calls from it in memory, until it is spent or the cap is near; the total never exceeds the cap, and with the
    store out of reach the slice is spent before `on_error` decides. It helps only where every budget that a call is
    under, in every unit, has a slice.

Limits
    Windows are UTC clock windows, so that a cap may be used up on both sides of a boundary. Session, run, agent and
    unbound user are what the caller says they are: whoever invents a new session for each call escapes a cap per
    session, so put a cap per key beside it. A bound is only as good as the token count and the price table behind it;
    what comes out dearer than its bound is charged in full, and the next call is the one that is denied. The bound of
    wall time is the upstream's `timeout_s`, which is about silence: a reply that trickles takes longer and is charged
    in full. A tool that runs is no model call: cap it with `tool_cap`, whose meters stand in the same ledger.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import msgspec

from watchkeeper.kinds.facts import Allowance, FactRequest, Facts, Reservation, Reserve
from watchkeeper.kinds.header import Header
from watchkeeper.records.decision import Decision, allow, deny
from watchkeeper.records.event import Bound, Event, Stage
from watchkeeper.records.meter import meter_key
from watchkeeper.records.window import WAIT, A, Window, window_start

_NANO = 1_000_000_000
_MS = 1_000
_MOST = 2**62
"""As far as a meter of 64 bits is used."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """A cap in money, tokens, calls or wall time, reserved before each call; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="budget",
        version="2",
        theme="spend",
        summary="Keeps an organisation, team, key, user, session, run or agent below a cap.",
    )
    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.REQUEST})
    on_error: ClassVar[Literal["open", "closed"]] = "closed"

    per: Annotated[
        Literal["organisation", "team", "key", "user", "session", "run", "agent"],
        msgspec.Meta(description="Whose spending is counted together."),
    ]
    usd: Annotated[float | None, msgspec.Meta(description="The cap in US dollars.")] = None
    tokens: Annotated[int | None, msgspec.Meta(description="The cap in tokens, input and output together.")] = None
    calls: Annotated[int | None, msgspec.Meta(description="The cap in calls.")] = None
    seconds: Annotated[float | None, msgspec.Meta(description="The cap in seconds of wall time.")] = None
    window: Annotated[
        Window,
        msgspec.Meta(description="What the cap is for: all time, or a UTC month, day, hour or minute."),
    ] = "total"
    on_unknown_price: Annotated[
        Literal["deny", "allow"], msgspec.Meta(description="What happens to a call whose model has no known price.")
    ] = "deny"
    reserve_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(
            description="What a call that states no limit reserves for its output, instead of all that its upstream "
            "may write. A stream that writes more is cut.",
        ),
    ] = None
    slice_usd: Annotated[
        Annotated[float, msgspec.Meta(gt=0)] | None,
        msgspec.Meta(description="How many US dollars a gateway leases at once; not given: it asks for each call."),
    ] = None
    slice_tokens: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None, msgspec.Meta(description="How many tokens a gateway leases at once.")
    ] = None
    slice_calls: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None, msgspec.Meta(description="How many calls a gateway leases at once.")
    ] = None
    meter_name: Annotated[
        str, msgspec.Meta(description="Counts apart from other budgets of this scope and window; empty: together.")
    ] = ""

    def __post_init__(self) -> None:
        """Refuse a budget that caps nothing, has a cap below zero, or leases more than its cap."""
        caps = (
            ("usd", self.usd, _MOST // _NANO),
            ("tokens", self.tokens, _MOST),
            ("calls", self.calls, _MOST),
            ("seconds", self.seconds, _MOST // _MS),
        )
        if all(value is None for _, value, _ in caps):
            raise ValueError(
                "A budget caps money, tokens, calls or time, and this one has neither usd nor tokens, calls or "
                "seconds. Set one."
            )
        for name, value, most in caps:
            if value is not None and not 0 <= value <= most:
                raise ValueError(
                    f"The budget's {name} is {value!r}, and a cap lies between 0 and {most:,}. Set {name} to "
                    "what may be spent; 0 stops every call that costs anything."
                )
        for name in ("usd", "tokens", "calls"):
            cap, slice_ = getattr(self, name), getattr(self, f"slice_{name}")
            if slice_ is not None and (cap is None or slice_ > cap):
                raise ValueError(f"The budget's slice_{name} is {slice_!r}, and its {name} is {cap!r}: lease less.")

    def needs(self, event: Event) -> tuple[FactRequest, ...]:
        """One reservation for each unit that is capped and can be bounded."""
        return self._reservations(event)

    def decide(self, event: Event, facts: Facts) -> Decision | None:
        """Allow the call when all of its reservations were granted."""
        bound = event.bound
        unbounded = bound is None and (self.usd, self.tokens) != (None, None)
        if unbounded or (self.seconds is not None and (bound is None or bound.wall_ms is None)):
            return deny(
                "cannot_be_bounded",
                f"This call is under a cap of {self._cap()}, and what it may use cannot be known before it is made. "
                "Use a call with a known bound (chat completions with a token limit), or take the cap off this key.",
            )
        if self.usd is not None and bound is not None and bound.nano_usd is None and self.on_unknown_price == "deny":
            return deny(
                "price_unknown",
                f"This call is under a cap of {self._cap()}, and no price is known for model {_cut(event.model)}. "
                'Add its price to [[prices]], use a model that has one, or set on_unknown_price = "allow".',
            )
        reservations = self._reservations(event)
        for request in reservations:
            fact = facts.reservation(request)
            if not fact.granted:
                return deny("budget_exceeded", self._refusal(event, request.unit, fact))
        if not reservations:
            return None
        return allow("within_budget", f"Reserved under the cap of {self._cap()} for {self._whose(event)}.")

    def allowance(self, event: Event) -> Allowance:
        """What was reserved for a call: beyond it its stream is cut."""
        bound = event.bound
        if bound is None:
            return Allowance()
        counts = self.usd is not None or self.tokens is not None
        return Allowance(self._output(bound) if counts else None, bound.wall_ms if self.seconds is not None else None)

    def _output(self, bound: Bound) -> int:
        if bound.stated or self.reserve_tokens is None:
            return bound.output_tokens
        return min(bound.output_tokens, self.reserve_tokens)

    def _nano_usd(self, bound: Bound) -> int | None:
        """The price of the call's bound, less that of the output for which nothing is reserved."""
        output = self._output(bound)
        if bound.nano_usd is None or bound.input_nano_usd is None or output >= bound.output_tokens:
            return bound.nano_usd
        of_output = bound.nano_usd - bound.input_nano_usd
        return bound.input_nano_usd + -(-of_output * output // bound.output_tokens)

    def _reservations(self, event: Event) -> tuple[Reserve, ...]:
        bound = event.bound
        meter = self._meter(event)
        wanted = []
        if bound is not None:
            nano_usd = None if self.usd is None else self._nano_usd(bound)
            if self.usd is not None and nano_usd is not None:
                wanted.append(_reserve(meter, "nano_usd", nano_usd, round(self.usd * _NANO), self.slice_usd, _NANO))
            if self.tokens is not None:
                amount = bound.input_tokens + self._output(bound)
                wanted.append(_reserve(meter, "tokens", amount, self.tokens, self.slice_tokens))
            if self.seconds is not None and bound.wall_ms is not None:
                wanted.append(_reserve(meter, "ms", bound.wall_ms, round(self.seconds * _MS), None))
        if self.calls is not None:
            wanted.append(_reserve(meter, "calls", 1, self.calls, self.slice_calls))
        return tuple(wanted)

    def _meter(self, event: Event) -> str:
        identity = event.identity
        start = window_start(self.window, event.at_ns)
        return meter_key(self.meter_name, self.per, identity.tenant, self._name(event), identity.key, start)

    def _name(self, event: Event) -> str | None:
        if self.per == "organisation":
            return event.identity.tenant
        name: str | None = getattr(event.identity, self.per)
        return name

    def _cap(self) -> str:
        caps = [_dollars(self.usd)] if self.usd is not None else []
        caps += [f"{self.tokens:,} tokens"] if self.tokens is not None else []
        caps += [f"{self.calls:,} calls"] if self.calls is not None else []
        caps += [f"{self.seconds:,g} seconds"] if self.seconds is not None else []
        return " and ".join(caps) + A[self.window]

    def _whose(self, event: Event) -> str:
        name = self._name(event)
        return f"calls that name no {self.per}" if name is None else f"{self.per} {_cut(name)}"

    def _refusal(self, event: Event, unit: str, fact: Reservation) -> str:
        cap = self._cap()
        if fact.limit not in self._limits():  # somebody has set another cap for this owner
            cap = _amount(unit, fact.limit) + A[self.window]
        advice = {
            "calls": "",
            "ms": "Ask for shorter replies, ",
        }.get(unit, "Ask for less (a lower max_tokens, a shorter input), ")
        end = f"{advice}{WAIT[self.window]}or have the cap raised."
        return (
            f"The cap for {self._whose(event)} is {cap}: {_amount(unit, fact.before)} are spent or reserved, and this "
            f"call may use up to {_amount(unit, fact.amount)}. {end[0].upper()}{end[1:]}"
        )

    def _limits(self) -> frozenset[int]:
        scaled = ((self.usd, _NANO), (self.tokens, 1), (self.calls, 1), (self.seconds, _MS))
        return frozenset(round(value * scale) for value, scale in scaled if value is not None)


def _reserve(meter: str, unit: str, amount: int, limit: int, slice_: float | None, scale: int = 1) -> Reserve:
    leased = 0 if slice_ is None else round(slice_ * scale)
    return Reserve(meter=f"{meter}/{unit}", unit=unit, amount=amount, limit=limit, slice=leased)


def _amount(unit: str, amount: int) -> str:
    if unit == "nano_usd":
        return _dollars(amount / _NANO)
    return f"{amount / _MS:,g} seconds" if unit == "ms" else f"{amount:,} {unit}"


@lru_cache(maxsize=256)
def _dollars(usd: float) -> str:
    """Whole cents where they tell the truth, else as many digits as do."""
    cents = f"{usd:,.2f}"
    return f"${cents}" if float(cents.replace(",", "")) == usd else f"${usd:,.9f}".rstrip("0")


def _cut(name: str | None) -> str:
    return "(none)" if name is None else repr(name[:80])
