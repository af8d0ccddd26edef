"""Cells whose operations share transactions: what arrives while one is being written goes into the next together.

Operations are carried out in order, each all or none; nobody is answered before the commit is on disk. One that is not
urgent waits a moment for company, and so shares the commit of the next that is. A database brings the few statements;
the order, the answers and the repeats are decided here, alike for all.

The writing thread gives the interpreter up in every statement and has to win it back from the event loop, so a group
is read and written in as few statements as can be, whatever its size.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from watchkeeper.adapters.store.cell_rules import Changes, Outcome, Value, remember, work_out
from watchkeeper.adapters.store.errors import StoreClosed, StoreError
from watchkeeper.kinds.ports import Applied, Op, Refused

GROUP = 512
"""About how many operations go into one transaction at most."""
PATIENCE_S = 0.01
"""How long operations that are not urgent wait for one that is."""


class Request(NamedTuple):
    """What somebody asked for, and the future that waits for it in their event loop."""

    ops: Sequence[Op]
    operation_id: str | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Applied | Refused]


Answer = Applied | Refused | StoreError


class GroupCommit(ABC):
    """A thread that commits operations in groups. A database adapter fills in the abstract methods."""

    def __init__(self, name: str, clock_ns: Callable[[], int]) -> None:
        """Start the writing thread, called `name`."""
        self._clock_ns = clock_ns
        self._queue: queue.SimpleQueue[list[Request] | None] = queue.SimpleQueue()
        self._patient: list[Request] = []
        self._lock = threading.Lock()
        self._closed = False
        self._writer = threading.Thread(target=self._run, name=name, daemon=True)
        self._writer.start()

    @abstractmethod
    def _transaction(self, group: list[Request]) -> list[Answer]:
        """Carry out a group in one transaction by `_carry_out`; returns when it is on disk.

        A database that fails answers the whole group with a `StoreError`, and nothing of it was done.
        """

    @abstractmethod
    def _recall(self, names: list[str]) -> dict[str, Outcome]:
        """The outcomes that are remembered under some operation ids."""

    @abstractmethod
    def _load(self, keys: set[str]) -> dict[str, Value]:
        """The cells under some keys; absent ones are left out."""

    @abstractmethod
    def _store(self, changed: Changes, new: dict[str, Outcome], at_ns: int) -> None:
        """Write what changed (None: gone) and remember the outcomes of new operation ids."""

    def apply(
        self, ops: Sequence[Op], operation_id: str | None = None, urgent: bool = True
    ) -> asyncio.Future[Applied | Refused]:
        """One transaction of conditional operations, all or none, on disk when answered.

        The same `operation_id` within a day changes nothing and gets the first answer, also after a restart. What is
        not urgent waits up to `PATIENCE_S` to share a write, and is carried out before all that is asked later. Raises
        `StoreError` when the database cannot be written.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Applied | Refused] = loop.create_future()
        request = Request(ops, operation_id, loop, future)
        with self._lock:
            self._require_open()
            if urgent:
                self._hand_over(request)
                return future
            self._patient.append(request)
            first = self._patient[0]
        if first is request or first.loop is not loop:
            loop.call_later(PATIENCE_S, self._patience_ends)
        return future

    def _require_open(self) -> None:
        if self._closed:
            raise StoreClosed("The Cells were closed; open them again.")

    def _end(self) -> bool:
        """Take nothing more and hand over what waits; False when that was done before."""
        with self._lock:
            if self._closed:
                return False
            self._closed = True
            self._hand_over(None)
            self._queue.put(None)
            return True

    def _join(self) -> None:
        """Wait until the writing thread has ended."""
        self._writer.join()

    def _carry_out(self, requests: list[Request]) -> list[Answer]:
        """Answer requests in order against one picture of the cells, then write what changed."""
        known = self._recall([r.operation_id for r in requests if r.operation_id is not None])
        cells = self._load({op.key for request in requests for op in request.ops})
        changed: Changes = {}
        new: dict[str, Outcome] = {}
        answers: list[Answer] = []
        for request in requests:
            name = request.operation_id
            if name is not None and name in known:
                answers.append(known[name].again)
                continue
            try:
                answer, changes = work_out(request.ops, cells)
            except StoreError as error:
                answers.append(error)
                continue
            cells.update(changes)
            changed.update(changes)
            if name is not None:
                known[name] = new[name] = remember(answer)
            answers.append(answer)
        self._store(changed, new, self._clock_ns())
        return answers

    def _patience_ends(self) -> None:
        with self._lock:
            if not self._closed:
                self._hand_over(None)

    def _hand_over(self, request: Request | None) -> None:
        """Give the writing thread what waited and then a request, in one piece; the caller holds the lock."""
        group, self._patient = self._patient, []
        if request is not None:
            group.append(request)
        if group:
            self._queue.put(group)

    def _run(self) -> None:
        while True:
            group, last = self._gather()
            live = [request for request in group if not request.future.cancelled()]
            if live:
                _deliver(live, self._transaction(live))
            del group, live
            if last:
                return

    def _gather(self) -> tuple[list[Request], bool]:
        """All requests that wait, at least one, and whether they are the last."""
        group: list[Request] = []
        following = self._queue.get()
        while following is not None:
            group += following
            if len(group) >= GROUP:
                return group, False
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True


def _deliver(requests: list[Request], answers: list[Answer]) -> None:
    """Hand the answers of a group to those who wait for them, with one call into each event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Applied | Refused], Answer]]] = {}
    for request, answer in zip(requests, answers, strict=True):
        by_loop.setdefault(request.loop, []).append((request.future, answer))
    for loop, told in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed, and whoever waited is gone with it
            loop.call_soon_threadsafe(_tell, told)


def _tell(told: list[tuple[asyncio.Future[Applied | Refused], Answer]]) -> None:
    for future, answer in told:
        if future.done():
            continue
        if isinstance(answer, StoreError):
            future.set_exception(answer)
        else:
            future.set_result(answer)
