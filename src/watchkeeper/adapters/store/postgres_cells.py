"""Cells in PostgreSQL, shared by gateways on several machines: one ledger, decided on by whoever holds its rows.

Rows are locked in one order (operation ids, then keys, each sorted), so that two processes that want the same cells
wait for one another and never in a circle, and read what the other has committed. Keys are kept as UTF-8 bytes:
PostgreSQL's text has no NUL and sorts by locale, bytes have neither trouble. Needs the extra `postgres`.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from watchkeeper.adapters.store.cell_rules import OPERATION_LIFE_NS, Changes, Outcome, Value, end_of
from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.adapters.store.group_commit import Answer, GroupCommit, Request
from watchkeeper.adapters.store.worker import Worker
from watchkeeper.kinds.ports import Page
from watchkeeper.records.record import pack, unpack

if TYPE_CHECKING:
    import psycopg

CONNECT_S = 5
"""How long a connection is waited for."""
LOCK_S = 10
"""How long a transaction waits for another process."""
PRUNE_EVERY = 256
"""Transactions between two rounds of forgetting old operation ids."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS watchkeeper_cells (key bytea PRIMARY KEY, counter bigint, value bytea);
CREATE TABLE IF NOT EXISTS watchkeeper_operations (id bytea PRIMARY KEY, at_ns bigint NOT NULL, outcome bytea);
CREATE INDEX IF NOT EXISTS watchkeeper_operations_by_age ON watchkeeper_operations (at_ns);
"""
_HIDDEN = (
    "(it is not shown here, it may hold a password). Write postgresql://user:password@host/name, with the marks "
    "@ : / ? # % of a password percent-encoded."
)
_SCHEMA_LOCK = 7_265_170_021
"""Two processes that make the tables at once would trip over each other: whoever holds this makes them."""

T = TypeVar("T")


class PostgresCells(GroupCommit):
    """Cells in a PostgreSQL database. Made by `open`. A connection that breaks is made anew for the next operation."""

    def __init__(self, dsn: str, writing: psycopg.Connection[Any], clock_ns: Callable[[], int]) -> None:
        """Take over a connection, which is used by the writing thread alone; `dsn` is never shown."""
        self._dsn = dsn
        self._writing: psycopg.Connection[Any] | None = writing
        self._reading: psycopg.Connection[Any] | None = None
        self._groups = 0
        self._made: set[str] = set()
        self._reader = Worker("cells-reader")
        super().__init__("cells-writer", clock_ns)

    @classmethod
    def open(cls, dsn: str, clock_ns: Callable[[], int] = time.time_ns) -> PostgresCells:
        """Connect and make the tables; raises `StoreError` when the server cannot be reached or refuses."""
        connection = _connect(dsn)
        try:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                connection.execute(_SCHEMA)
        except _errors() as error:
            connection.close()
            raise StoreError(
                f"The tables of the cells cannot be made: {_said(error)}. Give the user the right to create tables, or "
                "make them by hand once."
            ) from error
        return cls(dsn, connection, clock_ns)

    async def get(self, key: str) -> Value:
        """One cell's counter or value, None when absent."""

        def read(connection: psycopg.Connection[Any]) -> Value:
            row = connection.execute(
                "SELECT counter, value FROM watchkeeper_cells WHERE key = %s", (_bytes(key),)
            ).fetchone()
            return None if row is None else _value(*row)

        return await self._read(read)

    async def scan(self, prefix: str, cursor: str | None = None, limit: int = 1000) -> Page:
        """Cells whose key starts with `prefix`, in key order, `limit` at a time."""

        def read(connection: psycopg.Connection[Any]) -> Page:
            after, comparison = (prefix, ">=") if cursor is None else (cursor, ">")
            end = end_of(prefix)
            bound = "" if end is None else "AND key < %s "
            rows = connection.execute(
                f"SELECT key, counter, value FROM watchkeeper_cells WHERE key {comparison} %s {bound}"
                "AND (counter IS NOT NULL OR value IS NOT NULL) ORDER BY key LIMIT %s",
                (_bytes(after), *([] if end is None else [_bytes(end)]), limit + 1),
            ).fetchall()
            items = [(_text(key), _value(counter, value)) for key, counter, value in rows[:limit]]
            more = len(rows) > limit and limit > 0
            return Page(
                items=tuple((key, value) for key, value in items if value is not None),
                cursor=items[-1][0] if more else None,
            )

        return await self._read(read)

    async def close(self) -> None:
        """Finish what was asked and let go of the connections."""
        if self._end():
            await asyncio.to_thread(self._close)

    async def _read(self, call: Callable[[psycopg.Connection[Any]], T]) -> T:
        self._require_open()
        return await asyncio.wrap_future(self._reader.submit(lambda: self._ask(call)))

    def _ask(self, call: Callable[[psycopg.Connection[Any]], T]) -> T:
        if self._reading is None or self._reading.closed:
            self._reading = _connect(self._dsn)
        try:
            return call(self._reading)
        except _errors() as error:
            self._reading.close()
            raise StoreError(f"The cells cannot be read: {_said(error)}. Look at the PostgreSQL server.") from error

    def _close(self) -> None:
        self._join()
        self._reader.close()
        for connection in (self._writing, self._reading):
            if connection is not None:
                connection.close()

    def _transaction(self, group: list[Request]) -> list[Answer]:
        try:
            if self._writing is None or self._writing.closed:
                self._writing = _connect(self._dsn)
            with self._writing.transaction():
                return self._carry_out(group)
        except StoreError as error:
            return [error] * len(group)
        except _errors() as error:
            if self._writing is not None:
                with contextlib.suppress(*_errors()):
                    self._writing.close()
            # A commit whose answer was lost may have been done: an operation id tells on the next try.
            failure = StoreError(
                f"The cells could not be written: {_said(error)}. Look at the PostgreSQL server; repeat with the same "
                "operation id."
            )
            return [failure] * len(group)

    def _recall(self, names: list[str]) -> dict[str, Outcome]:
        """Claim the names first: whoever else carries out the same operation has to wait for us, or we for it."""
        if not names:
            return {}
        ids = sorted({_bytes(name) for name in names})
        self._execute(
            "INSERT INTO watchkeeper_operations (id, at_ns) SELECT unnest(%s::bytea[]), %s ON CONFLICT DO NOTHING",
            (ids, self._clock_ns()),
        )
        rows = self._execute("SELECT id, outcome FROM watchkeeper_operations WHERE id = ANY(%s)", (ids,))
        return {_text(name): unpack(Outcome, outcome) for name, outcome in rows if outcome is not None}

    def _load(self, keys: set[str]) -> dict[str, Value]:
        """Make the rows where there are none, then lock all of them in order and read what they hold now."""
        names = sorted(_bytes(key) for key in keys)
        self._made = set()
        while names:
            made = self._execute(
                "INSERT INTO watchkeeper_cells (key) SELECT unnest(%s::bytea[]) ON CONFLICT DO NOTHING RETURNING key",
                (names,),
            )
            self._made |= {_text(key) for (key,) in made}
            rows = self._execute(
                "SELECT key, counter, value FROM watchkeeper_cells WHERE key = ANY(%s) ORDER BY key FOR UPDATE",
                (names,),
            )
            if len(rows) == len(names):
                return {_text(key): _value(counter, value) for key, counter, value in rows}
            # Somebody deleted a row between the two statements: without the row there is no lock on it.
        return {}

    def _store(self, changed: Changes, new: dict[str, Outcome], at_ns: int) -> None:
        absent = {key for key in self._made if key not in changed}
        gone = [_bytes(key) for key, value in changed.items() if value is None] + [_bytes(key) for key in absent]
        kept = [(key, value) for key, value in changed.items() if value is not None]
        if kept:
            self._execute(
                "UPDATE watchkeeper_cells AS c SET counter = n.counter, value = n.value FROM "
                "unnest(%s::bytea[], %s::bigint[], %s::bytea[]) AS n(key, counter, value) WHERE c.key = n.key",
                (
                    [_bytes(key) for key, _ in kept],
                    [value if isinstance(value, int) else None for _, value in kept],
                    [value if isinstance(value, bytes) else None for _, value in kept],
                ),
            )
        if gone:
            self._execute("DELETE FROM watchkeeper_cells WHERE key = ANY(%s)", (gone,))
        if new:
            self._execute(
                "UPDATE watchkeeper_operations AS o SET outcome = n.outcome, at_ns = %s FROM "
                "unnest(%s::bytea[], %s::bytea[]) AS n(id, outcome) WHERE o.id = n.id",
                (at_ns, [_bytes(name) for name in new], [pack(outcome) for outcome in new.values()]),
            )
        self._groups += 1
        if self._groups % PRUNE_EVERY == 1:
            self._execute("DELETE FROM watchkeeper_operations WHERE at_ns < %s", (at_ns - OPERATION_LIFE_NS,))

    def _execute(self, statement: str, values: Iterable[Any]) -> list[tuple[Any, ...]]:
        assert self._writing is not None
        cursor = self._writing.execute(statement, tuple(values))
        return cursor.fetchall() if cursor.description is not None else []


