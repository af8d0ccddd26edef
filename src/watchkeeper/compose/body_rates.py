"""Answers how often something stands in bodies, when some of them were thinned: a sample, weighted, with its coverage.

Traces fall into strata: those whose bodies are all there, those kept for a reason, and for each random share those that
were thinned by it, where the ones that were drawn stand for all. Of each stratum at most some traces are read, drawn by
a hash of their id. Bodies that are gone without a sample to stand for them lower the coverage, and no figure is made up
for them.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from watchkeeper.analysis.horvitz_thompson import Stratum, share
from watchkeeper.analysis.pattern_cost import CostlyPattern, checked
from watchkeeper.compose.payloads import Gone, Payloads
from watchkeeper.queries.explorer import Trace
from watchkeeper.queries.filters import CALLS
from watchkeeper.queries.keeping import BodyRate, KeptRows
from watchkeeper.queries.question import Answer, Reader
from watchkeeper.queries.select import Aggregate, Function
from watchkeeper.queries.tables import record_of
from watchkeeper.queries.timespan import DAY_NS
from watchkeeper.records.kept import Stage
from watchkeeper.records.span import Span

WHOLE, CERTAIN, GONE = "all bodies are there", "kept for a reason", "gone"
MAX_TEXT_CHARS = 1_000_000
_EARLY = (Stage.WHOLE, Stage.SAMPLED)
_ENDS: tuple[Function, Function] = ("min", "max")


class _Thinned(NamedTuple):
    """How far a segment was thinned, and with what random share."""

    stage: str
    share: float


class _Pool:
    """One stratum while it is counted: units, clusters, and the traces with the smallest hashes."""

    def __init__(self, most: int) -> None:
        self.units = self.clusters = 0
        self._most = most
        self._drawn: list[tuple[int, str]] = []

    def add(self, trace_id: str, calls: int, may_be_read: bool) -> None:
        """Count a trace."""
        self.units += calls
        self.clusters += 1
        if not may_be_read:
            return
        number = int.from_bytes(hashlib.blake2b(trace_id.encode(), digest_size=8, person=b"wk-read").digest(), "big")
        if len(self._drawn) < self._most:
            heapq.heappush(self._drawn, (-number, trace_id))
        elif -number > self._drawn[0][0]:
            heapq.heapreplace(self._drawn, (-number, trace_id))

    def drawn(self) -> list[str]:
        """The traces to read."""
        return sorted(trace for _, trace in self._drawn)


class BodyRates:
    """Estimates over bodies, through a reader and the vault."""

    def __init__(self, reader: Reader, payloads: Payloads, clock_ns: Callable[[], int]) -> None:
        self._reader, self._payloads, self._clock_ns = reader, payloads, clock_ns

    async def ask(self, question: BodyRate) -> Answer:
        """The estimate; raises `ValueError` for a pattern that is none or could take long."""
        matches = _matcher(question)
        pools: dict[str, _Pool] = {}
        kept, segments = await self._decisions()
        complete = True
        async for trace_id, places, calls, rows_complete in self._traces(question):
            complete = complete and rows_complete
            name, readable = _stratum(trace_id, places, kept, segments)
            pools.setdefault(name, _Pool(question.read)).add(trace_id, calls, readable)
        strata: dict[str, Stratum] = {}
        unreadable = 0
        for name, pool in pools.items():
            seen, lost = await self._look(pool.drawn(), question, matches)
            unreadable += lost
            strata[name] = Stratum(units=pool.units, clusters=pool.clusters, seen=tuple(seen))
        return Answer(items=(_told(strata, unreadable),), complete=complete)

    async def _decisions(self) -> tuple[dict[str, float], dict[tuple[str, int], _Thinned]]:
        """The probability of each kept trace, and how far each segment was thinned."""
        kept: dict[str, float] = {}
        segments: dict[tuple[str, int], _Thinned] = {}
        for row in (await self._reader.ask(KeptRows())).items:
            if row["trace_id"] is not None:
                kept[row["trace_id"]] = float(row["probability"])
            else:
                place = (str(row["writer"]), int(row["segment"]))
                before = segments.get(place)
                chance = float(row["share"]) if before is None or row["stage"] == Stage.SAMPLED else before.share
                segments[place] = _Thinned(str(row["stage"]), chance)
        return kept, segments

    async def _traces(self, question: BodyRate) -> AsyncIterator[tuple[str, list[tuple[str, int, bool]], int, bool]]:
        """Trace, its places, its calls, and whether the index was complete; day by day, so that memory is bounded."""
        plan = question.select()
        ends = tuple(Aggregate(function=each, column="start_ns", alias=each) for each in _ENDS)
        plan = msgspec.structs.replace(plan, columns=ends, group=(), order=())
        ((since_ns, last_ns),) = (await self._reader.select(plan)).rows or ((None, None),)
        if not isinstance(since_ns, int) or not isinstance(last_ns, int):
            return
        until_ns = min(last_ns + 1, self._clock_ns() + DAY_NS)
        for start_ns in range(since_ns, until_ns, DAY_NS):
            day = msgspec.structs.replace(question, since=start_ns, until=min(start_ns + DAY_NS, until_ns))
            rows = await self._reader.select(day.select())
            for trace_id, places, calls in _by_trace(rows.dicts()):
                yield trace_id, places, calls, rows.complete

    async def _look(
        self, traces: list[str], question: BodyRate, matches: Callable[[str], bool]
    ) -> tuple[list[tuple[int, int]], int]:
        """Hits and calls of some traces, and how many calls could not be read."""
        seen: list[tuple[int, int]] = []
        lost = 0
        for trace_id in traces:
            hits = size = 0
            async for text in self._texts(trace_id, question):  # one at a time: together they may fill the memory
                if text is None:
                    lost += 1
                    continue
                size += 1
                hits += await asyncio.to_thread(matches, text)
            if size:
                seen.append((hits, size))
        return seen, lost

    async def _texts(self, trace_id: str, question: BodyRate) -> AsyncIterator[str | None]:
        """What was said in each call of a trace that the question is about; None where it cannot be read."""
        rows = await self._reader.select(Trace(trace_id=trace_id).select())
        for row in rows.dicts():
            span = record_of("spans", row)
            if not isinstance(span, Span) or span.operation not in CALLS:
                continue
            wanted = (
                question.since <= span.start_ns < question.until
                and question.model in (None, span.model)
                and question.service in (None, span.service)
            )
            if not wanted:
                continue
            try:
                said = (await self._payloads.detail(span)).conversation
            except (Gone, LookupError):
                yield None
                continue
            messages = said.output if question.side == "reply" else said.input
            yield "\n".join(message.text for message in messages)[:MAX_TEXT_CHARS] if messages else None


def _matcher(question: BodyRate) -> Callable[[str], bool]:
    if question.text is not None:
        wanted = question.text.casefold()
        return lambda text: wanted in text.casefold()
    try:
        pattern = checked(question.pattern or "")
    except (CostlyPattern, re.error) as error:
        raise ValueError(f"the pattern is not taken: {error}") from error
    return lambda text: pattern.search(text) is not None


def _by_trace(rows: list[dict[str, Any]]) -> Iterator[tuple[str, list[tuple[str, int, bool]], int]]:
    """Rows, in the order of traces, put together trace by trace."""
    current: str | None = None
    places: list[tuple[str, int, bool]] = []
    calls = 0
    for row in rows:
        if row["trace_id"] != current:
            if current is not None:
                yield current, places, calls
            current, places, calls = str(row["trace_id"]), [], 0
        places.append((str(row["origin_writer"]), int(row["origin_segment"] or 0), row["removed"] is not None))
        calls += int(row["calls"])
    if current is not None:
        yield current, places, calls


def _stratum(
    trace_id: str,
    places: list[tuple[str, int, bool]],
    kept: Mapping[str, float],
    segments: Mapping[tuple[str, int], _Thinned],
) -> tuple[str, bool]:
    """The stratum of a trace, and whether its bodies are there to be read."""
    thinned = [found for writer, segment, _ in places if (found := segments.get((writer, segment))) is not None]
    if any(each.stage not in _EARLY for each in thinned):
        return GONE, False
    probability = kept.get(trace_id)
    if probability is not None:
        return (CERTAIN, True) if probability >= 1 else (_drawn_at(probability), True)
    if not thinned and not any(removed for _, _, removed in places):
        return WHOLE, True
    chance = min((each.share for each in thinned), default=0.0)
    return (_drawn_at(chance), False) if chance > 0 else (GONE, False)


def _drawn_at(probability: float) -> str:
    return f"thinned, {probability:.4g} drawn at random"


def _told(strata: Mapping[str, Stratum], unreadable: int) -> dict[str, Any]:
    gone = strata.get(GONE, Stratum(units=0, clusters=0))
    there = [each for name, each in strata.items() if name != GONE]
    estimate = share(there)
    calls = sum(each.units for each in strata.values())
    blind = sum(each.units for each in there if each.units and not each.seen)
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "n": estimate.n,
        "confidence": estimate.confidence,
        "method": estimate.method,
        "coverage": (calls - gone.units - blind) / calls if calls else None,
        "calls": calls,
        "traces": sum(each.clusters for each in strata.values()),
        "read": sum(each.seen_units for each in there),
        "unreadable": unreadable,
        "strata": [
            {"stratum": name, "calls": each.units, "traces": each.clusters, "read": each.seen_units, "hits": each.hits}
            for name, each in sorted(strata.items())
        ],
    }
