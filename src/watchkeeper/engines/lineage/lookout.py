"""Looks for retrieved chunks in the recorded requests of their trace, so that "entered" is evidence and not a claim.

A source is written when context was assembled, the call it was for is recorded by another process, before or after. So
sources wait in the index as pending; for each, the requests of its trace are searched (see `analysis.sighting`), and
what was found is written as revision 1. A chunk that is in none of them is looked for again until `SETTLED_AFTER_NS`
have passed, and a trace without any request until `GIVEN_UP_AFTER_NS`; then that is what is written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from watchkeeper.analysis.sighting import SHORTEST, Page, Sighting
from watchkeeper.queries.lineage import Sources, Unseen
from watchkeeper.queries.question import Reader
from watchkeeper.queries.whole import Whole
from watchkeeper.records.record import Record
from watchkeeper.records.source import Fate, Seen, Source

EVERY_S = 2.0
SETTLED_AFTER_NS = 60 * 1_000_000_000
GIVEN_UP_AFTER_NS = 15 * 60 * 1_000_000_000
MOST_CALLS = 50
_LOOKED_BACK_NS = 24 * 3600 * 1_000_000_000
_SLACK_NS = 1_000_000_000
_ROUND = 500
_MOST_TWINS = 2_000
_MOST_WAITING = 5_000
_log = logging.getLogger("watchkeeper.lineage")


class Asked(NamedTuple):
    """One recorded request: the span of the call, when it began, its bytes, and whether offsets in them mean anything.

    The bytes of a call that came as a trace export are its messages put together anew, so offsets there do not.
    """

    span_id: str
    start_ns: int
    body: bytes
    exact: bool = True


TextOf = Callable[[Source], Awaitable[str | None]]
RequestsOf = Callable[[str], Awaitable[Sequence[Asked]]]


class Lookout:
    """Looks for pending sources. `record` keeps what was found; `counts` by outcome for metrics."""

    def __init__(
        self,
        reader: Reader,
        record: Callable[[Record], object],
        text_of: TextOf,
        requests_of: RequestsOf,
        clock_ns: Callable[[], int],
    ) -> None:
        """`text_of` gives a source's text, None where none was kept; `requests_of` the calls of a trace in order."""
        self._reader, self._record, self._clock_ns = reader, record, clock_ns
        self._text_of, self._requests_of = text_of, requests_of
        self._later: dict[str, int] = {}
        self._done: dict[str, Source] = {}
        self._turn = asyncio.Lock()
        self._newest = False

    async def run(self, stopping: asyncio.Event) -> None:
        """Look every now and then until told to stop; a failure is logged and never ends the watch."""
        while not stopping.is_set():
            try:
                found = await self.round()
            except Exception as error:  # noqa: BLE001 - whatever cannot be read now is looked for again
                _log.error("sources could not be looked for and are tried again: %s", error)
                found = 0
            try:
                await asyncio.wait_for(stopping.wait(), 0.05 if found else EVERY_S)
            except TimeoutError:
                continue

    async def round(self, trace_id: str | None = None) -> int:
        """Look for what is pending, of one trace or of all; returns how many sources are settled by it."""
        async with self._turn:
            now_ns, settled = self._clock_ns(), 0
            pending = await self._reader.ask(Whole(self._asked(trace_id, now_ns), Source))
            traces: dict[str, list[Source]] = {}
            for source in pending:
                if source.source_id not in self._done:
                    traces.setdefault(source.trace_id, []).append(source)
            for name, sources in traces.items():
                if trace_id is None and now_ns < self._later.get(name, 0):
                    continue
                done = await self._trace(name, sources, now_ns)
                settled += done
                if done < len(sources):
                    self._wait(name, min(each.at_ns for each in sources), now_ns)
            return settled

    def _asked(self, trace_id: str | None, now_ns: int) -> Unseen:
        """Oldest and newest first by turns, so that many that must wait do not hold up the others."""
        if trace_id is not None:
            return Unseen(trace_id=trace_id, limit=_ROUND)
        self._newest = not self._newest
        return Unseen(since=max(0, now_ns - _LOOKED_BACK_NS), newest=self._newest, limit=_ROUND)

    async def _trace(self, trace_id: str, sources: Sequence[Source], now_ns: int) -> int:
        requests = (await self._requests_of(trace_id))[:MOST_CALLS]
        pages = [(each, Page(each.body)) for each in requests]
        settled = 0
        twins = await self._entered(trace_id) if any(each.status == Fate.DROPPED for each in sources) else frozenset()
        for source in sources:
            if source.status == Fate.DROPPED and source.digest in twins:
                looked: Source | None = _settled(source, Seen.DECLARED)
            else:
                text = await self._text_of(source)
                looked = await asyncio.to_thread(_look, source, text, pages, now_ns)
            if looked is not None:
                self._record(looked)
                self._remember(looked)
                settled += 1
        return settled

    async def _entered(self, trace_id: str) -> frozenset[str]:
        """The texts (digests) that are said to have entered: a dropped copy of one is not what is found there."""
        all_of_it = await self._reader.ask(Whole(Sources(trace_id=trace_id, limit=_MOST_TWINS), Source))
        entered = (Fate.ENTERED, Fate.TRUNCATED)
        return frozenset(each.digest for each in all_of_it if each.digest and each.status in entered)

    def _wait(self, trace_id: str, since_ns: int, now_ns: int) -> None:
        """Look again after half as long as the sources have waited already."""
        if len(self._later) >= _MOST_WAITING:
            self._later.clear()
        self._later[trace_id] = now_ns + max(_SLACK_NS, (now_ns - since_ns) // 2)

    def fresh(self, trace_id: str) -> list[Source]:
        """What was settled of a trace of late; the index may not have it yet."""
        return [source for source in self._done.values() if source.trace_id == trace_id]

    def _remember(self, looked: Source) -> None:
        """The index lags the journal by moments: what was settled is not looked for a second time meanwhile."""
        self._done[looked.source_id] = looked
        if len(self._done) > _MOST_WAITING:
            self._done.pop(next(iter(self._done)))


def _look(source: Source, text: str | None, pages: Sequence[tuple[Asked, Page]], now_ns: int) -> Source | None:
    """A source with what was found; None while it is too early to say that it is not there."""
    age_ns = now_ns - source.at_ns
    if not text:
        return _settled(source, Seen.TEXTLESS)
    if not pages:
        return _settled(source, Seen.NO_REQUEST) if age_ns >= GIVEN_UP_AFTER_NS else None
    if len(text.strip()) < SHORTEST:
        return _settled(source, Seen.DECLARED)
    found = [
        (asked, sighting)
        for asked, page in _meant(source, pages)
        if (sighting := _find(source, text, page)) is not None
    ]
    if not found:
        return _settled(source, Seen.DECLARED) if age_ns >= SETTLED_AFTER_NS else None
    best = max(sighting.chars for _, sighting in found)
    found = [(asked, sighting) for asked, sighting in found if sighting.how != "part" or sighting.chars == best]
    asked, sighting = found[0]
    return _sighted(source, asked, sighting, tuple(each.span_id for each, _ in found))


def _find(source: Source, text: str, page: Page) -> Sighting | None:
    """Where a text is; of one that was cut where the assembler says, the part up to there."""
    kept = source.kept_chars
    if source.status == Fate.TRUNCATED and kept is not None and kept < len(text):
        part = page.find(text[:kept])
        if part is not None and part.how != "part":
            return msgspec.structs.replace(part, how="part", chars=kept)
    found = page.find(text)
    if found is None or found.how != "part" or source.status in (Fate.ENTERED, Fate.TRUNCATED):
        return found
    # A beginning may stand there by chance: it says nothing against a drop, and needs half of a mere candidate.
    return found if source.status == Fate.CANDIDATE and found.chars * 2 >= len(text) else None


def _meant(source: Source, pages: Sequence[tuple[Asked, Page]]) -> Sequence[tuple[Asked, Page]]:
    """The calls that a source can have been for: the one it names, else those that began after it, else all."""
    own = [each for each in pages if each[0].span_id == source.span_id]
    after = [each for each in pages if each[0].start_ns >= source.at_ns - _SLACK_NS]
    return own or after or pages


def _sighted(source: Source, asked: Asked, sighting: Sighting, calls: tuple[str, ...]) -> Source:
    return msgspec.structs.replace(
        source,
        seen=Seen(sighting.how),
        calls=calls,
        seen_start=sighting.start if asked.exact else None,
        seen_end=sighting.end if asked.exact else None,
        kept_chars=sighting.chars,
        revision=1,
    )


def _settled(source: Source, seen: Seen) -> Source:
    return msgspec.structs.replace(source, seen=seen, revision=1)
