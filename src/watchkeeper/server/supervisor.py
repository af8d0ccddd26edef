"""Keeps a server running: holds the data directory and the port, starts both processes, restarts one that crashes.

It stays light on purpose (no HTTP or database library), so that the port is open within milliseconds and little
memory is held for watching. Callers wait in the port's queue until the gateway process takes them.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

import msgspec

from watchkeeper.config import Config
from watchkeeper.engines.recorder.home import Home, HomeError
from watchkeeper.server.watched import Watched

EXIT_SETTINGS = 78
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STEADY_S = 30.0
GATEWAY_SLACK_S = 5.0
STORE_END_S = 15.0
ANSWER_WAIT_S = 60.0


class DoorClosed(RuntimeError):
    """The server may not listen where it was told to; the message says why and what to do."""


class Child:
    """One of the two processes: started, watched, and started again after a pause that doubles with each crash."""

    def __init__(self, name: str, config: Config, files: tuple[int, ...], say: Callable[[str], None]) -> None:
        self.name, self._config, self._files, self._say = name, config, files, say
        self.restarts = 0
        self._pause_s = FIRST_PAUSE_S
        self._started_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._again_s: float | None = 0.0

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the process; it gets the settings as one line and keeps the pipe as its sign that we live."""
        command = [sys.executable, "-m", "watchkeeper.server.processes", self.name, *map(str, self._files)]
        environ = {"MALLOC_ARENA_MAX": "2"} | os.environ  # more arenas than cores only keep what was freed
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=self._files, start_new_session=True, env=environ
        )
        self._started_s, self._again_s = time.monotonic(), None
        pipe: IO[bytes] | None = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(BrokenPipeError):
            pipe.write(msgspec.json.encode(self._config) + b"\n")
            pipe.flush()

    def tell(self, config: Config) -> None:
        """Send other settings to the process, and start it with them from now on."""
        self._config = config
        pipe = None if self._process is None else self._process.stdin
        if pipe is not None and self.pid is not None:
            with contextlib.suppress(OSError):
                pipe.write(msgspec.json.encode(config) + b"\n")
                pipe.flush()

    def watch(self, now_s: float) -> int | None:
        """Restart a process that ended, when its pause is over; returns an exit code that must end the server."""
        if self._process is None:
            self.start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        if code == EXIT_SETTINGS:
            return code
        if self._again_s is None:
            self._close_pipe()
            if now_s - self._started_s > STEADY_S:
                self._pause_s = FIRST_PAUSE_S
            self._again_s = now_s + self._pause_s
            self.restarts += 1
            how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
            self._say(f"the {self.name} process {how}; restart {self.restarts} in {self._pause_s:.1f} s")
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        elif now_s >= self._again_s:
            self.start()
        return None

    def end(self, within_s: float) -> None:
        """Ask the process to finish, and end it when it has not within the bound."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(within_s)
            except subprocess.TimeoutExpired:
                self._say(f"the {self.name} process did not finish within {within_s:.0f} s and is ended")
                process.kill()
                process.wait()
        self._close_pipe()

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()


def supervise(config: Config, as_json: bool = False) -> int:
    """Run a server until SIGTERM or SIGINT; returns the exit code (2: it could not start, and why was said)."""
    try:
        home = Home(config.data)
        home.lock()
    except HomeError as error:
        _say(str(error))
        return 2
    try:
        _check_door(config, home)
        listener = _listen(config)
    except DoorClosed as error:
        _say(str(error))
        home.unlock()
        return 2
    except OSError as error:
        _say(_cannot_listen(config, error))
        home.unlock()
        return 2
    try:
        address = _address(listener)
        home.announce(address)
        return _keep_running(_with_address(config, address), listener, as_json)
    finally:
        listener.close()
        home.unlock()


def _keep_running(config: Config, listener: socket.socket, as_json: bool) -> int:
    children = (Child("gateway", config, (listener.fileno(),), _say), Child("store", config, (), _say))
    with _signals() as (asked_to_end, asked_again):
        for child in children:
            child.start()
        threading.Thread(target=_announce, args=(config.server.listen, as_json), daemon=True).start()
        code = 0
        watched = Watched(config, _say)
        while not asked_to_end(0.1):
            now_s = time.monotonic()
            if (fresh := watched.look(now_s, asked_again())) is not None:
                children[0].tell(fresh)
            codes = [child.watch(now_s) for child in children]
            if any(each is not None for each in codes):
                code = 2
                break
        patience = threading.Thread(target=_end_at_once_on_second, args=(asked_to_end, children), daemon=True)
        patience.start()
        children[0].end(config.server.drain_s + GATEWAY_SLACK_S)
        children[1].end(STORE_END_S)
    return code


@contextlib.contextmanager
def _signals() -> Iterator[tuple[Callable[[float | None], bool], Callable[[], bool]]]:
    """Yield a wait that returns True when SIGTERM or SIGINT came in within so many seconds, and a look at SIGHUP."""
    hangups: list[int] = []
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    before: dict[signal.Signals, Any] = {
        each: signal.signal(each, lambda *_: None) for each in (signal.SIGTERM, signal.SIGINT)
    }
    before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: hangups.append(1))
    wakeup = signal.set_wakeup_fd(writing.fileno())
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)

        def wait(timeout_s: float | None) -> bool:
            if not selector.select(timeout_s):
                return False
            return any(each in (signal.SIGTERM, signal.SIGINT) for each in reading.recv(64))

        def asked_again() -> bool:
            asked, hangups[:] = bool(hangups), []
            return asked

        try:
            yield wait, asked_again
        finally:
            signal.set_wakeup_fd(wakeup)
            for each, handler in before.items():
                signal.signal(each, handler)
            reading.close()
            writing.close()


def _end_at_once_on_second(wait: Callable[[float | None], bool], children: tuple[Child, ...]) -> None:
    try:
        asked_again = wait(None)
    except (OSError, ValueError):
        return
    if asked_again:
        _say("asked to end a second time; what is under way is cut off")
        for child in children:
            child.kill()


def _listen(config: Config) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.server.host else socket.AF_INET
    return socket.create_server((config.server.host, config.server.port), family=family, backlog=2048)


def _check_door(config: Config, home: Home) -> None:
    """Beyond loopback somebody else can reach the port: raises `DoorClosed` unless there is a key to ask for."""
    if config.server.on_loopback:
        return
    import asyncio

    from watchkeeper.adapters.store.errors import StoreError

    try:
        has_key = asyncio.run(_has_key(config, home))
    except StoreError as error:
        raise DoorClosed(str(error)) from error
    if not has_key:
        raise DoorClosed(
            f"{config.server.listen} can be reached from other machines, and there is no valid key to ask them for. "
            f"Make one first: watchkeeper key create NAME --data {home.path}; or listen on 127.0.0.1."
        )


async def _has_key(config: Config, home: Home) -> bool:
    from watchkeeper.compose.cells import cells_of
    from watchkeeper.engines.gateway.keys import KeyRing

    cells = cells_of(config, home)
    try:
        now_ns = time.time_ns()
        return any(key.valid_at(now_ns) for key in await KeyRing(cells).list())
    finally:
        await cells.close()


def _cannot_listen(config: Config, error: OSError) -> str:
    return (
        f"{config.server.listen} cannot be opened: {error.strerror}. "
        "Stop the program that holds it, or choose another with --listen 127.0.0.1:PORT."
    )


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _with_address(config: Config, address: str) -> Config:
    return msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, listen=address))


def _announce(address: str, as_json: bool) -> None:
    """Print one line once the port answers."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    asked = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    deadline_s = time.monotonic() + ANSWER_WAIT_S
    while time.monotonic() < deadline_s:
        connection = http.client.HTTPConnection(asked, int(port), timeout=5)
        try:
            connection.request("GET", "/healthz", headers={"Host": "localhost"})
            if connection.getresponse().status == 200:
                break
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
    else:
        _say(f"no answer on {address} within {ANSWER_WAIT_S:.0f} s; the lines above say why")
        return
    line = json.dumps({"address": f"http://{address}", "pid": os.getpid()})
    sys.stdout.write(line + "\n" if as_json else f"Watchkeeper is on watch at http://{address} (Ctrl-C ends it)\n")
    sys.stdout.flush()


def _say(text: str) -> None:
    sys.stderr.write(f"watchkeeper: {text}\n")
    sys.stderr.flush()
