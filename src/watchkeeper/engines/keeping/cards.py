"""A card for each segment: what it holds, how old that is, how far it was thinned, and which older payloads it needs.

Cards are made by reading segments and lie beside the index; without them they are made again. The payloads of other
segments that a segment's spans rest on stand in a file beside its card, as sorted numbers: that is how a chunk of an
old segment is known to be needed by a newer conversation, without a table of all references.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from watchkeeper.engines.recorder.erased import is_erased
from watchkeeper.engines.recorder.frames import (
    HEAD,
    RECORD_KINDS,
    SALT_BYTES,
    SEGMENT_HEAD,
    Corrupt,
    Erased,
    FrameKind,
    Torn,
    read_head,
    read_payload,
    read_segment_head,
)
from watchkeeper.engines.recorder.packed import open_segment, segment_bytes, segment_size
from watchkeeper.engines.recorder.sealing import NoKey
from watchkeeper.engines.recorder.segments import Frame, segment_path, segments_of, writers_of
from watchkeeper.records.body import Address, Body
from watchkeeper.records.kept import Stage
from watchkeeper.records.record import Record, pack, unpack

RECEIVED = "watchkeeper.received_ns"
"""The attribute under which a record that was written anew says when it first came in."""
_OFFSET_BITS = 40
_OPEN_REFERENCES = 256

Times = Callable[[bytes], int | None]
"""When the export in a payload came in, where it says so."""


class Amount(Record, array_like=True, omit_defaults=False):
    """Frames of one kind: how many, their stored bytes, and how many are erased."""

    frames: int = 0
    stored_bytes: int = 0
    erased: int = 0


class Card(Record):
    """One segment. Times are when its records came in; `needs` maps a writer to its oldest segment that is needed.

    `loose_bytes` is what was erased and still lies in the file, as far as it is known;
    `named_ns` is when the oldest record came in whose names were not looked at for pseudonyms; None is `oldest_ns`.
    """

    writer: str
    segment: int
    size: int
    frames: int
    first_seq: int
    last_seq: int
    previous: str
    last_digest: str
    oldest_ns: int
    youngest_ns: int
    amounts: dict[str, Amount] = {}
    needs: dict[str, int] = {}
    stage: str = Stage.WHOLE
    loose_bytes: int = 0
    named_ns: int | None = None

    @property
    def erased(self) -> int:
        """How many frames are erased."""
        return sum(each.erased for each in self.amounts.values())

    @property
    def alive(self) -> int:
        """How many frames are not."""
        return self.frames - self.erased


class Target(NamedTuple):
    """A payload's place."""

    writer: str
    segment: int
    offset: int


class _Slim(msgspec.Struct):
    """What retention reads of a span or of another record that rests on payloads."""

    trace_id: str | None = None
    span_id: str | None = None
    start_ns: int = 0
    revision: int = 0
    bodies: tuple[Body, ...] = ()
    content: Body | None = None
    attributes: dict[str, str | int | float | bool | None] = {}

    def addresses(self) -> Iterator[Address]:
        """The chunks of all its payloads."""
        for body in self.bodies:
            yield from body.chunks
        if self.content is not None:
            yield from self.content.chunks


_slim = msgspec.msgpack.Decoder(_Slim)
RESTING = tuple(kind for kind, record in RECORD_KINDS.items() if {"bodies", "content"} & set(record.__struct_fields__))
"""The kinds of records that rest on payloads."""


def slim(frame: Frame) -> _Slim:
    """What retention reads of a record's frame; raises `msgspec.MsgspecError` when it is not one."""
    return _slim.decode(frame.payload)


def frames_of(folder: Path, segment: int) -> Iterator[Frame]:
    """The frames of one segment up to the last whole one; chunks come without their payload: it is not needed."""
    try:
        data = segment_bytes(segment_path(folder, segment))
    except FileNotFoundError:
        return
    offset = SEGMENT_HEAD.size
    while offset < len(data):
        payload, gone = b"", False
        try:
            head = read_head(data, offset)
            if offset + head.size > len(data):
                return
        except Torn:
            return
        except Corrupt as error:
            raise Corrupt(f"segment {segment} at byte {offset}: {error}") from error
        try:
            gone = is_erased(data[offset + HEAD.size : offset + HEAD.size + SALT_BYTES])
            if not gone and head.kind != FrameKind.CHUNK:
                payload = read_payload(data, head, offset, check=False)
        except (Erased, NoKey):
            gone = True
        except Corrupt as error:
            raise Corrupt(f"segment {segment} at byte {offset}: {error}") from error
        yield Frame(segment, offset, offset + head.size, head, payload, gone)
        offset += head.size


