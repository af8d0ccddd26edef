"""Puts pseudonyms in place of the names in one segment of the journal, by the same steps as thinning.

What stays is written anew, the old frame is erased with a pointer to it, and the index gets the new row for the old.
Only a segment whose bodies have gone is worked on: bodies are the exact bytes that passed and cannot be written anew.
Done again, it finds nothing to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from watchkeeper.engines.keeping.cards import RECEIVED, Card, Cards, frames_of
from watchkeeper.engines.keeping.pseudonyms import Pseudonyms, Sub
from watchkeeper.engines.keeping.rules import Rules, before
from watchkeeper.engines.keeping.thinning import ACTOR, KEYS_AT_ONCE, PROOF_KINDS, REMOVED, Thinned
from watchkeeper.engines.recorder.erasure import Place, erase
from watchkeeper.engines.recorder.frames import RECORD_KINDS, FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.packed import pack_segment
from watchkeeper.engines.recorder.segments import Frame, segment_path
from watchkeeper.kinds.ports import Log
from watchkeeper.queries.filters import columns
from watchkeeper.queries.select import Among, Known, Select, Table
from watchkeeper.queries.tables import SHAPES, TABLE_OF, row_of
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.kept import Kept, Stage
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

    def rename(self, payload: bytes, came_ns: int, fields: Collection[str], of: Sub, sub: Sub) -> bytes:
        """The export with attributes that name somebody put through `of`, and other texts through `sub`."""
        ...


class _Change(NamedTuple):
    """One frame that is written anew: as what, and the records that it was."""

    kind: FrameKind
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
        changes = await asyncio.to_thread(self._look, card, known)
        await self._unindex(card, changes.values())
        return await asyncio.to_thread(self._carry_out, card, changes, now_ns)

    async def _known(self) -> set[str]:
        """The pseudonyms that the index knows."""
        found: set[str] = set()
        for field in self._pseudonyms.fields:
            plan = Select(
                table="spans", since_ns=0, until_ns=FAR_NS, columns=columns(field), where=Known(column=field),
                group=(field,),
            )  # fmt: skip
            found.update(str(row[0]) for row in (await self._index.select(plan)).rows)
        return {name for name in found if self._pseudonyms.of(name) == name}

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
        kind = FrameKind(frame.head.kind)
        record = unpack(RECORD_KINDS[kind], frame.payload)
        new = self._pseudonyms.record(record, known)
        if new is None:
            return None
        if isinstance(new, Span):
            came_ns = new.attributes.get(RECEIVED) or frame.head.at_ns
            gone = {REMOVED: "bodies"} if new.bodies and REMOVED not in new.attributes else {}
            new = msgspec.structs.replace(new, bodies=(), attributes=new.attributes | {RECEIVED: came_ns} | gone)
        elif isinstance(new, Source):
            new = msgspec.structs.replace(new, content=None)  # gone with the bodies
        return _Change(kind, (record,), new, b"")

    def _export(self, frame: Frame) -> _Change | None:
        kind, came_ns = FrameKind(frame.head.kind), frame.head.at_ns
        records = tuple(self._exports[kind].records(frame.payload, came_ns))
        names: dict[str, str] = {}
        for each in records:
            names |= self._pseudonyms.names(each)
        if not names:
            return None
        mine = self._pseudonyms
        renamed = self._exports[kind].rename(frame.payload, came_ns, mine.fields, mine.of, mine.sub(names))
        return _Change(kind, records, None, renamed)

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
                columns=columns("trace_id", "span_id", "origin_writer", "origin_segment"),
                where=Among(column="trace_id", values=tuple(sorted({key[0] for key in wanted}))),
            )  # fmt: skip
            mine = [
                (str(trace), str(span))
                for trace, span, writer, segment in (await self._index.select(plan)).rows
                if (trace, span) in wanted and self._rests_here(card, str(writer), int(str(segment)))
            ]
            if mine:
                await self._index.remove("spans", keys=mine)

    def _rests_here(self, card: Card, writer: str, segment: int) -> bool:
        """Whether a row's frame lies in this segment, or lay in one that was worked on before."""
        if (writer, segment) == (card.writer, card.segment):
            return True
        try:
            return self._cards.get(writer, segment).concealed
        except KeyError:
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

    def _carry_out(self, card: Card, changes: Mapping[Place, _Change], now_ns: int) -> Thinned:
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
        card = msgspec.structs.replace(card, concealed=True, loose_bytes=0)
        self._cards.put(card)
        thinned = Thinned(
            writer=card.writer, segment=card.segment, stage=stage, why=WHY, frames=erased.frames,
            rewritten=len(moved), freed_bytes=max(0, before_bytes - path.stat().st_blocks * 512),
            oldest_ns=card.oldest_ns, youngest_ns=card.youngest_ns,
        )  # fmt: skip
        self._journal.append(
            Kept(
                kept_id=f"segment:{card.writer}:{card.segment}:{WHY}", at_ns=now_ns, rules=self._rules.version,
                writer=card.writer, segment=card.segment, stage=stage, why=WHY, since_ns=card.oldest_ns,
                until_ns=card.youngest_ns, frames=erased.frames, freed_bytes=thinned.freed_bytes,
                first_seq=card.first_seq, last_seq=card.last_seq, previous=card.previous,
                last_digest=card.last_digest,
            )
        )  # fmt: skip
        return thinned


def due(card: Card, rules: Rules, now_ns: int) -> bool:
    """Whether names in a sealed segment are due; its bodies must have gone."""
    if rules.identities_ns is None or card.concealed or before(card.stage, Stage.BODIES):
        return False
    return now_ns - card.youngest_ns >= rules.identities_ns


def _key(record: Any) -> Key:
    shape = SHAPES[TABLE_OF[type(record)]]
    row = dict(zip(shape.names(), row_of(record), strict=True))
    return tuple(str(row[name]) for name in shape.key)
