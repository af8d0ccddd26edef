"""Finds everything in the journals that belongs to somebody, and says what has to be erased and what may stay of it.

The journals are read whole, not the index: a frame that was never indexed, or whose row is gone, is found too. Three
readings: which traces and sessions are somebody's; what belongs to them; and, for payloads that are kept once for
several people, who else rests on them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from watchkeeper.engines.recorder.belonging import Circle, redacted, renamed, word
from watchkeeper.engines.recorder.erased import Place
from watchkeeper.engines.recorder.frames import RECORD_KINDS, Corrupt, FrameKind
from watchkeeper.engines.recorder.segments import Frame, read_frames, segments_of, writers_of
from watchkeeper.queries.select import Table
from watchkeeper.queries.tables import SHAPES, TABLE_OF, row_of
from watchkeeper.records.body import Body
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Span

PROOF = frozenset({FrameKind.ERASURE, FrameKind.CHECKPOINT, FrameKind.KEPT})


class Cut(NamedTuple):
    """What taking somebody's items out of an export comes to: the records taken, and the rest (None: nothing left)."""

    taken: tuple[Record, ...]
    rest: bytes | None


Cutter = Callable[[bytes, int, Callable[[Any], bool]], Cut]
"""Takes what belongs out of an export, given when it was received."""


class Rest(NamedTuple):
    """What is left of an export at a place, to be written anew."""

    place: Place
    kind: FrameKind
    payload: bytes


