"""Answers questions to the index file on a thread of its own."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.adapters.store.worker import Worker

PATIENCE_S = 5.0


class Reader:
    """A cursor with its own thread, so that a long question holds up neither appends nor the next question."""

    def __init__(self, connection: Any) -> None:
        self.worker = Worker("log-reader")
        self.waiting = self.pauses = 0
        self._going = threading.Event()
        self._cursor: Any = None
        self.enter(connection)

    def read(self, sql: str, parameters: list[object]) -> list[tuple[object, ...]]:
        """All rows of one query."""
        if self._cursor is None:
            raise StoreError("The index had to be closed after a failure and is opened again with the next batch.")
        rows: list[tuple[object, ...]] = self._cursor.execute(sql, parameters).fetchall()
        return rows

    def enter(self, connection: Any) -> None:
        """Read from a connection from now on."""
        self._cursor = connection.cursor()
        self._cursor.execute("USE log")

    def pause(self) -> None:
        """Let go of the connection once what runs is answered; what is asked from now on waits for `go_on`.

        What runs for longer than `PATIENCE_S` is broken off, and asked again afterwards.
        """
        self.pauses += 1
        left, self._going = threading.Event(), threading.Event()
        self.worker.submit(partial(self._wait, left, self._going))
        if not left.wait(PATIENCE_S):
            while not left.wait(0.05):
                if self._cursor is not None:
                    self._cursor.interrupt()

    def go_on(self, connection: Any | None) -> None:
        """Read from a connection from now on; None where there is none for the time being."""
        if connection is not None:
            self.enter(connection)
        self._going.set()

    def _wait(self, left: threading.Event, going: threading.Event) -> None:
        self._let_go()
        left.set()
        going.wait()

    def leave(self) -> None:
        """Break off what runs, and let go of the connection."""
        if self._cursor is not None:
            self._cursor.interrupt()
        self.worker.submit(self._let_go).result()

    def close(self) -> None:
        """Break off what runs and end the thread."""
        if self._cursor is not None:
            self._cursor.interrupt()
        self.worker.close()
        self._let_go()

    def _let_go(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close()
