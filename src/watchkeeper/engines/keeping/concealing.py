"""Puts pseudonyms in place of the names in one segment of the journal, by the same steps as thinning.

What stays is written anew, the old frame is erased with a pointer to it, and the index gets the new row for the old.
Records are taken by their own age: telemetry that was written anew when its bodies went lies among newer records. What
is old enough for this is old enough for its bodies to go, and loses those it still has: they are the exact bytes that
passed, may hold names, and cannot be written anew. Done again, it finds nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from watchkeeper.engines.keeping.cards import RECEIVED, Card, Cards, frames_of
from watchkeeper.engines.keeping.pseudonyms import Pseudonyms, Sub
from watchkeeper.engines.keeping.rules import DAY_NS, Rules
from watchkeeper.engines.keeping.thinning import ACTOR, KEYS_AT_ONCE, PROOF_KINDS, REMOVED, Thinned
from watchkeeper.engines.recorder.erased import is_erased
from watchkeeper.engines.recorder.erasure import Place, erase
from watchkeeper.engines.recorder.frames import HEAD, RECORD_KINDS, SALT_BYTES, FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.packed import open_segment, pack_segment
from watchkeeper.engines.recorder.segments import Frame, segment_path
from watchkeeper.kinds.ports import Log
from watchkeeper.queries.filters import columns
from watchkeeper.queries.select import Among, Known, Select, Table
from watchkeeper.queries.tables import SHAPES, TABLE_OF, row_of
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.kept import Kept
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.source import Source
from watchkeeper.records.span import Span

WHY = "identities"
Key = tuple[str, ...]


class Exports(Protocol):
    """Reads and renames one kind of telemetry export."""

    def records(self, payload: bytes, came_ns: int) -> Iterable[Record]:
        """What the index has of an export."""
        ...

    def owner(self, payload: bytes) -> str:
        """Whose it is, as the journal names owners."""
        ...

    def strip(self, payload: bytes, came_ns: int, level: str, keeps: Callable[[str], bool]) -> bytes | None:
        """The export less what was said; None when nothing changes."""
        ...

    def received_ns(self, payload: bytes) -> int | None:
        """When it came in, where it says so."""
        ...

    def rename(self, payload: bytes, came_ns: int, fields: Collection[str], of: Sub, sub: Sub) -> bytes:
        """The export with attributes that name somebody put through `of`, and other texts through `sub`."""
        ...


class _Change(NamedTuple):
    """One frame that is written anew: as what, and the records that it was."""

    kind: FrameKind
    came_ns: int
    was: tuple[Record, ...]
    record: Record | None
    payload: bytes


class Concealer:
    """Replaces names in segments, one at a time; files are read and written off the event loop."""

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        cards: Cards,
        log: Log,
        rules: Rules,
        exports: Mapping[FrameKind, Exports],
        pseudonyms: Pseudonyms,
    ) -> None:
        """`journal` is where what stays is written; `folder` holds all journals."""
        self._journal, self._folder, self._cards, self._index = journal, folder, cards, log
        self._rules, self._exports, self._pseudonyms = rules, exports, pseudonyms

    async def conceal(self, card: Card, now_ns: int) -> Thinned:
        """Replace the names in a sealed segment; raises `Corrupt` for a damaged one, which is then as it was."""
        known = await self._known()
        all_of_it = await asyncio.to_thread(self._look, card, known)
        until_ns = now_ns - (self._rules.identities_ns or 0)
        changes = {place: each for place, each in all_of_it.items() if each.came_ns <= until_ns}
        later_ns = min((each.came_ns for place, each in all_of_it.items() if place not in changes), default=FAR_NS)
        await self._unindex(card, changes.values())
        return await asyncio.to_thread(self._carry_out, card, changes, later_ns, now_ns)

    async def _known(self) -> set[str]:
        """The pseudonyms of all names that the index knows."""
        found: set[str] = set()
        for field in self._pseudonyms.fields:
            plan = Select(
                table="spans", since_ns=0, until_ns=FAR_NS, columns=columns(field), where=Known(column=field),
                group=(field,),
            )  # fmt: skip
            found.update(str(row[0]) for row in (await self._index.select(plan)).rows)
        return {self._pseudonyms.of(name) for name in found}

    def _look(self, card: Card, known: Collection[str]) -> dict[Place, _Change]:
        changes: dict[Place, _Change] = {}
        newest: dict[Key, tuple[int, Place]] = {}
        for frame in frames_of(self._folder / card.writer, card.segment):
            kind = frame.head.kind
            if frame.erased or kind in PROOF_KINDS:
                continue
            place = Place(card.writer, card.segment, frame.offset)
            if kind in self._exports:
                change = self._export(frame)
            elif kind in RECORD_KINDS:
                change = self._record(frame, known)
            else:
                continue
            if change is None:
                continue
            changes[place] = change
            for each in change.was if change.kind is FrameKind.SPAN else ():
                key, had = _key(each), newest.get(_key(each))
                revision = each.revision if isinstance(each, Span) else 0
                if had is not None:  # of a span only its last state here is written again
                    older = place if revision < had[0] else had[1]
                    changes[older] = changes[older]._replace(record=None)
                if had is None or revision >= had[0]:
                    newest[key] = (revision, place)
        return changes

    def _record(self, frame: Frame, known: Collection[str]) -> _Change | None:
        kind, came_ns = FrameKind(frame.head.kind), frame.head.at_ns
        record = unpack(RECORD_KINDS[kind], frame.payload)
        new = self._pseudonyms.record(record, known)
        if new is None:
            return None
        if isinstance(new, Span):
            said = new.attributes.get(RECEIVED)
            came_ns = said if isinstance(said, int) and said > 0 else came_ns
            gone = {REMOVED: "bodies"} if new.bodies and REMOVED not in new.attributes else {}
            new = msgspec.structs.replace(new, bodies=(), attributes=new.attributes | {RECEIVED: came_ns} | gone)
        elif isinstance(new, Source):
            new = msgspec.structs.replace(new, content=None)  # gone with the bodies
        return _Change(kind, came_ns, (record,), new, b"")

    def _export(self, frame: Frame) -> _Change | None:
        kind, came_ns = FrameKind(frame.head.kind), frame.head.at_ns
        records = tuple(self._exports[kind].records(frame.payload, came_ns))
        names: dict[str, str] = {}
        for each in records:
            names |= self._pseudonyms.names(each)
        if not names:
            return None
        mine = self._pseudonyms
        quiet = self._exports[kind].strip(frame.payload, came_ns, "bodies", _nothing) or frame.payload
        renamed = self._exports[kind].rename(quiet, came_ns, mine.fields, mine.of, mine.sub(names))
        came_ns = self._exports[kind].received_ns(frame.payload) or came_ns
        return _Change(kind, came_ns, records, None, renamed)

    async def _unindex(self, card: Card, changes: Iterable[_Change]) -> None:
        """Take the rows out that say what these frames said; a row that a newer record stands behind stays."""
        spans: dict[Key, None] = {}
        others: dict[Table, dict[Key, Record | None]] = {}
        for change in changes:
            for record in change.was:
                if isinstance(record, Span):
                    spans[_key(record)] = None
                elif SHAPES[TABLE_OF[type(record)]].key:
                    only = record if change.record is not None else None
                    others.setdefault(TABLE_OF[type(record)], {})[_key(record)] = only
        await self._unindex_spans(card, list(spans))
        for table, records in others.items():
            keys = [key for key, record in records.items() if record is None]
            keys += await self._same(table, {key: record for key, record in records.items() if record is not None})
            if keys:
                await self._index.remove(table, keys=keys)

    async def _unindex_spans(self, card: Card, keys: list[Key]) -> None:
        for at in range(0, len(keys), KEYS_AT_ONCE):
            wanted = set(keys[at : at + KEYS_AT_ONCE])
            plan = Select(
                table="spans", since_ns=0, until_ns=FAR_NS,
                columns=columns("trace_id", "span_id", "origin_writer", "origin_segment", "origin_offset"),
                where=Among(column="trace_id", values=tuple(sorted({key[0] for key in wanted}))),
            )  # fmt: skip
            rows = [tuple(str(each) for each in row) for row in (await self._index.select(plan)).rows]
            mine = [
                (trace, span)
                for trace, span, writer, segment, offset in rows
                if (trace, span) in wanted and self._rests_here(card, Place(writer, int(segment), int(offset)))
            ]
            if mine:
                await self._index.remove("spans", keys=mine)

    def _rests_here(self, card: Card, place: Place) -> bool:
        """Whether a row's frame lies in this segment, or was written anew since."""
        if (place.writer, place.segment) == (card.writer, card.segment):
            return True
        try:
            with open_segment(segment_path(self._folder / place.writer, place.segment)) as file:
                file.seek(place.offset + HEAD.size)
                return is_erased(file.read(SALT_BYTES))
        except FileNotFoundError:
            return True

    async def _same(self, table: Table, records: Mapping[Key, Record]) -> list[Key]:
        """The keys under which the index holds the very records."""
        first, keys, found = SHAPES[table].key[0], list(records), list[Key]()
        for at in range(0, len(keys), KEYS_AT_ONCE):
            some = tuple(key[0] for key in keys[at : at + KEYS_AT_ONCE])
            plan = Select(table=table, since_ns=0, until_ns=FAR_NS, where=Among(column=first, values=some))
            for row in (await self._index.select(plan)).dicts():
                there = unpack(SHAPES[table].record, bytes(row["record"]))  # type: ignore[call-overload]
                if records.get(_key(there)) == there:
                    found.append(_key(there))
        return sorted(set(found) & records.keys())

    def _carry_out(self, card: Card, changes: Mapping[Place, _Change], later_ns: int, now_ns: int) -> Thinned:
        path = segment_path(self._folder / card.writer, card.segment)
        before_bytes = path.stat().st_blocks * 512
        moved: dict[Place, Place] = {}
        for place, change in changes.items():
            if change.record is not None:
                at = self._journal.append(change.record)
            elif change.payload:
                owner = self._exports[change.kind].owner(change.payload)
                at = self._journal.append_raw(change.kind, change.payload, owner)
            else:
                continue
            moved[place] = Place(at.writer, at.segment, at.offset)
        erased = erase(
            self._journal, self._folder, changes, reason="retention", actor=ACTOR, moved=moved,
            detail=f"names replaced by rules {self._rules.version}",
        )  # fmt: skip
        if erased.frames:
            pack_segment(path)
        stage = card.stage
        if changes:
            card = self._cards.read(card.writer, card.segment)
        card = msgspec.structs.replace(card, named_ns=later_ns, loose_bytes=0)
        self._cards.put(card)
        thinned = Thinned(
            writer=card.writer, segment=card.segment, stage=stage, why=WHY, frames=erased.frames,
            rewritten=len(moved), freed_bytes=max(0, before_bytes - path.stat().st_blocks * 512),
            oldest_ns=card.oldest_ns, youngest_ns=card.youngest_ns,
        )  # fmt: skip
        if changes:
            self._journal.append(self._said(card, thinned, now_ns))
        return thinned

    def _said(self, card: Card, thinned: Thinned, now_ns: int) -> Kept:
        return Kept(
            kept_id=f"segment:{card.writer}:{card.segment}:{WHY}", at_ns=now_ns, rules=self._rules.version,
            writer=card.writer, segment=card.segment, stage=card.stage, why=WHY, since_ns=card.oldest_ns,
            until_ns=card.youngest_ns, frames=thinned.frames, freed_bytes=thinned.freed_bytes,
            first_seq=card.first_seq, last_seq=card.last_seq, previous=card.previous, last_digest=card.last_digest,
        )  # fmt: skip


def due(card: Card, rules: Rules, now_ns: int) -> bool:
    """Whether names in a sealed segment are due: all of them, or some for a day."""
    if rules.identities_ns is None or not card.alive:
        return False
    until_ns, oldest_ns = now_ns - rules.identities_ns, card.oldest_ns if card.named_ns is None else card.named_ns
    return oldest_ns <= until_ns and (card.youngest_ns <= until_ns or oldest_ns <= until_ns - DAY_NS)


def _nothing(trace_id: str) -> bool:
    del trace_id
    return False


def _key(record: Any) -> Key:
    shape = SHAPES[TABLE_OF[type(record)]]
    row = dict(zip(shape.names(), row_of(record), strict=True))
    return tuple(str(row[name]) for name in shape.key)