class Plan:
    """What an erasure comes to, before anything is changed."""

    def __init__(self) -> None:
        self.places: set[Place] = set()
        self.spans: dict[tuple[str, str], Span] = {}
        self.replacements: list[Record] = []
        self.rests: list[Rest] = []
        self.rows: dict[Table, set[tuple[str, ...]]] = {}
        self.counts: dict[str, int] = {}
        self.shared = 0
        self.damaged: list[str] = []

    def count(self, what: str) -> None:
        """One more of a kind."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def drop_row(self, record: Record) -> None:
        """The row of a record has to go from the index."""
        shape = SHAPES[TABLE_OF[type(record)]]
        if shape.key:
            row = dict(zip(shape.names(), row_of(record), strict=True))
            self.rows.setdefault(shape.table, set()).add(tuple(str(row[name]) for name in shape.key))


class Finder:
    """Reads the journals of a folder for one person's records."""

    def __init__(self, folder: Path, circle: Circle, cutters: Mapping[FrameKind, Cutter], pseudonym: str) -> None:
        self._folder, self._circle, self._cutters, self._pseudonym = folder, circle, cutters, pseudonym
        user = circle.whose.user
        self._name: re.Pattern[str] | None = word(user) if user is not None else None
        self._name_bytes = (user or "").encode()
        self.plan = Plan()

    def widen(self, told: Callable[[int], None]) -> None:
        """The first reading: whose traces and sessions there are."""
        circle = self._circle
        if circle.whose.trace is not None:
            return
        for _, frame in self._frames(told):
            if circle.mark and circle.mark not in frame.payload:
                continue
            kind = frame.head.kind
            if kind == FrameKind.SPAN:
                circle.widen(unpack(Span, frame.payload))
            elif kind in self._cutters:
                for record in self._cutters[FrameKind(kind)](frame.payload, frame.head.at_ns, _all).taken:
                    if isinstance(record, Span):
                        circle.widen(record)

    def find(self, tags: Collection[bytes], told: Callable[[int], None]) -> Plan:
        """The second and third reading: everything that belongs, given the tags of somebody's own payloads."""
        plan = self.plan
        rests_on: set[Place] = set()
        tagged: set[Place] = set()
        for place, frame in self._frames(told):
            kind = frame.head.kind
            if kind == FrameKind.CHUNK:
                if frame.head.owner in tags:
                    tagged.add(place)
            elif kind in self._cutters:
                self._export(place, frame)
            elif kind in RECORD_KINDS and kind not in PROOF:
                rests_on |= self._record(place, frame)
        plan.replacements.extend(plan.spans.values())
        doubtful = rests_on - tagged
        if doubtful:
            kept = self._others(doubtful, told)
            plan.shared = len(kept)
            doubtful -= kept
        plan.places |= tagged | doubtful
        plan.counts["payloads"] = len(tagged | doubtful)
        return plan

    def _record(self, place: Place, frame: Frame) -> set[Place]:
        """Deal with a record; returns the payloads that it rests on when it belongs."""
        try:
            record = unpack(RECORD_KINDS[FrameKind(frame.head.kind)], frame.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self.plan.damaged.append(f"{place.writer}, segment {place.segment}, byte {place.offset}: unreadable")
            return set()
        if self._circle.holds(record):
            self._take(place, record)
            return set(_places(record))
        if self._name is not None and self._name_bytes in frame.payload:
            other = renamed(record, self._name, self._pseudonym)
            if other is not None:
                self.plan.count("mentions")
                self.plan.places.add(place)
                self.plan.drop_row(record)
                self.plan.replacements.append(other)
        return set()

    def _take(self, place: Place, record: Record) -> None:
        plan = self.plan
        plan.places.add(place)
        plan.count(TABLE_OF[type(record)])
        self._replace(record)

    def _replace(self, record: Record) -> None:
        """Keep what may stay of a record; of a span its last state only."""
        plan = self.plan
        left = redacted(record, self._pseudonym)
        if isinstance(left, Span):
            key = (left.trace_id, left.span_id)
            known = plan.spans.get(key)
            if known is None or left.revision > known.revision:
                plan.spans[key] = left
            return
        plan.drop_row(record)
        if left is not None:
            plan.replacements.append(left)

    def _export(self, place: Place, frame: Frame) -> None:
        kind = FrameKind(frame.head.kind)
        cut = self._cutters[kind](frame.payload, frame.head.at_ns, self._circle.holds)
        if not cut.taken:
            return
        self.plan.places.add(place)
        for record in cut.taken:
            self.plan.count(TABLE_OF[type(record)])
            self._replace(record)
        if cut.rest is not None:
            self.plan.rests.append(Rest(place, kind, cut.rest))

    def _others(self, doubtful: set[Place], told: Callable[[int], None]) -> set[Place]:
        """Which of some payloads somebody else's records rest on too."""
        kept: set[Place] = set()
        for place, frame in self._frames(told):
            kind = frame.head.kind
            if kind not in RECORD_KINDS or kind in PROOF or place in self.plan.places:
                continue
            try:
                record = unpack(RECORD_KINDS[FrameKind(kind)], frame.payload)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue  # told of in the reading before
            kept.update(doubtful.intersection(_places(record)))
        return kept

    def _frames(self, told: Callable[[int], None]) -> Iterator[tuple[Place, Frame]]:
        """Every frame that is there; damage is noted, and reading goes on with the next segment."""
        for writer in writers_of(self._folder):
            numbers = segments_of(self._folder / writer)
            segment = 0
            while numbers:
                try:
                    for frame in read_frames(self._folder / writer, segment):
                        if frame.segment != segment:
                            segment = frame.segment
                            told(1)
                        yield Place(writer, frame.segment, frame.offset), frame
                    break
                except Corrupt as error:
                    words = f"{writer}: {error}"
                    if words not in self.plan.damaged:
                        self.plan.damaged.append(words)
                    later = [number for number in numbers if number > segment]
                    if not later:
                        break
                    segment = later[0]


def _all(record: Any) -> bool:
    del record
    return True


def _places(record: Any) -> Iterator[Place]:
    """The places of the payloads that a record rests on."""
    bodies = [*getattr(record, "bodies", ()), getattr(record, "content", None)]
    for body in bodies:
        if isinstance(body, Body):
            for address in body.chunks:
                yield Place(address.writer, address.segment, address.offset)
