"""Tells the gateway that the answers of an upstream have become bad, through a cell for each monitor that says so.

The port is narrow on purpose: the store process writes `gateway/quality/<monitor>`, the gateway reads all of them every
few seconds and opens or frees its breakers. Neither knows the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from watchkeeper.kinds.ports import Cells, Delete, Put
from watchkeeper.records.finding import Finding
from watchkeeper.records.record import Record, as_json

PREFIX = "gateway/quality/"


class Signal(Record):
    """The answers of an upstream (of one model there, or of all) are bad since `since_ns`, and why."""

    upstream: str
    model: str | None
    why: str
    since_ns: int
    finding_id: str


class Aim(NamedTuple):
    """What a probe asks: an upstream, and the model there (None: whichever it answers with)."""

    upstream: str
    model: str | None


class Signals:
    """Sets the signal of a monitor when it finds that a probe's answers changed, and takes it back when it is quiet.

    `aims` are the probes that may steer, by name. A finding that names none of them changes nothing.
    """

    def __init__(self, cells: Cells, aims: Mapping[str, Aim]) -> None:
        self._cells, self._aims = cells, aims
        self._set: dict[str, Signal | None] = {}

    async def looked(self, monitor: str, finding: Finding | None) -> None:
        """A monitor has looked; `monitor` is the name of its use."""
        if not self._aims:
            return
        aim = None if finding is None else self._aims.get(str(finding.evidence.get("probe")))
        before = self._set.get(monitor)
        if finding is None or aim is None:
            if monitor not in self._set or before is not None:
                await self._cells.apply([Delete(key=PREFIX + monitor)])
            self._set[monitor] = None
            return
        if before is not None and (before.upstream, before.model) == (aim.upstream, aim.model):
            return
        why = f"{monitor}: {finding.sentence}"[:300]
        signal = Signal(
            upstream=aim.upstream, model=aim.model, why=why, since_ns=finding.at_ns, finding_id=finding.finding_id
        )
        await self._cells.apply([Put(key=PREFIX + monitor, value=as_json(signal))])
        self._set[monitor] = signal


async def standing(cells: Cells) -> list[Signal]:
    """The signals that stand now; what cannot be read is none."""
    found = []
    cursor = None
    while True:
        page = await cells.scan(PREFIX, cursor)
        for _, value in page.items:
            try:
                found.append(msgspec.json.decode(value if isinstance(value, bytes) else b"", type=Signal))
            except msgspec.MsgspecError:
                continue
        cursor = page.cursor
        if cursor is None:
            return found
