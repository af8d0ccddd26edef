"""The way in for commands: the running server's API, or the same API in this process when no server runs."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from watchkeeper.cli.options import Failure
from watchkeeper.config import Config, load
from watchkeeper.engines.recorder.home import Holder, Home

TIMEOUT_S = 600.0
START_WAIT_S = 20.0
PAUSE_S = 0.1


class Reply:
    """What a door answered: status and bytes."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body

    def json(self) -> Any:
        """The body as JSON; raises `Failure` with the API's own words when the status says so."""
        self.checked()
        return json.loads(self.body)

    def checked(self) -> bytes:
        """The body; raises `Failure` with the API's own words when the status says so."""
        if self.status < 400:
            return self.body
        try:
            error = json.loads(self.body)["error"]
            raise Failure(str(error["message"]), str(error.get("code") or self.status))
        except (ValueError, KeyError, TypeError):
            raise Failure(f"the server answered {self.status}: {self.body[:200]!r}", str(self.status)) from None


class Door:
    """Opens the house by whichever way there is. A context manager; use `get` and `post` inside."""

    def __init__(self, config: Config, create: bool = False) -> None:
        """Find the data directory and who holds it; raises `HomeError` when there is none and `create` is False."""
        self.config = config
        self.home = Home(config.data, create=create)
        self._holder: Holder | None = self.home.holder()
        self._runner: asyncio.Runner | None = None
        self._process: Any = None

    @property
    def remote(self) -> bool:
        """Whether a server answers, rather than this process."""
        return self._holder is not None and self._holder.address is not None

    def __enter__(self) -> Self:
        if self._holder is not None and self._holder.address is None:
            raise Failure(
                f"the data directory {self.home.path} is in use by process {self._holder.pid}, which has no door. "
                "Wait until it ends, or stop it."
            )
        if self.remote:
            self._wait_for_store()
        else:
            self._open_here()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            try:
                self._runner.run(self._process.stop())
            finally:
                self._runner.close()
                self.home.unlock()

    def get(self, path: str, parameters: Mapping[str, object] | None = None) -> Reply:
        """GET a path of the API; parameters that are None are left out."""
        wanted = {k: v for k, v in (parameters or {}).items() if v is not None}
        query = urlencode(wanted, doseq=True)
        return self._send("GET", path + (f"?{query}" if query else ""), b"")

    def post(self, path: str, value: object | None = None, headers: Mapping[str, str] | None = None) -> Reply:
        """POST a JSON value to a path of the API, with further `headers`."""
        return self._send("POST", path, json.dumps({} if value is None else value).encode(), headers)

    def ask(self, question: str, parameters: Mapping[str, object] | None = None) -> Any:
        """Ask a named question. A running server counts in what it has indexed: `flush` first for the last moments."""
        return self.get(f"/api/v1/{quote(question, safe='')}", parameters).json()

    def flush(self, wait: str | None = None) -> Any:
        """Index everything recorded so far; with `wait` ("2s") no longer than that, and `behind` says what is left."""
        return self.post("/api/v1/ingest/flush" + (f"?wait={wait}" if wait else "")).json()

    def _wait_for_store(self) -> None:
        """Give a server that has just been started the time to open its store; whatever it answers then is told."""
        deadline_s = time.monotonic() + START_WAIT_S
        while time.monotonic() < deadline_s:
            ready = self.get("/readyz")
            if ready.status == 200 or b"does not answer" not in ready.body:
                return
            time.sleep(PAUSE_S)

    def _open_here(self) -> None:
        from watchkeeper.server.processes import store_process

        self.home.lock()
        self._runner = asyncio.Runner()
        try:
            self._process = store_process(self.config, self.home)
            self._runner.run(self._process.open())
        except BaseException:
            self._runner.close()
            self._runner = None
            self.home.unlock()
            raise

    def _send(self, method: str, target: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
        if self._holder is not None and self.remote:
            return _over_http(self._holder, method, target, body, headers or {})
        assert self._runner is not None, "a door is used inside its with block"
        from watchkeeper.server.inside import call

        return Reply(*self._runner.run(call(self._process.app, method, target, body, headers=headers)))


def open_door(config: Path | None, data: str | None, create: bool = False) -> Door:
    """The door for a command's --config and --data."""
    return Door(load(config, data=data), create=create)


def _over_http(holder: Holder, method: str, target: str, body: bytes, extra: Mapping[str, str]) -> Reply:
    host, _, port = (holder.address or "").rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))
    headers = {"X-Watchkeeper-Key": holder.token, "Content-Type": "application/json", **extra}
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
    try:
        connection.request(method, target, body=body if method != "GET" else None, headers=headers)
        response = connection.getresponse()
        return Reply(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Failure(
            f"the server (process {holder.pid}) at {holder.address} does not answer: {error}. "
            "Look at its log, or stop it and run the command again."
        ) from error
    finally:
        connection.close()
