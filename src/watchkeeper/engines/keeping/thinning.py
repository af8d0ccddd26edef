"""Takes one segment of the journal to its next stage: what goes is recorded, then erased, and its space given back.

The order makes it safe to stop anywhere: what is kept is recorded, what stays of an export is written anew, and only
then is the old frame erased, with a pointer to what stays. Done again, it finds less to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from watchkeeper.engines.keeping.cards import (
    RECEIVED,
    RESTING,
    Amount,
    Card,
    Cards,
    References,
    Target,
    frames_of,
    slim,
)
from watchkeeper.engines.keeping.consequence import Chooser, Chosen
from watchkeeper.engines.keeping.rules import Rules, before
from watchkeeper.engines.recorder.erasure import Place, erase
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.packed import pack_segment
from watchkeeper.engines.recorder.segments import Frame, segment_path
from watchkeeper.kinds.ports import Log
from watchkeeper.queries.filters import columns
from watchkeeper.queries.select import Among, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.kept import Kept, Stage
from watchkeeper.records.logged import Logged
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Span

REMOVED = "watchkeeper.removed"
ACTOR = "retention"
KEYS_AT_ONCE = 2_000
PACKED_FROM_SHARE = 0.2
"""A segment is packed when at least this share of its bytes was erased; less is not worth writing it anew."""
SPAN_KINDS = frozenset((FrameKind.SPAN, FrameKind.OTLP, FrameKind.OTLP_LOGS, FrameKind.SOURCE))
"""What goes with the metadata."""
PROOF_KINDS = frozenset((FrameKind.ERASURE, FrameKind.CHECKPOINT, FrameKind.KEPT))
"""What speaks of the journal itself is never erased, and a segment that holds any is never taken away."""


class Exports(Protocol):
    """Reads and thins one kind of telemetry export."""

    def inside(self, payload: bytes) -> Iterable[tuple[str, str, int]]:
        """Trace id, span id and time (unix ns) of each item."""
        ...

    def records(self, payload: bytes, came_ns: int) -> Iterable[Record]:
        """What the index has of an export."""
        ...

    def owner(self, payload: bytes) -> str:
        """Whose it is, as the journal names owners."""
        ...

    def strip(self, payload: bytes, came_ns: int, level: str, keeps: Callable[[str], bool]) -> bytes | None:
        """The export less what traces that are not kept lose at a level; None when nothing changes."""
        ...


class Thinned(Record):
    """What one segment went through; `quieted` counts log records that lost their text."""

    writer: str
    segment: int
    stage: str
    why: str
    traces: int = 0
    kept_traces: int = 0
    frames: int = 0
    rewritten: int = 0
    quieted: int = 0
    freed_bytes: int = 0
    oldest_ns: int = 0
    youngest_ns: int = 0


class _Inside(NamedTuple):
    """What a segment holds: the traces, the newest revision of each span here, and when they began."""

    traces: set[str]
    spans: dict[tuple[str, str], int]
    since_ns: int
    until_ns: int


class _Work(NamedTuple):
    """What is to go, what stays needed of this and other segments, and where what was rewritten lies now."""

    places: dict[Place, str]
    moved: dict[Place, Place]
    needed: set[Target]


class Thinner:
    """Thins segments, one at a time. Files are read and written off the event loop."""

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        cards: Cards,
        log: Log,
        chooser: Chooser,
        rules: Rules,
        exports: Mapping[FrameKind, Exports],
    ) -> None:
        """`journal` is where decisions, and what stays of exports, are written; `folder` holds all journals."""
        self._journal, self._folder, self._cards = journal, folder, cards
        self._index, self._chooser, self._rules, self._exports = log, chooser, rules, exports

    async def thin(self, card: Card, stage: Stage, why: str, now_ns: int) -> Thinned:
        """Take a sealed segment to a stage; raises `Corrupt` for a damaged one, which is then as it was."""
        inside = await asyncio.to_thread(self._look, card, stage)
        chosen: Mapping[str, Chosen] = {}
        if stage is Stage.SAMPLED and inside.traces:
            chosen = await self._chooser.choose(inside.traces, inside.since_ns, inside.until_ns)
            await asyncio.to_thread(self._note, chosen, now_ns)
        quieted = 0
        if stage in (Stage.SAMPLED, Stage.BODIES) and FrameKind.OTLP_LOGS.name.lower() in card.amounts:
            quieted = await self._unindex_logs(card, chosen)
        if not before(stage, Stage.FIELDS):
            await self._unindex(card, stage, inside)
        done = await asyncio.to_thread(self._carry_out, card, stage, why, inside, chosen, now_ns)
        thinned = await asyncio.to_thread(self._close, done, why, now_ns)
        return msgspec.structs.replace(thinned, quieted=quieted)

    def _look(self, card: Card, stage: Stage) -> _Inside:
        traces: set[str] = set()
        spans: dict[tuple[str, str], int] = {}
        since_ns, until_ns = FAR_NS, 0
        for frame in self._frames(card):
            for trace, span, at_ns, revision in self._items(frame, stage):
                traces.add(trace)
                spans[(trace, span)] = max(revision, spans.get((trace, span), 0))
                since_ns, until_ns = min(since_ns, at_ns), max(until_ns, at_ns)
        return _Inside(traces, spans, since_ns, until_ns)

    def _items(self, frame: Frame, stage: Stage) -> Iterator[tuple[str, str, int, int]]:
        """Trace, span, start and revision of what a frame holds; nothing for one that has nothing to lose any more."""
        kind = frame.head.kind
        if kind == FrameKind.SPAN:
            record = slim(frame)
            if stage is not Stage.FIELDS or record.attributes.get(REMOVED) != "fields":
                yield record.trace_id or "", record.span_id or "", record.start_ns, record.revision
        elif kind in self._exports:
            exports = self._exports[FrameKind(kind)]
            if stage is Stage.FIELDS and exports.strip(frame.payload, frame.head.at_ns, "fields", _nothing) is None:
                return
            for trace, span, at_ns in exports.inside(frame.payload):
                yield trace, span, at_ns, 1

    def _frames(self, card: Card) -> Iterator[Frame]:
        """The frames of a segment that are not erased."""
        return (each for each in frames_of(self._folder / card.writer, card.segment) if not each.erased)

    def _note(self, chosen: Mapping[str, Chosen], now_ns: int) -> None:
        """Record which traces are kept; deciding about a trace again says the same under the same name."""
        for trace, why in chosen.items():
            if why.fresh:
                self._journal.append(
                    Kept(
                        kept_id=f"trace:{trace}", at_ns=now_ns, rules=self._rules.version, trace_id=trace,
                        reasons=why.reasons, probability=why.probability, share=self._rules.share,
                    )
                )  # fmt: skip

    async def _unindex(self, card: Card, stage: Stage, inside: _Inside) -> None:
        """Take the rows of this segment's spans out of the index; what stays of them comes in anew."""
        keys = sorted(inside.spans)
        for at in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[at : at + KEYS_AT_ONCE]
            plan = Select(
                table="spans", since_ns=inside.since_ns, until_ns=inside.until_ns + 1,
                columns=columns("trace_id", "span_id", "origin_writer", "origin_segment"),
                where=Among(column="trace_id", values=tuple({trace for trace, _ in some})),
            )  # fmt: skip
            wanted = set(some)
            mine = [
                (trace, span)
                for trace, span, writer, segment in (await self._index.select(plan)).rows
                if (trace, span) in wanted and self._rests_here(card, stage, str(writer), int(str(segment)))
            ]
            if mine:
                await self._index.remove("spans", keys=mine)  # type: ignore[arg-type]

    async def _unindex_logs(self, card: Card, chosen: Mapping[str, Chosen]) -> int:
        """Take the rows of log records out that lose their text: without it a record has another id and row."""
        keys = await asyncio.to_thread(self._quieted, card, chosen)
        for at in range(0, len(keys), KEYS_AT_ONCE):
            await self._index.remove("logs", keys=keys[at : at + KEYS_AT_ONCE])
        return len(keys)

    def _quieted(self, card: Card, chosen: Mapping[str, Chosen]) -> list[tuple[str, ...]]:
        exports = self._exports[FrameKind.OTLP_LOGS]
        gone: set[tuple[str, ...]] = set()
        for frame in self._frames(card):
            if frame.head.kind != FrameKind.OTLP_LOGS:
                continue
            stays = exports.strip(frame.payload, frame.head.at_ns, "bodies", chosen.__contains__)
            if stays is not None:
                was, is_now = (
                    {(each.log_id,) for each in exports.records(payload, frame.head.at_ns) if isinstance(each, Logged)}
                    for payload in (frame.payload, stays)
                )
                gone |= was - is_now
        return sorted(gone)

    def _rests_here(self, card: Card, stage: Stage, writer: str, segment: int) -> bool:
        """Whether a row's frame lies in this segment, or lay in one that has come as far already."""
        if (writer, segment) == (card.writer, card.segment):
            return True
        with contextlib.suppress(KeyError):
            return not before(self._cards.get(writer, segment).stage, stage)
        return True

    def _carry_out(
        self, card: Card, stage: Stage, why: str, inside: _Inside, chosen: Mapping[str, Chosen], now_ns: int
    ) -> tuple[Card, Thinned]:
        work = self._sort(card, stage, inside, chosen)
        before_bytes = _allocated(segment_path(self._folder / card.writer, card.segment))
        erased = erase(
            self._journal, self._folder, work.places, reason=_reason(stage, why), actor=ACTOR, moved=work.moved,
            detail=f"to stage {stage.value} by rules {self._rules.version}",
        )  # fmt: skip
        needed = References.of(work.needed)
        more = self._no_longer_needed(card, needed)
        loose = card.loose_bytes + erased.payload_bytes
        card = msgspec.structs.replace(card, stage=stage, amounts=_less(card, work.places), loose_bytes=loose)
        if more:
            gone = erase(self._journal, self._folder, more, reason=_reason(stage, why), actor=ACTOR)
            self._count_gone(more, gone.payload_bytes // len(more))
        card = self._give_back(card)
        self._cards.put(card, needed)
        freed = max(0, before_bytes - _allocated(segment_path(self._folder / card.writer, card.segment)))
        return card, Thinned(
            writer=card.writer, segment=card.segment, stage=stage, why=why, traces=len(inside.traces),
            kept_traces=sum(1 for trace in inside.traces if trace in chosen), frames=erased.frames + len(more),
            rewritten=len(work.moved), freed_bytes=freed, oldest_ns=card.oldest_ns, youngest_ns=card.youngest_ns,
        )  # fmt: skip

    def _sort(self, card: Card, stage: Stage, inside: _Inside, chosen: Mapping[str, Chosen]) -> _Work:
        """Read the segment again and decide frame by frame."""
        work = _Work({}, {}, set())
        held = self._cards.needed(card.writer, card.segment)
        chunks: list[int] = []
        for frame in self._frames(card):
            kind = frame.head.kind
            place = Place(card.writer, card.segment, frame.offset)
            if kind == FrameKind.CHUNK:
                chunks.append(frame.offset)
            elif kind in PROOF_KINDS:
                continue
            elif not before(stage, Stage.METADATA) and (kind in SPAN_KINDS or stage is Stage.RECORDS):
                work.places[place] = _name(kind)
            elif kind in self._exports:
                self._export(work, place, frame, stage, chosen)
            elif kind in RESTING:
                self._resting(work, place, frame, stage, inside, chosen)
        here = {t.offset for t in work.needed if (t.writer, t.segment) == (card.writer, card.segment)}
        for offset in chunks:
            if offset not in here and offset not in held:
                work.places[Place(card.writer, card.segment, offset)] = "chunk"
        return work

    def _export(self, work: _Work, place: Place, frame: Frame, stage: Stage, chosen: Mapping[str, Chosen]) -> None:
        """Write an export anew without what goes of it."""
        exports = self._exports[FrameKind(frame.head.kind)]
        level = "bodies" if before(stage, Stage.FIELDS) else "fields"
        stays = exports.strip(frame.payload, frame.head.at_ns, level, chosen.__contains__)
        if stays is not None:
            at = self._journal.append_raw(FrameKind(frame.head.kind), stays, exports.owner(frame.payload))
            work.moved[place] = Place(at.writer, at.segment, at.offset)
            work.places[place] = _name(frame.head.kind)

    def _resting(
        self, work: _Work, place: Place, frame: Frame, stage: Stage, inside: _Inside, chosen: Mapping[str, Chosen]
    ) -> None:
        """A record that rests on payloads: needed while its trace is kept; less its texts when fields go."""
        record = slim(frame)
        if stage is Stage.SAMPLED and record.trace_id in chosen:
            work.needed.update(Target(a.writer, a.segment, a.offset) for a in record.addresses())
        if before(stage, Stage.FIELDS) or frame.head.kind != FrameKind.SPAN:
            return
        if record.attributes.get(REMOVED) == "fields":
            return
        work.places[place] = _name(frame.head.kind)
        if record.revision < inside.spans.get((record.trace_id or "", record.span_id or ""), 0):
            return
        span = unpack(Span, frame.payload)
        came_ns = record.attributes.get(RECEIVED) or frame.head.at_ns
        bare = msgspec.structs.replace(
            span, preview="", message=None, events=(), bodies=(), attributes={RECEIVED: came_ns, REMOVED: "fields"}
        )
        at = self._journal.append(bare)
        work.moved[place] = Place(at.writer, at.segment, at.offset)

    def _no_longer_needed(self, card: Card, needed: References) -> list[Place]:
        """Payloads of segments thinned before that only this one still needed."""
        dropped: dict[tuple[str, int], set[int]] = {}
        still = set(needed)
        for target in self._cards.references(card.writer, card.segment):
            if target not in still and (target.writer, target.segment) != (card.writer, card.segment):
                dropped.setdefault((target.writer, target.segment), set()).add(target.offset)
        gone = []
        for (writer, segment), offsets in dropped.items():
            try:
                other = self._cards.get(writer, segment)
            except KeyError:
                continue  # trimmed
            if other.stage == Stage.WHOLE:
                continue  # its own turn comes
            left = offsets - self._cards.needed(writer, segment, besides=(card.writer, card.segment))
            left -= set(self._cards.references(writer, segment).into(writer, segment))
            gone += [Place(writer, segment, offset) for offset in left]
        return gone

    def _count_gone(self, places: Iterable[Place], bytes_each: int) -> None:
        by_segment: dict[tuple[str, int], dict[Place, str]] = {}
        for place in places:
            by_segment.setdefault((place.writer, place.segment), {})[place] = "chunk"
        for (writer, segment), gone in by_segment.items():
            card = self._cards.get(writer, segment)
            loose = card.loose_bytes + len(gone) * bytes_each
            self._cards.put(
                self._give_back(msgspec.structs.replace(card, amounts=_less(card, gone), loose_bytes=loose))
            )

    def _give_back(self, card: Card) -> Card:
        """Pack a segment when that is worth it."""
        path = segment_path(self._folder / card.writer, card.segment)
        if not card.loose_bytes or card.loose_bytes < PACKED_FROM_SHARE * _allocated(path):
            return card
        pack_segment(path)
        return msgspec.structs.replace(card, loose_bytes=0)

    def _close(self, done: tuple[Card, Thinned], why: str, now_ns: int) -> Thinned:
        """Record what was done, and take a segment away of which nothing is left."""
        card, thinned = done
        self._journal.append(self._said(card, thinned, why, now_ns))
        if thinned.stage != Stage.RECORDS or card.alive:
            return thinned
        return msgspec.structs.replace(self._trim(card, now_ns), traces=thinned.traces, frames=thinned.frames)

    async def trim(self, card: Card, now_ns: int) -> Thinned:
        """Take a segment away of which nothing is left since others stopped needing it."""
        return await asyncio.to_thread(self._trim, card, now_ns)

    def _trim(self, card: Card, now_ns: int) -> Thinned:
        path = segment_path(self._folder / card.writer, card.segment)
        trimmed = Thinned(
            writer=card.writer, segment=card.segment, stage=Stage.TRIMMED.value, why="age",
            freed_bytes=_allocated(path), oldest_ns=card.oldest_ns, youngest_ns=card.youngest_ns,
        )  # fmt: skip
        self._journal.append(self._said(card, trimmed, "age", now_ns))
        self._journal.sync()
        path.unlink()
        self._cards.drop(card.writer, card.segment)
        return trimmed

    def _said(self, card: Card, thinned: Thinned, why: str, now_ns: int) -> Kept:
        return Kept(
            kept_id=f"segment:{card.writer}:{card.segment}:{thinned.stage}", at_ns=now_ns,
            rules=self._rules.version, writer=card.writer, segment=card.segment, stage=thinned.stage, why=why,
            share=self._rules.share, window_ns=self._rules.window_ns, since_ns=card.oldest_ns,
            until_ns=card.youngest_ns, traces=thinned.traces, kept_traces=thinned.kept_traces,
            frames=thinned.frames, freed_bytes=thinned.freed_bytes, first_seq=card.first_seq,
            last_seq=card.last_seq, previous=card.previous, last_digest=card.last_digest,
        )  # fmt: skip


def _reason(stage: Stage, why: str) -> str:
    if why == "disk_cap":
        return why
    return "sampling" if stage is Stage.SAMPLED else "retention"


def _nothing(trace_id: str) -> bool:
    """No trace keeps anything."""
    del trace_id
    return False


def _name(kind: int) -> str:
    return FrameKind(kind).name.lower()


def _less(card: Card, places: Mapping[Place, str]) -> dict[str, Amount]:
    """The amounts of a card after some frames were erased."""
    counts: dict[str, int] = {}
    for name in places.values():
        counts[name] = counts.get(name, 0) + 1
    return {
        name: msgspec.structs.replace(each, erased=min(each.frames, each.erased + counts.get(name, 0)))
        for name, each in card.amounts.items()
    }


def _allocated(path: Path) -> int:
    """What a file takes on the disk."""
    return path.stat().st_blocks * 512
