"""Says where the frames of one trace lie, so that they can be proved."""

from __future__ import annotations

import asyncio

from watchkeeper.engines.recorder.erased import Place
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.queries.explorer import Trace
from watchkeeper.queries.question import Reader
from watchkeeper.queries.tables import record_of
from watchkeeper.records.span import Origin, Span

MOST_SPANS = 10_000


class Prover:
    """Looks up a trace in the index and its payloads in the journal."""

    def __init__(self, reader: Reader, vault: Vault) -> None:
        self._reader, self._vault = reader, vault

    async def places(self, trace_id: str) -> list[Place]:
        """The places of a trace's frames and of the payloads that they rest on; none when there is no such trace."""
        rows = await self._reader.select(Trace(trace_id=trace_id, limit=MOST_SPANS).select())
        spans = [record_of("spans", row) for row in rows.dicts()]
        origins = [span.origin for span in spans if isinstance(span, Span)]
        return sorted(await asyncio.to_thread(self._resting, origins))

    def _resting(self, origins: list[Origin]) -> set[Place]:
        found: set[Place] = set()
        for origin in origins:
            found.add(self._vault.place(origin))
            try:
                bodies = self._vault.span(origin).bodies
            except (KeyError, ValueError):
                continue  # what was erased is proved to have been there, and rests on nothing any more
            found.update(Place(a.writer, a.segment, a.offset) for body in bodies for a in body.chunks)
        return found
