"""What a policy may ask the decide engine for, and the answers it gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from watchkeeper.records.event import ToolStep
from watchkeeper.records.record import Record, Scalar


class Reserve(Record):
    """Ask for `amount` on a meter, up to `limit`, before the call goes on.

    All reservations of a chain are made in one transaction over all levels, or none. `unit` is "nano_usd", "tokens",
    "calls" or "ms" (wall time in milliseconds). The engine settles to real usage after the call; a crashed call's
    reservation stays charged until reconciled. With a `slice` the engine may lease that much of the meter at once and
    serve calls from it without a round trip; the meter's total stays below `limit` all the same.
    """

    meter: str
    unit: str
    amount: int
    limit: int
    slice: int = 0

    @property
    def name(self) -> str:
        """The key of this fact in a decision's record."""
        return f"reserve:{self.meter}"


class Allowance(NamedTuple):
    """What a call may come to before its stream is cut: output tokens and milliseconds; None is no limit.

    A policy that reserves may say so by a method `allowance(event)`.
    """

    output_tokens: int | None = None
    wall_ms: int | None = None


class Meter(Record):
    """Ask how much a meter holds now (settled plus reserved)."""

    meter: str

    @property
    def name(self) -> str:
        """The key of this fact in a decision's record."""
        return f"meter:{self.meter}"


class Activity(Record):
    """Ask for what a run has done so far, over all its agents."""

    run: str

    @property
    def name(self) -> str:
        """The key of this fact in a decision's record."""
        return f"activity:{self.run}"


class Contract(Record):
    """Ask for what a run has declared; `done` and `steps` become its contract where it has none yet.

    `done` says in words when the run has done its work, `steps` how many model calls it may make.
    """

    tenant: str
    run: str
    done: str | None = None
    steps: int | None = None

    @property
    def name(self) -> str:
        """The key of this fact in a decision's record."""
        return f"contract:{self.run}"


FactRequest = Reserve | Meter | Activity | Contract


class Reservation(Record):
    """The answer to `Reserve`: whether it was granted, and what the meter held before."""

    granted: bool
    before: int
    amount: int
    limit: int


class RunActivity(Record):
    """The fold over a run's tool calls: the most recent `steps` in order (bounded), and how many there were in all.

    Each step carries a fingerprint of agent, tool, arguments and result; the engine owns and persists the fold.
    """

    steps: tuple[ToolStep, ...] = ()
    total: int = 0


class RunContract(Record):
    """The answer to `Contract`: what holds for the run; without `steps` nothing was ever declared."""

    done: str = ""
    steps: int | None = None
    at_ns: int = 0


Fact = Reservation | RunActivity | RunContract | int


class Missing(LookupError):
    """A fact was not to be had (store out of reach, deadline passed); the policy's `on_error` decides."""


class Facts:
    """The answers to a policy's requests. Asking for one that is missing raises `Missing`."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Fact] | None = None) -> None:
        self._values: Mapping[str, Fact] = {} if values is None else values

    def knows(self, request: FactRequest) -> bool:
        """Whether a request was answered; a policy that asks in two rounds tells them apart by this."""
        return request.name in self._values

    def reservation(self, request: Reserve) -> Reservation:
        """The answer to a reservation."""
        value = self._values.get(request.name)
        if not isinstance(value, Reservation):
            raise Missing(request.name)
        return value

    def meter(self, request: Meter) -> int:
        """What a meter holds."""
        value = self._values.get(request.name)
        if not isinstance(value, int):
            raise Missing(request.name)
        return value

    def activity(self, request: Activity) -> RunActivity:
        """What a run has done so far."""
        value = self._values.get(request.name)
        if not isinstance(value, RunActivity):
            raise Missing(request.name)
        return value

    def contract(self, request: Contract) -> RunContract:
        """What a run has declared."""
        value = self._values.get(request.name)
        if not isinstance(value, RunContract):
            raise Missing(request.name)
        return value

    def record(self) -> dict[str, Scalar]:
        """The facts as flat scalars for the decision's record."""
        flat: dict[str, Scalar] = {}
        for name, value in self._values.items():
            if isinstance(value, Reservation):
                flat[f"{name}:granted"] = value.granted
                flat[f"{name}:before"] = value.before
                flat[f"{name}:amount"] = value.amount
                flat[f"{name}:limit"] = value.limit
            elif isinstance(value, RunActivity):
                flat[f"{name}:total"] = value.total
            elif isinstance(value, RunContract):
                flat[f"{name}:done"] = value.done
                flat[f"{name}:steps"] = value.steps
            else:
                flat[name] = value
        return flat


NO_FACTS = Facts()
