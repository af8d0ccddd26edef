"""Builds the index from the journal: follows every writer's segments and appends what they hold to the Log.

While the index is behind, journals are read and decoded by a process of its own (`decoding`), which is asked for the
next batch while the last one is being appended. Rows and watermark become visible together, so whichever process is
killed, and whenever, nothing is lost and nothing is doubled: what was not appended is read anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from watchkeeper.engines.recorder.batches import BatchReader, Decoder, Read
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.lag import Lag, lag_of
from watchkeeper.engines.recorder.segments import segment_path, segments_of, writers_of
from watchkeeper.kinds.ports import Batch, Log, Watermark
from watchkeeper.records.record import Record

__all__ = ["Decoder", "Ingester", "Progress", "Settler"]

POLL_S = 0.15
"""Between two rounds that were up to date: a batch has a price of its own, so what comes meanwhile goes in as one."""
RETRY_S = 1.0
BEHIND_BATCHES = 3
"""So many full batches one after the other, and decoding gets a process of its own."""
IDLE_S = 15.0
"""So long after the last full batch that process is ended."""
MEND_S = 60.0
"""After the process died, decoding goes on here for so long before another one is started."""
_log = logging.getLogger("watchkeeper.ingest")


class Settler(Protocol):
    """Brings a batch into agreement with what is in the index; must give the same when a batch comes again."""

    async def settle(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        """The records to index instead: some replaced, and revisions of others added."""
        ...


class ElsewhereReader(Protocol):
    """Reads batches in another process; raises `OSError` when that is gone. Blocks."""

    def read(self, mark: Watermark) -> Read:
        """The next batch of a writer after a mark."""
        ...

    def end(self) -> None:
        """Let the process go; the next `read` starts another."""
        ...


class Progress(NamedTuple):
    """What one round indexed."""

    frames: int
    records: int
    duplicates: int


class _Trouble(NamedTuple):
    """An index that takes nothing: since when (monotonic), how often it was tried, and what it says."""

    since_s: float
    times: int
    error: str


class Ingester:
    """Indexes all journals under a folder into a Log. Exactly once: rows and watermark become visible together."""

    def __init__(
        self,
        folder: Path,
        log: Log,
        decoders: Mapping[FrameKind, Decoder],
        settlers: Sequence[Settler] = (),
        elsewhere: ElsewhereReader | None = None,
    ) -> None:
        """`settlers` see every batch before it is indexed; `elsewhere` decodes while the index is behind."""
        self._folder = folder
        self._settlers = settlers
        self._index = log
        self._reader = BatchReader(folder, decoders)
        self._elsewhere = elsewhere
        self._marks: dict[str, Watermark] | None = None
        self._turn = asyncio.Lock()
        self._broken: dict[str, str] = {}
        self._trouble: _Trouble | None = None
        self._ahead: dict[str, tuple[Watermark, asyncio.Task[Read]]] = {}
        self._far: set[str] = set()
        self._full_batches = 0
        self._last_full_s = self._died_s = -MEND_S
        self.frames = self.records = self.duplicates = self.erased = self.deaths = 0

    @property
    def broken(self) -> Mapping[str, str]:
        """Writers whose journal is damaged, with the place and kind of the damage."""
        return dict(self._broken)

    @property
    def decoding_elsewhere(self) -> bool:
        """Whether journals are decoded in a process of its own at present."""
        return self._elsewhere is not None and self._full_batches >= BEHIND_BATCHES

    def problem(self, patience_s: float = 5.0) -> str | None:
        """Why the index does not take what is recorded, once that has lasted; None when it does."""
        trouble = self._trouble
        if trouble is None or (lasted_s := time.monotonic() - trouble.since_s) < patience_s:
            return None
        return (
            f"the index has taken nothing for {lasted_s:,.0f} s ({trouble.times} attempts: {trouble.error}); "
            "recording goes on, and what is missing follows once the index works again"
        )

    async def run(self, stopping: asyncio.Event) -> None:
        """Follow the journals until told to stop. A failing index is retried and never stops the recording."""
        try:
            while not stopping.is_set():
                try:
                    await self.round()
                    pause = 0.0 if self._far else POLL_S
                except Exception as error:  # noqa: BLE001 - whatever breaks the index must not stop the following
                    _log.error("indexing failed and is tried again: %s", error)
                    pause = RETRY_S
                if pause:
                    try:
                        await asyncio.wait_for(stopping.wait(), pause)
                    except TimeoutError:
                        continue
                else:
                    await asyncio.sleep(0)
        finally:
            await self.rest()

    async def drain(self) -> Progress:
        """Index everything appended so far; what is appended meanwhile is not waited for."""
        ends = await asyncio.to_thread(_ends, self._folder)
        frames = records = duplicates = 0
        while True:
            progress = await self.round()
            frames, records = frames + progress.frames, records + progress.records
            duplicates += progress.duplicates
            if progress.frames == 0:
                await self.rest()
            elif not self._reached(ends):
                continue
            return Progress(frames, records, duplicates)

    def _reached(self, ends: Mapping[str, tuple[int, int]]) -> bool:
        """Whether every writer's journal is indexed to these ends."""
        marks = self._marks or {}
        return all(name in marks and (marks[name].segment, marks[name].offset) >= end for name, end in ends.items())

    async def round(self) -> Progress:
        """Index one batch of each writer."""
        async with self._turn:
            try:
                progress = await self._round()
            except Exception as error:
                before = self._trouble or _Trouble(time.monotonic(), 0, "")
                self._trouble = _Trouble(before.since_s, before.times + 1, str(error)[:300])
                raise
            self._trouble = None
            return progress

    async def rest(self) -> None:
        """Let the decoding process go, and forget what it has read ahead."""
        async with self._turn:
            await self._let_go()

    def lag(self) -> Lag:
        """How far the index is behind the journals; looks at their files."""
        return lag_of(self._folder, dict(self._marks or {}))

    def lag_segments(self) -> int:
        """How many whole segments the index is behind, over all writers."""
        marks = self._marks or {}
        lag = 0
        for writer in writers_of(self._folder):
            numbers = segments_of(self._folder / writer)
            mark = marks.get(writer)
            lag += len([n for n in numbers if mark is None or n > mark.segment])
        return lag

    async def _round(self) -> Progress:
        if self._marks is None:
            self._marks = dict(await self._index.watermarks())
        frames = records = duplicates = 0
        any_full = False
        for writer in await asyncio.to_thread(writers_of, self._folder):
            mark = self._marks.get(writer) or Watermark(writer=writer, segment=0, offset=0)
            read = await self._read(mark)
            self._note(writer, read)
            any_full |= read.full
            if not read.frames:
                continue
            if read.full:
                self._read_ahead(read.mark)
            settled = await self._settled(read.records)
            appended = await self._index.append(Batch(records=settled, watermark=read.mark))
            self._marks[writer] = read.mark
            frames, records = frames + read.frames, records + len(read.records)
            duplicates += appended.duplicates
            self.frames += read.frames
            self.records += len(read.records)
            self.duplicates += appended.duplicates
            self.erased += read.erased
        await self._pace(any_full)
        return Progress(frames, records, duplicates)

    async def _settled(self, records: tuple[Record, ...]) -> tuple[Record, ...]:
        for each in self._settlers:
            records = await each.settle(records)
        return records

    async def _read(self, mark: Watermark) -> Read:
        """The next batch of a writer: read ahead, or read now, elsewhere or here."""
        ahead = self._ahead.pop(mark.writer, None)
        if ahead is not None and ahead[0] != mark:  # what was read before could not be appended
            await _ended(ahead[1])
            ahead = None
        if ahead is None and not (self.decoding_elsewhere and mark.writer in self._far):
            return await asyncio.to_thread(self._reader.read, mark)
        try:
            return await (self._ask(mark) if ahead is None else ahead[1])
        except OSError as error:
            self._full_batches, self._died_s = 0, time.monotonic()
            self.deaths += 1
            _log.warning("%s; decoding goes on in the store's own process for a while", error)
            return await asyncio.to_thread(self._reader.read, mark)

    def _read_ahead(self, mark: Watermark) -> None:
        """Ask for what follows a full batch while that one is appended; one writer at a time."""
        if self.decoding_elsewhere and not self._ahead:
            self._ahead[mark.writer] = (mark, self._ask(mark))

    def _ask(self, mark: Watermark) -> asyncio.Task[Read]:
        assert self._elsewhere is not None
        return asyncio.create_task(asyncio.to_thread(self._elsewhere.read, mark), name="decoding")

    async def _pace(self, full: bool) -> None:
        """Count full batches one after the other; after a while without one the decoding process may go."""
        now_s = time.monotonic()
        if full:
            self._last_full_s = now_s
            if now_s - self._died_s >= MEND_S:
                self._full_batches += 1
        elif not self.decoding_elsewhere:
            self._full_batches = 0
        elif now_s - self._last_full_s >= IDLE_S:
            await self._let_go()

    async def _let_go(self) -> None:
        waiting = [task for _, task in self._ahead.values()]
        self._ahead.clear()
        self._full_batches = 0
        for task in waiting:
            await _ended(task)
        if self._elsewhere is not None:
            await asyncio.to_thread(self._elsewhere.end)

    def _note(self, writer: str, read: Read) -> None:
        """Remember whether a journal is damaged, and whether there is much more of it."""
        (self._far.add if read.full else self._far.discard)(writer)
        if read.damage is None:
            self._broken.pop(writer, None)
            return
        if writer not in self._broken:
            _log.error("the journal of %s is damaged: %s; run 'watchkeeper verify'", writer, read.damage)
        self._broken[writer] = read.damage


async def _ended(task: asyncio.Task[Read]) -> None:
    """Wait for a task whose answer is not wanted any more."""
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()


def _ends(folder: Path) -> dict[str, tuple[int, int]]:
    """The last segment of every writer, and how long it is now."""
    ends = {}
    for writer in writers_of(folder):
        numbers = segments_of(folder / writer)
        if numbers:
            ends[writer] = (numbers[-1], segment_path(folder / writer, numbers[-1]).stat().st_size)
    return ends
