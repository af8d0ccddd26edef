"""What the store process's app stands on: the reader, the vault, and the desks that change things."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from watchkeeper.compose.bounding import Searches
from watchkeeper.compose.budgets import BudgetDesk
from watchkeeper.compose.lineage import Lineage
from watchkeeper.compose.payloads import Payloads
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.jobs.effects import EffectLedger
from watchkeeper.engines.keeping.keeper import Keeper
from watchkeeper.engines.monitoring.probes import Prober
from watchkeeper.engines.people.accounts import Accounts
from watchkeeper.engines.recorder.belonging import Whose
from watchkeeper.kinds.ports import Watermark
from watchkeeper.kinds.report import Report
from watchkeeper.queries.question import Reader
from watchkeeper.records.audit import Audit
from watchkeeper.records.case import Case
from watchkeeper.records.incident import Incident
from watchkeeper.server.asgi import App


class IncidentDesk(Protocol):
    """Changes an incident on behalf of a person.

    Each raises `LookupError` for an unknown incident and `ValueError` for a state that does not allow it, with a
    sentence for the caller.
    """

    async def acknowledge(self, incident_id: str, actor: str, text: str | None = None) -> Incident:
        """Somebody has taken it on."""
        ...

    async def resolve(self, incident_id: str, actor: str, text: str | None = None) -> Incident:
        """It is over."""
        ...

    async def note(self, incident_id: str, actor: str, text: str) -> Incident:
        """Add a line to the timeline."""
        ...

    async def cases(self, incident_id: str, actor: str) -> Sequence[Case]:
        """Export the incident's traces as cases, and record them."""
        ...


class RunDesk(Protocol):
    """Acts on runs on behalf of a person."""

    async def resume(self, run: str, tenant: str, actor: str) -> int:
        """Let a run go on; raises `LookupError` for one that is not known."""
        ...


class Eraser(Protocol):
    """Whoever erases from the whole data directory."""

    async def erase(self, whose: Whose, actor: str, dry_run: bool = False) -> dict[str, Any]:
        """Erase all that belongs to somebody."""
        ...

    async def resume(self) -> list[str]:
        """End what was begun and not ended."""
        ...


class Prover(Protocol):
    """Whoever knows where frames lie."""

    async def places(self, trace_id: str) -> Sequence[tuple[str, int, int]]:
        """Writer, segment and offset of a trace's frames."""
        ...


class Anchoring(Protocol):
    """Whoever writes checkpoints and anchors them outside."""

    async def anchor(self, only: Sequence[str] = ()) -> dict[str, Any]:
        """Write a checkpoint now and anchor it."""
        ...

    def health(self) -> list[dict[str, Any]]:
        """How each anchor fares."""
        ...


async def _nothing_to_flush() -> dict[str, Any]:
    counts = {"frames": 0, "records": 0, "duplicates": 0}
    return {**counts, "so_far": counts}


async def _no_watermarks() -> Mapping[str, Watermark]:
    return {}


def _no_lag() -> str:
    return ""


def _ready() -> str | None:
    return None


def _no_metrics() -> bytes:
    return b""


@dataclass(frozen=True, kw_only=True)
class StoreParts:
    """All that the pages and the API need. A desk that is None is answered with "not available here".

    `flush` indexes everything appended so far and says how much that was, and under `so_far` how much since the start;
    `backtest` takes {policy, since, with} and answers with sentences and figures; `ready` is None or a sentence that
    says why the store cannot answer, `lag` one that says how far the index is behind.
    """

    reader: Reader
    payloads: Payloads
    incidents: IncidentDesk | None = None
    keys: KeyRing | None = None
    budgets: BudgetDesk | None = None
    people: Accounts | None = None
    record: Callable[[Audit], object] | None = None
    lineage: Lineage | None = None
    reports: Mapping[str, Report] = field(default_factory=dict)
    backtest: Callable[[Mapping[str, Any]], Awaitable[Any]] | None = None
    monitors: Callable[[], Awaitable[Any]] | None = None
    prober: Prober | None = None
    runs: RunDesk | None = None
    flush: Callable[[], Awaitable[Mapping[str, Any]]] = _nothing_to_flush
    watermarks: Callable[[], Awaitable[Mapping[str, Watermark]]] = _no_watermarks
    eraser: Eraser | None = None
    prover: Prover | None = None
    keeper: Keeper | None = None
    anchoring: Anchoring | None = None
    searching: Searches | None = None
    work: App | None = None
    effects: EffectLedger | None = None
    ready: Callable[[], str | None] = _ready
    lag: Callable[[], str] = _no_lag
    metrics_text: Callable[[], bytes] = _no_metrics
    clock_ns: Callable[[], int] = time.time_ns
    address: str = "http://127.0.0.1:8787"