def _connect(dsn: str) -> psycopg.Connection[Any]:
    try:
        import psycopg
    except ImportError as error:
        raise StoreError("PostgreSQL needs the extra `postgres`: pip install 'watchkeeper[postgres]'.") from error
    limits = f"-c lock_timeout={LOCK_S}s -c statement_timeout={LOCK_S * 2}s -c idle_in_transaction_session_timeout=60s"
    try:
        return psycopg.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_S, options=limits, application_name="watchkeeper"
        )
    except psycopg.ProgrammingError:
        # Its message repeats the part that it could not read, which may be the password.
        raise StoreError(f"The address of the cells' PostgreSQL server is none {_HIDDEN}") from None
    except psycopg.Error as error:
        if _may_be_split_wrongly(dsn):
            said = f"The PostgreSQL server of the cells cannot be reached at that address {_HIDDEN}"
            raise StoreError(said) from None
        raise StoreError(
            f"The PostgreSQL server of the cells cannot be reached: {_said(error)}. Check its address and that it runs."
        ) from error


def _may_be_split_wrongly(dsn: str) -> bool:
    """Whether a password holds a mark that ends it in a URL, so that its rest reads as a host and is told as one."""
    _, found, rest = dsn.partition("://")
    login, at, _ = rest.rpartition("@")
    return bool(found and at) and any(mark in login for mark in "@/?#[")


def _errors() -> tuple[type[Exception], ...]:
    import psycopg

    return (psycopg.Error, OSError)


def _said(error: Exception) -> str:
    """The server's own words in one line; a password is in none of them once the address could be read."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _value(counter: int | None, value: bytes | None) -> Value:
    return counter if counter is not None else None if value is None else bytes(value)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return bytes(data).decode("utf-8", "surrogatepass")
