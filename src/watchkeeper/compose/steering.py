"""Brings what the monitors think of upstreams to the gateway's breakers, and breakers' changes to the record."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.breakers import Change
from watchkeeper.engines.monitoring.signals import standing
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import as_json

EVERY_S = 5.0
_log = logging.getLogger("watchkeeper.gateway")


class Steering:
    """Reads the quality signals every few seconds, out of the path of calls. Out of reach, the last ones stand."""

    def __init__(self, gateway: Gateway, cells: Cells) -> None:
        self._gateway, self._cells = gateway, cells
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, inside the running loop."""
        self._task = asyncio.create_task(self._run(), name="steering")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> None:
        """Read the signals once."""
        signals = await standing(self._cells)
        self._gateway.board.judge({(each.upstream, each.model): each.why for each in signals})

    async def _run(self) -> None:
        said = ""
        while True:
            try:
                await self.look()
                said = ""
            except Exception as error:  # noqa: BLE001  a store may fail in any way; calls go on, and it is said once
                if said != str(error):
                    _log.warning("the quality signals of upstreams cannot be read: %s", error)
                said = str(error)
            await asyncio.sleep(EVERY_S)


def steered(upstream: str, model: str, change: Change, now_ns: int) -> Audit:
    """That a breaker changed its state, for the record."""
    detail = {"upstream": upstream, "model": model or None, "before": change.before, "why": change.why[:300]}
    return Audit(
        audit_id=new_id("aud", now_ns),
        at_ns=now_ns,
        act=f"upstream.{change.after}",
        actor="gateway",
        subject=upstream,
        detail=as_json(detail).decode(),
    )
