"""Wires the search in payloads: where its files lie, how exports are read, and who makes the files beside the work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from watchkeeper.adapters.formats import otlp_logs
from watchkeeper.adapters.formats.otlp import records_of
from watchkeeper.adapters.formats.otlp_wire import parse
from watchkeeper.engines.recorder.frames import Corrupt, FrameKind
from watchkeeper.engines.recorder.grams import Grams
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.search import Found, PayloadSearch, Sought
from watchkeeper.records.logged import Logged
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Origin, Span

LOOK_EVERY_S = 30.0
YIELD_EVERY_S = 3.0
_NICENESS = 19
_log = logging.getLogger("watchkeeper.search")


def grams_of(home: Home) -> Grams:
    """The files that speed searches up; they lie beside the index and can be thrown away like it."""
    return Grams(home.index.parent / "search", home.journal, home.secret("search"))


def told(kind: FrameKind, payload: bytes, origin: Origin, at_ns: int) -> Iterable[tuple[Span, bytes]]:
    """The spans of an export, each with the bytes that are about it; of a log record, the span it belongs to."""
    if kind == FrameKind.OTLP:
        parts = [
            span.SerializeToString()
            for resource in parse(payload).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        for record in records_of(payload, origin, at_ns):
            if isinstance(record, Span) and record.origin.item < len(parts):
                yield record, parts[record.origin.item]
    elif kind == FrameKind.OTLP_LOGS:
        for record in otlp_logs.records_of(payload, origin, at_ns):
            if isinstance(record, Logged) and record.trace_id and record.span_id:
                yield _owner(record), as_json(otlp_logs.logged_events(payload, [record.origin.item]))


def _owner(record: Logged) -> Span:
    return Span(
        trace_id=record.trace_id or "", span_id=record.span_id or "", start_ns=record.at_ns, name=record.name or "log",
        service=record.service, identity=record.identity, door="otlp", origin=record.origin,
    )  # fmt: skip


class Searching:
    """Searches in payloads for the API, and keeps the files for it up to date."""

    def __init__(self, home: Home, busy: Callable[[], bool] = lambda: False) -> None:
        """`busy` says that there is more urgent work for the processor; nothing is prepared meanwhile."""
        self._home, self._grams, self._busy = home, grams_of(home), busy
        self._search = PayloadSearch(home.journal, self._grams, told)
        self._turn = asyncio.Semaphore(1)

    async def search(self, sought: Sought, deadline_s: float) -> Found:
        """Look, off the event loop and one search at a time; raises `ValueError` for what cannot be looked for."""
        async with self._turn:
            return await asyncio.to_thread(self._search.search, sought, deadline_s)

    async def run(self, stopping: asyncio.Event) -> None:
        """Make missing files in a process of low priority, whenever a segment was sealed, until told to stop."""
        while not stopping.is_set():
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._grams.tidy)
                if await asyncio.to_thread(self._grams.missing) and not await asyncio.to_thread(self._busy):
                    await self._prepare(stopping)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), LOOK_EVERY_S)

    async def _prepare(self, stopping: asyncio.Event) -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "watchkeeper.compose.searching", str(self._home.path), stdin=asyncio.subprocess.PIPE
        )
        ended, stopped = asyncio.create_task(child.wait()), asyncio.create_task(stopping.wait())
        while not ended.done() and not stopped.done():
            await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED, timeout=YIELD_EVERY_S)
            if await asyncio.to_thread(self._busy):
                break
        stopped.cancel()
        if child.returncode is None:
            child.terminate()
        await ended


def prepare(home: Home) -> int:
    """Make all missing files; returns how many. A damaged segment gets none, and is told of once."""
    grams, made = grams_of(home), 0
    for writer, segment in grams.missing():
        try:
            grams.build(writer, segment)
            made += 1
        except (Corrupt, OSError) as error:
            _log.warning("segment %d of %s cannot be prepared for searching: %s", segment, writer, error)
    return made


def main(path: Path) -> int:
    """The process that makes the files; it ends when they are made, or with the process that started it.

    It has no keys of subjects: what is encrypted at rest stays out of the files, and is read by every search instead.
    """
    os.nice(_NICENESS)
    home = Home(path, create=False)

    def follow() -> None:
        while os.read(sys.stdin.fileno(), 4096):  # not through a buffer, whose lock would break the interpreter's end
            pass
        os._exit(0)

    threading.Thread(target=follow, daemon=True).start()
    prepare(home)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
