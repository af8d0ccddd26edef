"""Delivers scores, outcomes and feedback in the background: a bounded queue, batches, retries, a count of losses."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter, deque
from typing import Any, NamedTuple

from watchkeeper.records.ids import new_id
from watchkeeper.sdk.connection import Connection, NotAccepted, Unreachable

MOST_WAITING = 10_000
_BATCH = 200
_ATTEMPTS = 6
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_log = logging.getLogger("watchkeeper.sdk")

Item = tuple[str, dict[str, Any]]
LOSSES = "/api/v1/losses"


class Loss(NamedTuple):
    """Losses of one kind that the server was not told of yet."""

    number: int
    first_ns: int
    last_ns: int
    id: str


class Sender:
    """Takes items without waiting and posts them from a thread of its own. What it cannot deliver is counted by reason.

    `counts` holds "sent" and, for what was lost, "full" (the queue was), "unreachable" and "refused". What was lost is
    told to the server at the next delivery that works, so that it stands in the drop ledger there.
    """

    def __init__(self, connection: Connection, most_waiting: int = MOST_WAITING) -> None:
        self._connection = connection
        self._most_waiting = most_waiting
        self._condition = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._busy = 0
        self._hurry = False
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._said: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.problem: str | None = None
        self._losses: dict[tuple[str, str], Loss] = {}
        self._untold = threading.Lock()

    def put(self, path: str, value: dict[str, Any]) -> None:
        """Queue one item; the newest is dropped and counted when the queue is full."""
        with self._condition:
            self._after_fork()
            if len(self._waiting) >= self._most_waiting:
                self._lost("full", 1, f"more than {self._most_waiting} items wait for the server")
                return
            self._waiting.append((path, value))
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="watchkeeper-sender", daemon=True)
                self._thread.start()
            self._condition.notify_all()

    @property
    def lost(self) -> int:
        """How many items were not delivered and never will be."""
        return self.counts["full"] + self.counts["unreachable"] + self.counts["refused"]

    def flush(self, timeout_s: float) -> int:
        """Wait until the queue is empty or the time is over; returns how many items still wait."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            self._after_fork()
            self._hurry = True
            self._condition.notify_all()
            while (self._waiting or self._busy) and (rest := deadline - time.monotonic()) > 0:
                self._condition.wait(rest)
            self._hurry = False
            return len(self._waiting) + self._busy

    def _after_fork(self) -> None:
        """A forked child has no thread and must not send again what its parent sends."""
        if self._process != os.getpid():
            self._process, self._thread, self._busy = os.getpid(), None, 0
            self._waiting.clear()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._waiting:
                    self._condition.wait()
                path = self._waiting[0][0]
                batch: list[dict[str, Any]] = []
                while self._waiting and self._waiting[0][0] == path and len(batch) < _BATCH:
                    batch.append(self._waiting.popleft()[1])
                self._busy = len(batch)
            self._deliver(path, batch)
            with self._condition:
                self._busy = 0
                self._condition.notify_all()

    def _deliver(self, path: str, batch: list[dict[str, Any]]) -> None:
        pause_s, problem = _FIRST_PAUSE_S, ""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._connection.post(path, batch)
            except NotAccepted as error:
                if not error.temporary:
                    self._refused(path, batch, error)
                    return
                problem = str(error)
            except Unreachable as error:
                problem = str(error)
            else:
                self.counts["sent"] += len(batch)
                self.tell()
                return
            if attempt < _ATTEMPTS:
                with self._condition:
                    self._condition.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        self._lost("unreachable", len(batch), f"{path} could not be reached: {problem}")

    def _refused(self, path: str, batch: list[dict[str, Any]], error: NotAccepted) -> None:
        """One wrong item must not take the others of its batch with it: each is then sent alone."""
        if len(batch) == 1:
            self._lost("refused", 1, f"{path} did not accept it: {error}")
            return
        for item in batch:
            self._deliver(path, [item])

    def lost_elsewhere(self, what: str, reason: str, count: int) -> None:
        """Note a loss that is not of this queue (spans that could not be exported), to be told to the server."""
        now_ns = time.time_ns()
        with self._untold:
            before = self._losses.get((what, reason))
            first_ns, ident = (now_ns, new_id("drp", now_ns)) if before is None else (before.first_ns, before.id)
            self._losses[what, reason] = Loss(count + (before.number if before else 0), first_ns, now_ns, ident)

    def tell(self) -> bool:
        """Tell the server what was lost so far; what it does not take is told again later. True when all was told."""
        with self._untold:
            losses, self._losses = self._losses, {}
        if not losses:
            return True
        said = [
            {"what": what, "reason": reason, "count": each.number, "first": each.first_ns, "last": each.last_ns}
            | {"id": each.id}
            for (what, reason), each in losses.items()
        ]
        try:
            self._connection.post(LOSSES, said)
        except (NotAccepted, Unreachable):
            with self._untold:
                for kind, each in losses.items():
                    later = self._losses.get(kind)
                    more = (
                        each
                        if later is None
                        else each._replace(number=each.number + later.number, last_ns=later.last_ns)
                    )
                    self._losses[kind] = more
            return False
        return True

    def _lost(self, reason: str, count: int, problem: str) -> None:
        self.counts[reason] += count
        self.lost_elsewhere("record", f"sdk_{reason}", count)
        self.problem = problem
        if reason not in self._said:
            self._said.add(reason)
            _log.warning(
                "watchkeeper: %d items were not recorded: %s (said once; flush() reports the count)", count, problem
            )
