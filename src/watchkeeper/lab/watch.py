"""A real `watchkeeper serve` in a folder of its own, used through its public doors: HTTP, commands and SDKs."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from watchkeeper.lab import processes
from watchkeeper.lab.prices import LAB_PRICES

if TYPE_CHECKING:
    import openai

START_TIMEOUT_S = 45.0
STOP_TIMEOUT_S = 15.0
COMMAND_TIMEOUT_S = 120.0
HTTP_TIMEOUT_S = 60.0
SETTINGS = "watchkeeper.toml"
LOG = "serve.log"
DATA = "data"


class DoorError(RuntimeError):
    """A door of the server did not open: it did not start, or answered with an error; the message says which."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer: status, headers by lower-case name, body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Watch:
    """One server process for the length of a `with` block; everything it started has ended afterwards.

    `settings` is TOML text without a `[server]` table; a change of it counts from the next start. The data directory is
    `folder/data` unless `data` names one; `server` is more TOML for the `[server]` table. `environment` are variables
    that the server gets besides ours.
    """

    def __init__(
        self,
        folder: Path,
        settings: str,
        *,
        listen: str | None = None,
        data: Path | None = None,
        environment: Mapping[str, str] | None = None,
        server: str = "",
    ) -> None:
        self._environment = dict(environment or {})
        self.folder = folder
        self.data = data or folder / DATA
        self.listen = listen or f"127.0.0.1:{free_port()}"
        self.settings, self.server = settings, server
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def root_url(self) -> str:
        """Where the pages and the API are."""
        return f"http://{self.listen}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"{self.root_url}/v1"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it is ready; raises `DoorError` with the end of its log if it is not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        where = f"listen = {json.dumps(self.listen)}\ndata = {json.dumps(str(self.data.absolute()))}"
        head = f"[server]\n{where}\n{self.server}\n\n"
        (self.folder / SETTINGS).write_text(head + self.settings, encoding="utf-8")
        with (self.folder / LOG).open("ab") as log:
            self._process = subprocess.Popen(
                self._words("serve", "--config", SETTINGS),
                cwd=self.folder,
                env=_environment() | self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C ends our process, which then ends this one in order
            )
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and everything below it."""
        process, self._process = self._process, None
        if process is not None:
            processes.end(process, STOP_TIMEOUT_S)

    def ended(self) -> bool:
        """Whether the server process has ended by itself."""
        return self._process is not None and self._process.poll() is not None

    def signal(self, number: int) -> None:
        """Send a signal to the server process; raises `DoorError` when it does not run."""
        if self._process is None or self.ended():
            raise DoorError("The server is not running, so it takes no signal. Start it first.")
        self._process.send_signal(number)

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when the server says that it is ready; raises `DoorError` when it does not within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        said = "nothing"
        while time.monotonic() < deadline:
            if self.ended():
                raise DoorError(f"The server ended while it was starting. The end of its log: {self._log_end()}")
            try:
                answer = self.http("GET", "/readyz", timeout_s=2.0)
                if answer.status == 200:
                    return
                said = answer.body[:300].decode("utf-8", "replace")
            except OSError as error:
                said = str(error)
            time.sleep(0.05)
        raise DoorError(f"The server was not ready within {timeout_s:g} s ({said}). Its log ends: {self._log_end()}")

    def http(
        self,
        method: str,
        path: str,
        value: object | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = HTTP_TIMEOUT_S,
    ) -> Answer:
        """One HTTP request. `value` is sent as JSON, bytes as they are. Raises `OSError` when nobody answers."""
        host, _, port = self.listen.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)
        body = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
        sent = {"Content-Type": "application/json", **(headers or {})}
        try:
            connection.request(method, path, body=b"" if body is None and method == "POST" else body, headers=sent)
            response = connection.getresponse()
            return Answer(
                status=response.status,
                headers={name.lower(): text for name, text in response.getheaders()},
                body=response.read(),
            )
        except http.client.HTTPException as error:
            raise ConnectionError(f"{self.listen} broke off: {error!r}") from error
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """GET a JSON answer; raises `DoorError` for an error status."""
        return self._read("GET", path, None)

    def post(self, path: str, value: object | None = None) -> Any:
        """POST a JSON value and read the JSON answer; raises `DoorError` for an error status."""
        return self._read("POST", path, {} if value is None else value)

    def _read(self, method: str, path: str, value: object | None) -> Any:
        answer = self.http(method, path, value)
        if answer.status < 400:
            return json.loads(answer.body)
        said = answer.body[:300].decode("utf-8", "replace")
        log = f" The server's log ends: {self._log_end()}" if answer.status >= 500 else ""
        raise DoorError(f"{method} {path} was answered with {answer.status}: {said}{log}")

    def flush(self) -> None:
        """Return when everything recorded so far can be asked for."""
        self.post("/api/v1/ingest/flush")

    def command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """Run a `watchkeeper` command in the server's folder, with its settings."""
        return subprocess.run(
            self._words(*words),
            cwd=self.folder,
            env=_environment() | self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def cli(self, *words: str, expect: tuple[int, ...] = (0,)) -> Any:
        """Run a `watchkeeper` command with --json and read its answer; raises `DoorError` for another exit code."""
        done = self.command(*words, "--json")
        if done.returncode not in expect:
            said = (done.stderr or done.stdout)[-600:].decode("utf-8", "replace")
            raise DoorError(f"`watchkeeper {' '.join(words)}` ended with {done.returncode}: {said}")
        return json.loads(done.stdout)

    def openai(self, headers: Mapping[str, str] | None = None) -> openai.OpenAI:
        """A real OpenAI client that leads to the gateway; `headers` go with every call. Use it in a `with` block."""
        import openai

        return openai.OpenAI(
            base_url=self.base_url, api_key="lab", max_retries=0, timeout=HTTP_TIMEOUT_S, default_headers=headers
        )

    def gateway_pid(self) -> int:
        """The process that owns the public port; raises `DoorError` when it cannot be told."""
        if self._process is None:
            raise DoorError("The server is not running, so it has no gateway process. Start it first.")
        below = processes.descendants(self._process.pid)
        found = [each for each in below if "gateway" in each.command.split()]
        if not found:
            shown = "; ".join(f"{each.pid} {each.command[-80:]}" for each in below) or "none"
            raise DoorError(f"No child of the server calls itself a gateway. Its children are: {shown}.")
        return found[0].pid

    def _words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "watchkeeper", *words]

    def _log_end(self) -> str:
        try:
            return (self.folder / LOG).read_bytes()[-1500:].decode("utf-8", "replace").strip() or "(empty)"
        except OSError:
            return "(none)"


def lab_settings(base_url: str, *, max_output_tokens: int = 256) -> str:
    """TOML for an upstream that is the lab, and the lab's invented prices."""
    upstream = (
        '[[upstreams]]\nname = "lab"\n'
        f"base_url = {json.dumps(base_url)}\n"
        f'credential = "none"\nmax_output_tokens = {max_output_tokens}\n'
    )
    prices = [
        f"[[prices]]\nmodel = {json.dumps(price.model)}\n"
        f"input_usd_per_million = {price.input_usd_per_mtok}\n"
        f"output_usd_per_million = {price.output_usd_per_mtok}\n"
        f"cached_usd_per_million = {price.cached_input_usd_per_mtok}\n"
        f"source = {json.dumps(price.source)}\n"
        for price in LAB_PRICES
    ]
    return "\n".join([upstream, *prices])


def free_port() -> int:
    """A port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens on a port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _environment() -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("WATCHKEEPER_")}
    return {**own, "PYTHONUNBUFFERED": "1"}
