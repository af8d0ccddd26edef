"""What the gateway asks of the recorder and of the decide engine: two small protocols, so that neither is imported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from watchkeeper.kinds.facts import Allowance
from watchkeeper.records.body import Body
from watchkeeper.records.decision import Decision
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.record import Record
from watchkeeper.records.span import Cost, Usage

Payload = tuple[bytes, str, str, str]
"""A payload to keep: its bytes, name, media type and owner."""


class Recorder(Protocol):
    """Where calls are kept. Thread-safe; what writes may raise `OSError` when nothing can be written."""

    def append(self, record: Record) -> object:
        """Keep one record."""
        ...

    def put(self, data: bytes, name: str, media: str = "application/json", owner: str = "default") -> Body:
        """Keep a payload of an owner."""
        ...

    def write(
        self, payloads: Sequence[Payload], records_of: Callable[[tuple[Body, ...]], Iterable[Record]]
    ) -> tuple[Body, ...]:
        """Keep payloads, and the records that are made of their bodies, all or nothing."""
        ...

    async def synced(self) -> None:
        """Return when everything appended so far is on the disk."""
        ...


class Ruling(Protocol):
    """What a chain of policies ruled: all decisions, the one that stops the call, and the bytes to send instead."""

    @property
    def decisions(self) -> Sequence[Decision]:
        """Every decision, shadow ones too."""
        ...

    @property
    def stop(self) -> Decision | None:
        """The decision that stops the call, None when it may go on."""
        ...

    @property
    def amendment(self) -> bytes | None:
        """The body to send instead of the client's."""
        ...

    @property
    def advice(self) -> Sequence[str]:
        """What the model is to be told with this call."""
        ...

    @property
    def diverted(self) -> Decision | None:
        """The decision by which another model is asked instead, which it names; None where the call goes as asked."""
        ...


class Chain(Protocol):
    """The policies in force."""

    @property
    def wants_steps(self) -> bool:
        """Whether a policy reads the run's tool calls."""
        ...

    @property
    def advises(self) -> bool:
        """Whether a policy may want the model to be told something."""
        ...

    @property
    def features(self) -> frozenset[str]:
        """The names of what calls declare of themselves that a policy reads."""
        ...

    @property
    def diverts(self) -> frozenset[str]:
        """The models that a policy may have asked instead, by the names that callers use."""
        ...

    def wants(self, stage: Stage) -> bool:
        """Whether any policy is asked at this stage."""
        ...

    async def decide(self, event: Event) -> Ruling:
        """Rule on a call, reserve what it may use and record the decisions."""
        ...

    async def rule(self, event: Event) -> Ruling:
        """Rule on a call and reserve what it may use; the caller records the decisions."""
        ...

    def allowance(self, event: Event) -> Allowance:
        """What the budgets in force have reserved for a call: beyond it its stream is cut."""
        ...

    def settle(self, event: Event, usage: Usage, cost: Cost | None) -> Awaitable[object]:
        """Replace the reservation by what was used; what is unknown stays charged as reserved."""
        ...

    def release(self, event: Event) -> Awaitable[object]:
        """Give the reservation back: the call was certainly not carried out."""
        ...
