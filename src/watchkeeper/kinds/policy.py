"""The kind that decides *during* a call: event and facts in, decision (or no opinion) out."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, runtime_checkable

from watchkeeper.kinds.facts import FactRequest, Facts
from watchkeeper.kinds.header import Header
from watchkeeper.records.decision import Decision
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.record import Record


class Need(Record):
    """A policy's wish for one more round of facts; at most two rounds are granted."""

    requests: tuple[FactRequest, ...]


@runtime_checkable
class Policy(Protocol):
    """Decides, while a call is in flight, whether and in what form it may go on.

    A policy is a frozen msgspec struct whose fields are its parameters, and a pure function of (event, facts): no I/O,
    no clock, no hidden counter. `on_error` says what happens when its facts are not to be had: "open" lets the
    call go on, "closed" denies it; the author must choose.

    A class may name in `files` the parameters that are paths: what such a file holds is read before and is the value.
    One that rules on where a call goes (stage ROUTE) says by the properties `features` and `diverts` what it reads of
    what calls declare of themselves, and which models it may have asked instead.
    """

    header: ClassVar[Header]
    stages: ClassVar[frozenset[Stage]]
    on_error: ClassVar[Literal["open", "closed"]]

    def needs(self, event: Event) -> tuple[FactRequest, ...]:
        """The facts to fetch before deciding."""
        ...

    def decide(self, event: Event, facts: Facts) -> Decision | Need | None:
        """The ruling; `Need` asks for one more round; None is no opinion."""
        ...
