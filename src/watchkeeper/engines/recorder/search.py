"""Finds text in what was recorded: in bodies, records of spans and exports, newest first, and says what it covered.

Method. Segments are taken newest first. A segment whose newest frame is older than the time range cannot hold a span of
it, but may hold a chunk that such a span refers to, so it is looked at too, for chunks only. In a sealed segment the
blocks that cannot hold the text are left out (`Grams`). What is left is read, and every match is verified in the
payload. A chunk that matches leads to its spans through its digest, which stands in their records; exports and records
of spans are matched as they are and then read, to learn which of their spans it was.

A search ends with its time, or with the hits that were asked for, and says at which frame, so that another one can go
on there. Within one call the hits are the newest; over several, newer ones can come later (an old chunk that a recent
span refers to).

Limits. Text that begins in one chunk and ends in the next is not found; chunks end where a message ends. Fields of
spans that the filters do not name are not looked at here: ask the index.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from pathlib import Path
from typing import NamedTuple

from watchkeeper.analysis.typed import Needle, excerpt, needle_of
from watchkeeper.engines.recorder.frames import RECORD_KINDS, SEGMENT_HEAD, Corrupt, FrameKind, read_segment_head
from watchkeeper.engines.recorder.grams import TEXT_KINDS, Block, Grams, digests_in
from watchkeeper.engines.recorder.packed import open_segment
from watchkeeper.engines.recorder.segments import Frame, read_frames, segment_path, segments_of, writers_of
from watchkeeper.records.record import Record, as_json, unpack
from watchkeeper.records.span import Origin, Span

LATE_NS = 3600 * 1_000_000_000
"""How much later than its end a span may have been written."""

MOST_CHUNKS = 2_000
FEW = 8
_COUNTED = ("segments", "searched_bytes", "spared_bytes", "unindexed_segments", "erased", "sealed")
_LOOK_EVERY = 32

Told = Callable[[FrameKind, bytes, Origin, int], Iterable[tuple[Span, bytes]]]
"""Reads an export's frame (kind, payload, origin, unix ns): its spans, each with the bytes that are about it."""


class Sought(Record):
    """What is looked for: a text, a time range, fields of the span that must be equal, and where to go on."""

    text: str
    since_ns: int
    until_ns: int
    fields: dict[str, str] = {}
    limit: int = 50
    after: str | None = None


class Hit(Record):
    """One place in one span: which body (or "record"), and the text before, of and after the match."""

    trace_id: str
    span_id: str
    start_ns: int
    name: str
    status: str
    where: str
    before: str
    match: str
    after: str
    model: str | None = None
    service: str | None = None
    session: str | None = None
    user: str | None = None
    revision: int = 0


class Coverage(Record):
    """What a search looked at. `erased` payloads are gone, `sealed` ones lie under a key that is not there.

    `searched_bytes` are plain bytes that were read, `spared_bytes` those of blocks that could not hold the text.
    """

    segments: int = 0
    segments_in_range: int = 0
    searched_bytes: int = 0
    spared_bytes: int = 0
    unindexed_segments: int = 0
    erased: int = 0
    sealed: int = 0
    damaged: tuple[str, ...] = ()
    stopped: str = ""
    remaining_segments: int = 0


class Found(Record):
    """The answer: hits, newest first, what was covered, and where to go on (None: it was all)."""

    hits: tuple[Hit, ...]
    coverage: Coverage
    after: str | None = None


class Part(NamedTuple):
    """One segment: when it began and ended to be written, whose it is, and whether it is sealed."""

    began_ns: int
    ended_ns: int
    writer: str
    segment: int
    sealed: bool


class PayloadSearch:
    """Searches the journals of one data directory."""

    def __init__(self, journal: Path, grams: Grams, told: Told) -> None:
        self._journal, self._grams, self._told = journal, grams, told

    def search(self, sought: Sought, deadline_s: float) -> Found:
        """Look until all was looked at, there are enough hits, or the time is over; raises `ValueError` for no text."""
        return _Run(self._journal, self._grams, self._told, sought, time.monotonic() + deadline_s).run()


