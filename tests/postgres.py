"""A real PostgreSQL server for tests: a cluster of its own in a temporary folder, on a unix socket, ended by its id."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"


def programs() -> Path | None:
    """Where initdb and pg_ctl lie, None where there is no server on this machine."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class Server:
    """A running cluster; `dsn` leads to its database."""

    def __init__(self, folder: Path, programs_at: Path) -> None:
        self._folder, self._programs = folder, programs_at
        self._user = USER if os.getuid() == 0 else None
        self.dsn = f"host={folder} user={USER if self._user else _name()} dbname=postgres"

    def make(self) -> None:
        """Make the cluster."""
        if self._user is not None:
            shutil.chown(self._folder, self._user)
        self._run("initdb", "-D", str(self._data), "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8")

    def start(self) -> None:
        """Start the server and return when it answers."""
        options = f"-k {self._folder} -c listen_addresses='' -c max_connections=40 -c shared_buffers=16MB"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-l", log, "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """End the server; "immediate" is a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-t", "60", "-m", mode, "stop")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *words],
            user=self._user,
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}: {done.stderr[-500:]}")


@contextmanager
def running() -> Iterator[Server]:
    """A server that runs until the end of the block; raises `RuntimeError` where none is installed."""
    at = programs()
    if at is None:
        raise RuntimeError("There is no PostgreSQL server on this machine; scripts/system.sh installs Debian's.")
    with tempfile.TemporaryDirectory(prefix="wk-pg-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        server = Server(Path(folder), at)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


def _name() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
