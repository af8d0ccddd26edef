"""Erases somebody from a whole data directory: journals, index, cells and keys; what stays is metadata of nobody."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from watchkeeper.adapters.formats.otlp_cut import cut_logs, cut_traces
from watchkeeper.adapters.formats.sources import sources_in
from watchkeeper.adapters.store.sqlite_tidy import tidy
from watchkeeper.compose.asking import forget_answers
from watchkeeper.compose.importing import priced
from watchkeeper.engines.jobs.forgetting import forget_work
from watchkeeper.engines.recorder.belonging import Aliases, Circle, Whose
from watchkeeper.engines.recorder.erasure import Place, erase, pending, resume
from watchkeeper.engines.recorder.forgetting import forget
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.ingest import Ingester
from watchkeeper.engines.recorder.journal import Journal, derived_tag
from watchkeeper.engines.recorder.removal import Cut, Cutter, Finder, Plan
from watchkeeper.engines.recorder.subjects import Subjects
from watchkeeper.kinds.ports import Cells, Delete, Log, Pricer
from watchkeeper.records.audit import Audit
from watchkeeper.records.erasure import Erasure
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import Record, pack, unpack
from watchkeeper.records.span import Span

SETTLE_S = 0.1
"""How long writers get to end the write in which they may still point to something old."""
NOTES = "erasures"
_OPS_AT_ONCE = 500

Sidecar = Callable[[Sequence[Place]], Awaitable[None]]
"""Takes what lies at some places out of a file of its own, such as a search index."""


class WrongRequest(ValueError):
    """A request to erase that names nothing, or too much; the message says what to write instead."""


class House(Protocol):
    """What an erasure needs of the store process."""

    @property
    def home(self) -> Home:
        """The data directory."""
        ...

    @property
    def log(self) -> Log:
        """The index."""
        ...

    @property
    def cells(self) -> Cells:
        """The ledgers."""
        ...

    @property
    def ingester(self) -> Ingester:
        """What fills the index."""
        ...

    def journal(self) -> Journal:
        """The journal of this process."""
        ...


class Eraser:
    """Erases on request, one request at a time, and ends what an earlier process began."""

    def __init__(
        self,
        house: House,
        pricer: Pricer,
        subjects: Subjects | None = None,
        sidecars: Sequence[Sidecar] = (),
        aliases: Aliases | None = None,
    ) -> None:
        """`aliases` says what stands for a user's name where a token or pseudonym was put in its place."""
        self._house, self._pricer, self._subjects = house, pricer, subjects
        self._sidecars, self._aliases = sidecars, aliases
        self._folder = house.home.journal
        self._notes = house.home.path / NOTES
        self.turn = asyncio.Lock()  # retention takes it too: both erase, and one would not know of the other
        self.done = 0

    async def erase(
        self, whose: Whose, actor: str, dry_run: bool = False, told: Callable[[int], None] | None = None
    ) -> dict[str, Any]:
        """Erase all that belongs to somebody; says what was found and, unless it is a `dry_run`, what was done.

        Raises `WrongRequest`.
        """
        wrong = whose.problem()
        if wrong is not None:
            raise WrongRequest(wrong)
        async with self.turn:
            return await self._erase(whose, actor, dry_run, told or _nobody)

    def unfinished(self) -> int:
        """How many erasures were begun and not ended."""
        return len(pending(self._folder)) + (len(list(self._notes.glob("*.json"))) if self._notes.is_dir() else 0)

    async def resume(self) -> list[str]:
        """End what was begun and not ended; returns the ids of the erasures."""
        async with self.turn:
            ended = []
            if pending(self._folder):
                ended = [e.erasure_id for e in await asyncio.to_thread(resume, self._house.journal(), self._folder)]
            for note in sorted(self._notes.glob("*.json")) if self._notes.is_dir() else ():
                begun = unpack(_Note, note.read_bytes())
                done = await self._erase(begun.whose, begun.actor, False, _nobody, begun)
                ended.append(str(done["erasure_id"]))
                note.unlink()
            return ended

    async def _erase(
        self, whose: Whose, actor: str, dry_run: bool, told: Callable[[int], None], begun: _Note | None = None
    ) -> dict[str, Any]:
        house, folder = self._house, self._folder
        await house.ingester.drain()
        pseudonym = f"erased-{os.urandom(6).hex()}"
        circle = Circle(whose, self._aliases)
        circle.owners.update(begun.owners if begun else ())
        finder = Finder(folder, circle, self._cutters(), pseudonym)
        await asyncio.to_thread(finder.widen, told)
        keys = {*self._keys(circle), *(bytes.fromhex(tag) for tag in (begun.keys if begun else ()))}
        note = None
        if not dry_run:
            note = self._note(_Note(whose=whose, actor=actor, owners=tuple(circle.owners), keys=_hex(keys)))
            await self._turn_over(circle)
        plan = await asyncio.to_thread(finder.find, self._tags(circle) | keys, told)
        cells, kept_cells = await self._cells_of(circle)
        found = _told(plan) | {"cells": len(cells), "cells_kept": kept_cells}
        if note is None:
            return {"dry_run": True, "scope": whose.scope, "found": found, "damaged": plan.damaged}
        erasure = await self._carry_out(plan, circle, actor, pseudonym, cells, _hex(keys))
        answers = await asyncio.to_thread(forget_answers, house.home.path)
        note.unlink()
        return {
            "dry_run": False,
            "scope": whose.scope,
            "erasure_id": erasure.erasure_id if erasure.frames or erasure.keys else None,
            "pseudonym": pseudonym,
            "frames": erasure.frames,
            "payload_bytes": erasure.payload_bytes,
            "found": found,
            "eval_answers": answers,
            "damaged": plan.damaged,
        }

    async def _carry_out(
        self, plan: Plan, circle: Circle, actor: str, pseudonym: str, cells: Sequence[str], keys: Sequence[str]
    ) -> Erasure:
        house, folder = self._house, self._folder
        journal = house.journal()
        for table, gone in plan.rows.items():
            await house.log.remove(table, keys=sorted(gone))
        moved = await asyncio.to_thread(_write_anew, journal, plan, self._pricer)
        erasure = await asyncio.to_thread(
            lambda: erase(
                journal, folder, plan.places, reason="subject", actor=actor, subject=pseudonym,
                detail=circle.whose.scope, moved=moved, keys=keys,
            )
        )  # fmt: skip
        # After the record: a key that is gone and no erasure that says so would look like damage.
        for tag in keys:
            assert self._subjects is not None, "keys are of subjects"
            self._subjects.destroy(bytes.fromhex(tag))
        forget(folder)
        for start in range(0, len(cells), _OPS_AT_ONCE):
            await house.cells.apply([Delete(key=key) for key in cells[start : start + _OPS_AT_ONCE]])
        await forget_work(house.cells, circle, pseudonym)
        self.done += 1
        for sidecar in self._sidecars:
            await sidecar(sorted(plan.places))
        act = Audit(
            audit_id=new_id("aud"), at_ns=time.time_ns(), act="subject.erased", actor=actor, subject=pseudonym,
            detail=f"{erasure.erasure_id}: {erasure.frames} frames by {circle.whose.scope}",
        )  # fmt: skip
        if erasure.frames or cells or erasure.keys:
            journal.append(act)
        await house.ingester.drain()
        await house.log.compact()
        if cells:
            await asyncio.to_thread(tidy, house.home.cells)
        return erasure

    def _cutters(self) -> Mapping[FrameKind, Cutter]:
        def traces(payload: bytes, received_ns: int, belongs: Callable[[Any], bool]) -> Cut:
            cut = cut_traces(payload, received_ns, belongs)
            spans = [each for each in cut.taken if isinstance(each, Span)]
            return Cut((*cut.taken, *(sources_in(payload, spans) if spans else ())), cut.rest)

        def logs(payload: bytes, received_ns: int, belongs: Callable[[Any], bool]) -> Cut:
            return Cut(*cut_logs(payload, received_ns, belongs))

        return {FrameKind.OTLP: traces, FrameKind.OTLP_LOGS: logs}

    def _tags(self, circle: Circle) -> set[bytes]:
        """The tags of payloads that were written before subjects had keys."""
        key = self._house.home.secret("chunks")
        return {derived_tag(owner, key) for owner in circle.owners}

    def _keys(self, circle: Circle) -> set[bytes]:
        """The tags of the keys that go."""
        if self._subjects is None or circle.whose.user is None:
            return set()
        found = (self._subjects.find(owner) for owner in circle.owners)
        return {subject.tag for subject in found if subject is not None}

    async def _turn_over(self, circle: Circle) -> None:
        """Let what is written from now on have other keys and rest on nothing old, and index what came before."""
        if self._subjects is not None and circle.whose.user is not None:
            for owner in circle.owners:
                self._subjects.retire(owner)
        forget(self._folder)
        await asyncio.sleep(SETTLE_S)
        await self._house.ingester.drain()

    async def _cells_of(self, circle: Circle) -> tuple[list[str], int]:
        """The cells that carry somebody's name in their key, and how many others mention it in what they hold."""
        names = {circle.whose.key, *circle.names} - {None} | circle.sessions | circle.traces
        user = (circle.whose.user or "").encode()
        mine: list[str] = []
        kept = 0
        cursor: str | None = None
        while True:
            page = await self._house.cells.scan("", cursor)
            for key, value in page.items:
                parts = {unquote(part).lstrip("=") for part in key.split("/")}
                if parts & names and not key.startswith("key"):
                    mine.append(key)
                elif user and isinstance(value, bytes) and user in value:
                    kept += 1
            cursor = page.cursor
            if cursor is None:
                return mine, kept

    def _note(self, begun: _Note) -> Path:
        """What is being erased, until it is: so that a crash on the way is mended by doing it again."""
        self._notes.mkdir(exist_ok=True, mode=0o700)
        path = self._notes / f"{new_id('req')}.json"
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(pack(begun))
            out.flush()
            os.fsync(out.fileno())
        return path


class _Note(Record):
    """An erasure under way: whose, by whom, and under which owners' keys (their tags) the payloads lie."""

    whose: Whose
    actor: str
    owners: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


def _hex(tags: Iterable[bytes]) -> tuple[str, ...]:
    return tuple(sorted(tag.hex() for tag in tags))


def _write_anew(journal: Journal, plan: Plan, pricer: Pricer) -> dict[Place, Place]:
    """Append what may stay; returns where the rest of each export went."""
    moved: dict[Place, Place] = {}
    for rest in plan.rests:
        origin = journal.append_raw(rest.kind, rest.payload)
        moved[rest.place] = Place(origin.writer, origin.segment, origin.offset)
    for record in plan.replacements:
        journal.append(priced(record, pricer) if isinstance(record, Span) else record)
    journal.sync()
    return moved


def _told(plan: Plan) -> dict[str, int]:
    return {**plan.counts, "frames": len(plan.places), "exports_rewritten": len(plan.rests), "shared_kept": plan.shared}


def _nobody(done: int) -> None:
    del done