class References:
    """The payloads of other segments that one segment needs, by writer."""

    def __init__(self, numbers: Mapping[str, array[int]]) -> None:
        self._numbers = dict(numbers)

    @classmethod
    def of(cls, targets: Iterable[Target]) -> References:
        """From places, in any order."""
        by_writer: dict[str, set[int]] = {}
        for writer, segment, offset in targets:
            by_writer.setdefault(writer, set()).add(segment << _OFFSET_BITS | offset)
        return cls({writer: array("Q", sorted(numbers)) for writer, numbers in by_writer.items()})

    def into(self, writer: str, segment: int) -> Iterator[int]:
        """The offsets that are needed in one segment."""
        numbers = self._numbers.get(writer)
        if numbers is None:
            return
        at = bisect_left(numbers, segment << _OFFSET_BITS)
        while at < len(numbers) and numbers[at] >> _OFFSET_BITS == segment:
            yield numbers[at] & ((1 << _OFFSET_BITS) - 1)
            at += 1

    def __iter__(self) -> Iterator[Target]:
        for writer, numbers in self._numbers.items():
            for number in numbers:
                yield Target(writer, number >> _OFFSET_BITS, number & ((1 << _OFFSET_BITS) - 1))

    def oldest(self) -> dict[str, int]:
        """The oldest segment of each writer that is needed."""
        return {writer: numbers[0] >> _OFFSET_BITS for writer, numbers in self._numbers.items() if numbers}

    def dump(self) -> bytes:
        """As bytes, for a file."""
        return pack({writer: numbers.tobytes() for writer, numbers in self._numbers.items()})

    @classmethod
    def load(cls, data: bytes) -> References:
        """What `dump` wrote."""
        numbers = {}
        for writer, raw in msgspec.msgpack.decode(data, type=dict[str, bytes]).items():
            numbers[writer] = array("Q")
            numbers[writer].frombytes(raw)
        return cls(numbers)


class Cards:
    """The cards of all segments of a journal folder, kept in a folder of their own."""

    def __init__(self, journal: Path, folder: Path, times: Times) -> None:
        self._journal, self._folder, self._times = journal, folder, times
        self._cards: dict[tuple[str, int], Card] = {}
        self._references: OrderedDict[tuple[str, int], References] = OrderedDict()
        self._newest: dict[str, int] = {}
        self.damaged: dict[str, str] = {}
        self._load()

    def refresh(self, open_too: bool = False, told: Callable[[int, int], None] | None = None) -> None:
        """Read the segments that are new or grew, and forget those that are gone; `told` gets how many of how many.

        Segments that are still written are read with `open_too` only. Writers with a damaged segment are named in
        `damaged`: what that segment needs is not known.
        """
        there = {(w, n): None for w in writers_of(self._journal) for n in segments_of(self._journal / w)}
        for gone in self._cards.keys() - there.keys():
            self.drop(*gone)
        self._newest = newest = dict(there.keys())
        stale = [
            place
            for place in there
            if (open_too or place[1] != newest[place[0]]) and (place not in self._cards or self._grew(*place))
        ]
        self.damaged = {}
        for number, (writer, segment) in enumerate(stale):
            if told is not None:
                told(number, len(stale))
            try:
                self.read(writer, segment)
            except Corrupt as error:
                self.damaged[writer] = str(error)

    def all(self) -> list[Card]:
        """All cards by writer and segment."""
        return [self._cards[place] for place in sorted(self._cards)]

    def get(self, writer: str, segment: int) -> Card:
        """One card; raises `KeyError` when there is none."""
        return self._cards[(writer, segment)]

    def sealed(self) -> list[Card]:
        """The cards of segments that are not written any more, by the age of what they hold."""
        newest = self._newest
        done = [card for card in self._cards.values() if card.segment < newest.get(card.writer, 0) and card.frames]
        return sorted(done, key=lambda card: (card.youngest_ns, card.writer, card.segment))

    def needed(self, writer: str, segment: int, besides: tuple[str, int] | None = None) -> set[int]:
        """The offsets of a segment's payloads that other segments need."""
        found: set[int] = set()
        for place, card in self._cards.items():
            oldest = card.needs.get(writer)
            if place not in ((writer, segment), besides) and oldest is not None and oldest <= segment:
                found.update(self.references(*place).into(writer, segment))
        return found

    def references(self, writer: str, segment: int) -> References:
        """What one segment needs of others, and, once it was thinned, of itself."""
        place = (writer, segment)
        known = self._references.get(place)
        if known is None:
            try:
                known = References.load(self._path(writer, segment, ".needs").read_bytes())
            except FileNotFoundError:
                known = References({})
            self._references[place] = known
            while len(self._references) > _OPEN_REFERENCES:
                self._references.popitem(last=False)
        return known

    def read(self, writer: str, segment: int) -> Card:
        """Read a segment and make its card anew, in the stage in which it was."""
        before = self._cards.get((writer, segment))
        stage = Stage.WHOLE if before is None else Stage(before.stage)
        named_ns = None if before is None else before.named_ns
        card, references = _read(self._journal / writer, writer, segment, self._times)
        card = msgspec.structs.replace(card, stage=stage, named_ns=named_ns)
        self.put(card, references)
        return card

    def put(self, card: Card, references: References | None = None) -> None:
        """Remember a card, and what its segment needs when that changed."""
        place = (card.writer, card.segment)
        if references is not None:
            card = msgspec.structs.replace(card, needs=references.oldest())
            self._references.pop(place, None)
            _replace(self._path(*place, ".needs"), references.dump())
        self._cards[place] = card
        _replace(self._path(*place, ".card"), pack(card))

    def _grew(self, writer: str, segment: int) -> bool:
        """Whether a segment has more than its card says."""
        card = self._cards[(writer, segment)]
        if card.stage != Stage.WHOLE:
            return False
        try:
            return segment_size(segment_path(self._journal / writer, segment)) > card.size
        except FileNotFoundError:
            return False

    def drop(self, writer: str, segment: int) -> None:
        """Forget a segment that was taken away."""
        self._cards.pop((writer, segment), None)
        self._references.pop((writer, segment), None)
        for suffix in (".card", ".needs"):
            self._path(writer, segment, suffix).unlink(missing_ok=True)

    def _load(self) -> None:
        for path in self._folder.glob("*/*.card"):
            try:
                card = unpack(Card, path.read_bytes())
            except (msgspec.MsgspecError, OSError):
                path.unlink(missing_ok=True)  # half a card is made again from its segment
                continue
            self._cards[(card.writer, card.segment)] = card

    def _path(self, writer: str, segment: int, suffix: str) -> Path:
        return self._folder / writer / f"{segment:08d}{suffix}"


