"""Writes what calls leave behind; what cannot be written is counted and said, and fails no call."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.measures import Measures
from watchkeeper.engines.gateway.ports import Payload, Recorder
from watchkeeper.engines.recorder.ledger import DropLedger, reason_of
from watchkeeper.engines.recorder.redaction import RedactionFailed
from watchkeeper.records.body import Body
from watchkeeper.records.record import Record

_log = logging.getLogger("watchkeeper.gateway")

_LARGE_BYTES = 256 << 10
_SPOKEN_EVERY_S = 10.0

_CANNOT_WRITE = (OSError, RuntimeError, ValueError, OverflowError, TypeError, msgspec.MsgspecError)


class Keeper:
    """Writes to the recorder on behalf of calls. What cannot be written is counted and logged, at most every 10 s."""

    def __init__(self, recorder: Recorder, measures: Measures, ledger: DropLedger | None = None) -> None:
        """`ledger` is the drop ledger in which losses are counted."""
        self._recorder, self._measures = recorder, measures
        self._ledger = ledger or DropLedger()
        self._spoke = 0.0

    def append(self, record: Record) -> bool:
        """Write a record; returns whether that worked."""
        try:
            self._recorder.append(record)
        except _CANNOT_WRITE as error:
            self._lost(type(record).__name__.lower(), error)
            return False
        return True

    def write(
        self, payloads: Sequence[Payload], records_of: Callable[[tuple[Body, ...]], Iterable[Record]]
    ) -> tuple[Body, ...] | None:
        """Write payloads and the records made of their bodies at once; None when nothing of it could be written.

        None too for a payload that is so large that it is better written in a thread. Neither is counted as lost: the
        caller tries again piece by piece.
        """
        for payload in payloads:
            if len(payload[0]) > _LARGE_BYTES:
                return None
        try:
            return self._recorder.write(payloads, records_of)
        except _CANNOT_WRITE:
            return None

    async def put(self, data: bytes, name: str, media: str, owner: str) -> Body | None:
        """Write a payload, a large one in a thread of its own; None when that failed."""
        try:
            if len(data) > _LARGE_BYTES:
                return await asyncio.to_thread(self._recorder.put, data, name, media, owner)
            return self._recorder.put(data, name, media, owner)
        except _CANNOT_WRITE as error:
            self._lost("body", error)
            return None

    async def synced(self) -> bool:
        """Wait until all that was written is on the disk; returns whether that worked."""
        try:
            await self._recorder.synced()
        except _CANNOT_WRITE as error:
            self._lost("sync", error)
            return False
        return True

    def _lost(self, what: str, error: Exception) -> None:
        self._measures.dropped(what)
        if not isinstance(error, RedactionFailed):  # that one was counted where it happened
            self._ledger.lost(what, reason_of(error), "gateway")
        now = time.monotonic()
        if now - self._spoke >= _SPOKEN_EVERY_S:
            self._spoke = now
            _log.error("a %s could not be recorded (%s: %s); calls go on", what, type(error).__name__, error)


def unrecorded(upstream: str) -> Refusal:
    """The answer when a call cannot be recorded and its upstream requires that."""
    return Refusal(
        503,
        "recording_unavailable",
        f"The call could not be recorded and the upstream {upstream!r} requires that, so it was not asked. "
        "See the gateway's log: most often the disk is full.",
        kind="unavailable",
    )
