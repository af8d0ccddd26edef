"""Runs the monitors, each at its own pace, and hands what they find to the incident desk.

A monitor that fails is counted, logged, shown and written into the drop ledger; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from watchkeeper.kinds.monitor import Monitor, Window
from watchkeeper.queries.question import Reader
from watchkeeper.records.drop import Drop
from watchkeeper.records.finding import Finding
from watchkeeper.records.incident import Incident
from watchkeeper.records.record import Record

_S = 1_000_000_000
_DEFAULT_LOOK_BACK_S = 86_400
_log = logging.getLogger("watchkeeper.monitors")


class Desk(Protocol):
    """Where findings go."""

    async def file(self, finding: Finding) -> Incident:
        """Record a finding, unless it says nothing new, and return its incident."""
        ...


class MonitorUse(msgspec.Struct, frozen=True, kw_only=True):
    """One use of a monitor. `name` tells its findings from those of another use; `every_s` overrides its own pace."""

    monitor: Monitor
    name: str
    owner: str | None = None
    every_s: float | None = None

    @property
    def pace_s(self) -> float:
        """Seconds between two looks."""
        return self.monitor.every.total_seconds() if self.every_s is None else self.every_s


class Health(Record):
    """How one monitor fares: looks taken and failed, the last error, and when it last looked and found something."""

    name: str
    monitor: str
    every_s: float
    checks: int = 0
    failures: int = 0
    findings: int = 0
    last_check_ns: int | None = None
    last_finding_ns: int | None = None
    last_error: str | None = None


class MonitorRunner:
    """Looks with every monitor, for as long as it runs."""

    def __init__(
        self,
        uses: Sequence[MonitorUse],
        reader: Reader,
        desk: Desk,
        record: Callable[[Record], object],
        clock_ns: Callable[[], int],
        looked: Callable[[str, Finding | None], Awaitable[None]] | None = None,
    ) -> None:
        """`looked` is told of every look, by the name of the use, with what it found."""
        names = [use.name for use in uses]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two monitors are called {name!r}; give one of them another `name`.")
        self._uses = tuple(uses)
        self._reader = reader
        self._desk = desk
        self._record = record
        self._clock_ns = clock_ns
        self._looked = looked
        self._health = {
            use.name: Health(name=use.name, monitor=use.monitor.header.id, every_s=use.pace_s) for use in uses
        }

    def health(self) -> tuple[Health, ...]:
        """How each monitor fares, in the order of the settings."""
        return tuple(self._health[use.name] for use in self._uses)

    async def run(self, stopping: asyncio.Event) -> None:
        """Look with every monitor at its own pace until told to stop."""
        if self._uses:
            await asyncio.gather(*(self._follow(use, stopping) for use in self._uses))

    async def once(self, now_ns: int) -> tuple[Finding, ...]:
        """Look once with every monitor, as of `now_ns`; the findings, those that say nothing new among them."""
        found = [await self._look(use, now_ns) for use in self._uses]
        return tuple(finding for finding in found if finding is not None)

    async def _follow(self, use: MonitorUse, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self._look(use, self._clock_ns())
            try:
                await asyncio.wait_for(stopping.wait(), max(0.01, use.pace_s))
            except TimeoutError:
                continue

    async def _look(self, use: MonitorUse, now_ns: int) -> Finding | None:
        health = self._health[use.name]
        start_ns = now_ns - round(max(use.pace_s, _DEFAULT_LOOK_BACK_S) * _S)
        try:
            finding = await use.monitor.check(Window(start_ns=start_ns, end_ns=now_ns), self._reader)
            if finding is not None:
                finding = _named(finding, use)
                await self._desk.file(finding)
            if self._looked is not None:
                await self._looked(use.name, finding)
        except Exception as error:  # noqa: BLE001  one monitor's failure must not end the watch of the others
            self._failed(use, health, now_ns, error)
            return None
        self._health[use.name] = msgspec.structs.replace(
            health,
            checks=health.checks + 1,
            findings=health.findings + (finding is not None),
            last_check_ns=now_ns,
            last_finding_ns=health.last_finding_ns if finding is None else now_ns,
            last_error=None,
        )
        return finding

    def _failed(self, use: MonitorUse, health: Health, now_ns: int, error: Exception) -> None:
        """Count a failure; a row of equal failures is logged and written down once."""
        said = f"{type(error).__name__}: {error}"[:300]
        self._health[use.name] = msgspec.structs.replace(
            health,
            checks=health.checks + 1,
            failures=health.failures + 1,
            last_check_ns=now_ns,
            last_error=said,
        )
        if health.last_error == said:
            return
        _log.error("monitor %s could not look: %s", use.name, said)
        try:
            self._record(
                Drop(
                    what="check",
                    reason="monitor_failed",
                    count=1,
                    first_ns=now_ns,
                    last_ns=now_ns,
                    door="monitor",
                    detail=f"{use.name}: {said}",
                )
            )
        except OSError as full:
            _log.error("the failure of monitor %s could not be recorded: %s", use.name, full)


def _named(finding: Finding, use: MonitorUse) -> Finding:
    """A finding under the name and owner of the use that made it; a use without a name of its own keeps the subject."""
    named = use.name != use.monitor.header.id
    return msgspec.structs.replace(
        finding,
        subject=f"{use.monitor.header.id}:{use.name}" if named else finding.subject,
        owner=finding.owner or use.owner,
        evidence={**finding.evidence, "use": use.name},
    )