class _Run:
    def __init__(self, journal: Path, grams: Grams, told: Told, sought: Sought, deadline: float) -> None:
        self.journal, self.grams, self.told, self.sought = journal, grams, told, sought
        self.needle: Needle = needle_of(sought.text)
        self.deadline = deadline
        self.parts = _parts(journal)
        self.hits: dict[tuple[str, str], Hit] = {}
        self.blocks: dict[Part, list[Block] | None] = {}
        self.counts = dict.fromkeys(_COUNTED, 0)
        self.damaged: list[str] = []
        self.out_of_time = False

    def run(self) -> Found:
        begin, offset = self._begin()
        after, stopped, done = None, "", begin
        for number in range(begin, len(self.parts)):
            part = self.parts[number]
            stop = self._search(part, number, offset if number == begin else 0)
            done = number + 1
            if stop is not None:
                after, stopped, done = _mark(part, stop), "deadline", number
                break
            if len(self.hits) >= self.sought.limit and number + 1 < len(self.parts):
                after, stopped = _mark(self.parts[number + 1], 0), "limit"
                break
        found = sorted(self.hits.values(), key=lambda hit: (-hit.start_ns, hit.span_id))
        in_range = sum(part.ended_ns >= self.sought.since_ns for part in self.parts)
        coverage = Coverage(
            **self.counts,
            segments_in_range=in_range,
            damaged=tuple(self.damaged),
            stopped=stopped,
            remaining_segments=len(self.parts) - done,
        )
        return Found(hits=tuple(found[: self.sought.limit]), coverage=coverage, after=after)

    def _begin(self) -> tuple[int, int]:
        """The first segment to look at, and the offset within it."""
        if self.sought.after is None:
            return 0, 0
        ended, writer, segment, offset = _read_mark(self.sought.after)
        for number, part in enumerate(self.parts):
            if (part.writer, part.segment) == (writer, segment):
                return number, offset
            if part.ended_ns < ended:
                return number, 0
        return len(self.parts), 0

    def _search(self, part: Part, number: int, offset: int) -> int | None:
        """Look through one segment; returns the offset at which time ran out, else None."""
        recent = part.ended_ns + LATE_NS >= self.sought.since_ns
        self.counts["segments"] += offset == 0
        chunks: dict[str, tuple[str, str, str]] = {}
        stop = None
        try:
            for frame in self._candidates(part, offset):
                if self._late(frame):
                    stop = frame.offset
                    break
                self._match(part, frame, chunks, recent)
        except (Corrupt, OSError) as error:
            self.damaged.append(f"{part.writer}, {error}")
        if chunks:
            self._spans_of(chunks, self.parts[: number + 1])
        return stop

    def _late(self, frame: Frame) -> bool:
        if not self.out_of_time and frame.head.seq % _LOOK_EVERY == 0:
            self.out_of_time = time.monotonic() > self.deadline
        return self.out_of_time

    def _candidates(self, part: Part, offset: int) -> Iterator[Frame]:
        """The frames of a segment that may hold the text."""
        blocks = self._blocks(part)
        if blocks is None:
            self.counts["unindexed_segments"] += part.sealed and offset == 0
            yield from self._frames(part, offset, None)
            return
        for block in blocks:
            if block.end <= offset:
                continue
            if self.grams.may_hold(block, self.needle.text):
                yield from self._frames(part, max(offset, block.begin), block.end)
            else:
                self.counts["spared_bytes"] += block.plain_bytes

    def _blocks(self, part: Part) -> list[Block] | None:
        if part not in self.blocks:
            self.blocks[part] = self.grams.blocks(part.writer, part.segment) if part.sealed else None
        return self.blocks[part]

    def _frames(self, part: Part, begin: int, end: int | None) -> Iterator[Frame]:
        for frame in read_frames(self.journal / part.writer, part.segment, begin, erased=True):
            if frame.segment != part.segment or (end is not None and frame.offset >= end):
                return
            yield frame

    def _match(self, part: Part, frame: Frame, chunks: dict[str, tuple[str, str, str]], recent: bool) -> None:
        kind = frame.head.kind
        if kind not in TEXT_KINDS:
            return
        if frame.erased:
            self.counts["sealed" if frame.head.sealed else "erased"] += 1
            return
        if kind != FrameKind.CHUNK and not recent:
            return
        self.counts["searched_bytes"] += len(frame.payload)
        found = excerpt(frame.payload, self.needle)
        if found is None:
            return
        if kind == FrameKind.CHUNK:
            if len(chunks) < MOST_CHUNKS:
                chunks[frame.head.address.hex()] = found
        elif kind == FrameKind.SPAN:
            span = _span(frame)
            self._note(span, "record", excerpt(as_json(span), self.needle) or found)
        else:
            self._export(part, frame)

    def _export(self, part: Part, frame: Frame) -> None:
        """Find out which spans of an export hold the text; what all of them share is found at the first."""
        origin = Origin(writer=part.writer, segment=part.segment, offset=frame.offset)
        spans = list(self.told(FrameKind(frame.head.kind), frame.payload, origin, frame.head.at_ns))
        matching = [(span, found) for span, text in spans if (found := excerpt(text, self.needle)) is not None]
        shared = excerpt(frame.payload, self.needle)
        for span, found in matching or ([(spans[0][0], shared)] if spans and shared else []):
            self._note(span, "export", found)

    def _spans_of(self, chunks: Mapping[str, tuple[str, str, str]], parts: list[Part]) -> None:
        """Find the spans that refer to some chunks, in the chunks' own segment and in newer ones."""
        digests = {digest.encode() for digest in chunks}
        for part in parts:
            if part.ended_ns + LATE_NS < self.sought.since_ns:
                continue
            blocks = self._blocks(part)
            places = [(0, None)] if blocks is None else [
                (block.begin, block.end) for block in blocks if self.grams.may_refer(block, chunks)
            ]  # fmt: skip
            for begin, end in places:
                for frame in self._frames(part, begin, end):
                    if frame.head.kind == FrameKind.SPAN and _names_one(frame.payload, digests):
                        self._through(_span(frame), chunks)

    def _through(self, span: Span, chunks: Mapping[str, tuple[str, str, str]]) -> None:
        for body in span.bodies:
            for address in body.chunks:
                if address.digest in chunks:
                    self._note(span, body.name, chunks[address.digest])
                    return

    def _note(self, span: Span, where: str, found: tuple[str, str, str]) -> None:
        if not self.sought.since_ns <= span.start_ns < self.sought.until_ns or not fits(span, self.sought.fields):
            return
        key = (span.trace_id, span.span_id)
        held = self.hits.get(key)
        if held is not None and (held.revision, held.where != "record") >= (span.revision, where != "record"):
            return
        before, match, after = found
        self.hits[key] = Hit(
            trace_id=span.trace_id, span_id=span.span_id, start_ns=span.start_ns, name=span.name,
            status=str(span.status), where=where, before=before, match=match, after=after, model=span.model,
            service=span.service, session=span.identity.session, user=span.identity.user, revision=span.revision,
        )  # fmt: skip