def _read(folder: Path, writer: str, segment: int, times: Times) -> tuple[Card, References]:
    """The card of a segment and what its records need of others."""
    with open_segment(segment_path(folder, segment)) as file:
        head = read_segment_head(file.read(512))
    amounts: dict[str, list[int]] = {}
    needs: set[Target] = set()
    oldest_ns, youngest_ns = 1 << 62, 0
    last, end, frames = head.previous, 0, 0
    first_seq = last_seq = head.first_seq
    for frame in frames_of(folder, segment):
        frames, last, last_seq, end = frames + 1, frame.head.digest, frame.head.seq, frame.next_offset
        amount = amounts.setdefault(_kind(frame), [0, 0, 0])
        amount[0] += 1
        amount[1] += frame.head.stored_bytes
        if frame.erased:
            amount[2] += 1
            continue
        came_ns = frame.head.at_ns
        if frame.head.kind in RESTING:
            record = slim(frame)
            came_ns = _came(record) or came_ns
            for address in record.addresses():
                if (address.segment, address.writer) != (segment, writer):
                    needs.add(Target(address.writer, address.segment, address.offset))
        elif frame.head.kind == FrameKind.OTLP:
            came_ns = times(frame.payload) or came_ns
        oldest_ns, youngest_ns = min(oldest_ns, came_ns), max(youngest_ns, came_ns)
    return Card(
        writer=writer, segment=segment, size=end, frames=frames, first_seq=first_seq, last_seq=last_seq,
        previous=head.previous.hex(), last_digest=last.hex(), oldest_ns=min(oldest_ns, youngest_ns),
        youngest_ns=youngest_ns, amounts={name: Amount(*each) for name, each in amounts.items()},
    ), References.of(needs)  # fmt: skip


def _kind(frame: Frame) -> str:
    try:
        return FrameKind(frame.head.kind).name.lower()
    except ValueError:
        return f"kind {frame.head.kind}"


def _came(record: _Slim) -> int | None:
    said = record.attributes.get(RECEIVED)
    return said if isinstance(said, int) and not isinstance(said, bool) else None


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(path.suffix + ".new")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        out.write(data)
    draft.replace(path)
