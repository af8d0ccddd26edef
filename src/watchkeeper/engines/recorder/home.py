"""The data directory: its layout, its format version, its secrets and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import stat
import time
from pathlib import Path

from watchkeeper.engines.recorder.migration import migrate
from watchkeeper.engines.recorder.subjects import Subjects
from watchkeeper.records.record import Record

FORMAT = 2
LOCK_ATTEMPTS = 20
LOCK_PAUSE_S = 0.02
SECRET_BYTES = 32


class HomeError(RuntimeError):
    """The data directory cannot be used; the message says why and what to do."""


class Holder(Record):
    """Who holds the data directory: a process, where it answers, and the token that lets the CLI in."""

    pid: int
    address: str | None
    token: str
    since_ns: int


class Home:
    """A data directory. Opening creates it when it is missing and refuses one that a newer program wrote.

    `subjects` are the keys of its subjects, once somebody has opened them.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        """Open a data directory; raises `HomeError` when it cannot be used."""
        self.path = path.absolute()
        self._claim: int | None = None
        self.subjects: Subjects | None = None
        try:
            self._prepare(create)
        except OSError as error:
            raise HomeError(
                f"the data directory {path} cannot be used: {error.strerror}. "
                "Choose another with --data DIR or WATCHKEEPER_DATA."
            ) from error

    @property
    def journal(self) -> Path:
        """The folder of all writers' journals."""
        return self.path / "journal"

    @property
    def keys(self) -> Path:
        """The SQLite file of the subjects' keys."""
        return self.path / "secrets" / "subjects.sqlite"

    @property
    def index(self) -> Path:
        """The DuckDB file, which `watchkeeper rebuild` can make again from the journal."""
        return self.path / "index" / "log.duckdb"

    @property
    def cells(self) -> Path:
        """The SQLite file of ledgers, keys and cursors."""
        return self.path / "cells.sqlite"

    @property
    def socket(self) -> Path:
        """The unix socket of the store process; elsewhere when the path is too long for a socket's name."""
        place = self.path / "store.sock"
        if len(str(place)) < 100:
            return place
        name = f"watchkeeper-{os.getuid()}-{self.secret('socket-name').hex()[:16]}.sock"
        return Path(os.environ.get("XDG_RUNTIME_DIR", "/tmp")) / name

    def secret(self, name: str) -> bytes:
        """A secret of 32 random bytes that lives in this data directory only; made on first use, mode 0600."""
        path = self.path / "secrets" / f"{name}.key"
        try:
            if not path.exists():
                _make_secret(path)
            found = path.read_bytes()
        except PermissionError as error:
            raise HomeError(
                f"the secret {path} cannot be read: run as the user who owns the data directory."
            ) from error
        if len(found) != SECRET_BYTES:
            raise HomeError(
                f"the secret {path} has {len(found)} bytes and not {SECRET_BYTES}: it was cut off or changed. Put the "
                "one of a backup back; with another one, what was recorded under it is not found again."
            )
        return found

    def lock(self, address: str | None = None) -> Holder:
        """Hold the data directory for this process until `unlock`; raises `HomeError` naming who has it."""
        claim = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        for attempt in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                # Without a name in it the lock is held by somebody who only looks whether it is held.
                if _read_holder(self.path / "lock") is not None or attempt == LOCK_ATTEMPTS - 1:
                    os.close(claim)
                    raise HomeError(self._taken()) from error
                time.sleep(LOCK_PAUSE_S)
        self._claim = claim
        return self.announce(address)

    def announce(self, address: str | None) -> Holder:
        """Write who holds the lock and where it answers."""
        if self._claim is None:
            raise HomeError("the data directory is not locked by this process; call lock() before announce().")
        holder = Holder(
            pid=os.getpid(), address=address, token="wko-" + secrets.token_urlsafe(24), since_ns=time.time_ns()
        )
        text = json.dumps({"pid": holder.pid, "address": address, "token": holder.token, "since_ns": holder.since_ns})
        os.ftruncate(self._claim, 0)
        os.pwrite(self._claim, text.encode(), 0)
        return holder

    def unlock(self) -> None:
        """Let go of the data directory."""
        if self._claim is not None:
            os.ftruncate(self._claim, 0)
            os.close(self._claim)
            self._claim = None

    def holder(self) -> Holder | None:
        """Who holds the data directory at this moment, or None when nobody does."""
        try:
            handle = os.open(self.path / "lock", os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
        except OSError:
            return _read_holder(self.path / "lock")
        finally:
            os.close(handle)

    def _taken(self) -> str:
        holder = _read_holder(self.path / "lock")
        who = f"process {holder.pid}" if holder else "another process"
        where = f" at {holder.address}" if holder and holder.address else ""
        return (
            f"the data directory {self.path} is in use by {who}{where}. "
            "Stop that process, or start this one with another --data DIR."
        )

    def _prepare(self, create: bool) -> None:
        marker = self.path / "format.json"
        if not marker.exists():
            if not create:
                raise HomeError(
                    f"there is no Watchkeeper data in {self.path}. "
                    "Start 'watchkeeper serve' there once, or name the right directory with --data DIR."
                )
            self._create(marker)
        found = _read_format(marker)
        if found > FORMAT:
            raise HomeError(
                f"the data directory {self.path} has format {found}; this program reads up to {FORMAT}. "
                "Upgrade watchkeeper, or name another directory with --data DIR."
            )
        if found < FORMAT and self.holder() is None:
            migrate(self.path, found, FORMAT)
        if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
            self.path.chmod(0o700)

    def _create(self, marker: Path) -> None:
        if self.path.exists() and any(self.path.iterdir()):
            raise HomeError(
                f"{self.path} is not empty and holds no Watchkeeper data (format.json is missing). "
                "Name an empty or new directory with --data DIR."
            )
        for folder in (self.path, self.path / "journal", self.path / "index", self.path / "secrets"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = marker.with_suffix(".new")
        draft.write_text(json.dumps({"format": FORMAT, "created_ns": time.time_ns()}) + "\n")
        draft.replace(marker)


def _make_secret(path: Path) -> None:
    """Make a secret that appears whole or not at all; where another process was first, its own is left."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _read_format(marker: Path) -> int:
    try:
        found = json.loads(marker.read_text())["format"]
        return int(found)
    except (ValueError, KeyError, TypeError) as error:
        raise HomeError(
            f"{marker} does not say which format the data has. Restore it from a backup, or move the directory aside."
        ) from error


def _read_holder(path: Path) -> Holder | None:
    try:
        content = json.loads(path.read_text())
        return Holder(
            pid=int(content["pid"]),
            address=content.get("address"),
            token=str(content["token"]),
            since_ns=int(content["since_ns"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