FIELDS = ("service", "model", "operation", "status", "session", "user", "run", "agent", "tool", "trace_id")


def fits(span: Span, fields: Mapping[str, str]) -> bool:
    """Whether a span has these values; who it belongs to lies in its identity."""
    return all(
        str(getattr(span if hasattr(span, name) else span.identity, name)) == value for name, value in fields.items()
    )


def _names_one(payload: bytes, digests: Set[bytes]) -> bool:
    if len(digests) <= FEW:
        return any(digest in payload for digest in digests)
    return not digests.isdisjoint(digests_in(payload))


def _span(frame: Frame) -> Span:
    span = unpack(RECORD_KINDS[FrameKind.SPAN], frame.payload)
    assert isinstance(span, Span)
    return span


def _parts(journal: Path) -> list[Part]:
    """All segments, the one that was written to last first. A segment ends where the next one was begun."""
    found = []
    for writer in writers_of(journal):
        ended, newest = time.time_ns(), True
        for segment in reversed(segments_of(journal / writer)):
            try:
                with open_segment(segment_path(journal / writer, segment)) as file:
                    began = read_segment_head(file.read(SEGMENT_HEAD.size)).created_ns
            except (Corrupt, OSError):
                began = ended  # it is looked at, and the damage told there
            found.append(Part(began, ended, writer, segment, not newest))
            ended, newest = began, False
    return sorted(found, key=lambda part: (part.ended_ns, part.writer, part.segment), reverse=True)


def _mark(part: Part, offset: int) -> str:
    return f"{part.ended_ns}:{part.segment}:{offset}:{part.writer}"


def _read_mark(text: str) -> tuple[int, str, int, int]:
    try:
        ended, segment, offset, writer = text.split(":", 3)
        return int(ended), writer, int(segment), int(offset)
    except ValueError:
        raise ValueError(f"{text[:80]!r} is not a place to go on from; take `after` from an answer") from None
