"""Builds and runs the two processes of a server: the gateway on the public port, the store on a private socket.

The supervisor starts them as `python -m watchkeeper.server.processes gateway|store`; the settings come as one line of
JSON on standard input. When that input closes, the supervisor is gone, and the process ends by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec

from watchkeeper.config import Config, ConfigError
from watchkeeper.engines.recorder.home import Home, HomeError
from watchkeeper.server.asgi import App

if TYPE_CHECKING:
    import uvicorn

    from watchkeeper.server.doorkeeper import KeyCheck
    from watchkeeper.server.otlp_grpc import GrpcDoor

_log = logging.getLogger("watchkeeper.server")
EXIT_SETTINGS = 78
"""The exit code (EX_CONFIG) of a process that cannot start as it is set up; starting it again would not help."""

STORE_DRAIN_S = 5
BACKLOG = 2048


class Process(Protocol):
    """One process's work: its app, and what has to happen before and after it is served."""

    app: App

    async def start(self) -> None:
        """Open what the app needs."""
        ...

    async def stop(self) -> None:
        """Finish what is under way and close everything."""
        ...

    async def told(self, line: bytes) -> None:
        """A line came from the supervisor."""
        ...


class GatewayProcess:
    """Gateway, intake and front door."""

    def __init__(self, config: Config, home: Home) -> None:
        from prometheus_client import disable_created_metrics

        from watchkeeper.compose.gateway import GatewayHouse, key_check
        from watchkeeper.server.front import Front
        from watchkeeper.server.guard import GuardSettings
        from watchkeeper.server.steering_api import steering_apps

        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._house = house = GatewayHouse(config, home)
        settings = GuardSettings(
            secret=home.secret("signing"),
            listen_host=config.server.host,
            hosts=config.server.hosts,
            require_keys=config.server.require_keys,
            max_body_bytes=config.server.max_body_mb << 20,
            session_s=round(config.sign_in.hours * 3600),
            url=config.sign_in.url,
        )
        self._front = Front(
            house.gateway,
            house.intake,
            home.socket,
            settings,
            check_key=cast("KeyCheck", key_check(house.keys, home)),
            key_alive=house.keys.alive,
            journal_ready=house.journal_ready,
            metrics_text=house.metrics_text,
            signed=house.signed,
            apps=steering_apps(house.gateway.board.states, house.reloading.from_file, lambda: house.reloading.problem),
            people=house.people,
            issuer=house.issuer,
            work=house.work.door,
        )
        self.app: App = self._front
        self._grpc: GrpcDoor | None = None
        if config.server.otlp_grpc is not None:
            from watchkeeper.server.otlp_grpc import GrpcDoor

            self._grpc = GrpcDoor(house.intake, config.server.otlp_grpc, config.server.max_body_mb << 20)

    async def start(self) -> None:
        """Open the connections to the upstreams."""
        # What a call makes dies with it, by reference counts: looking for cycles after every 700 objects finds none.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        await self._house.start()
        if self._grpc is not None:
            await self._grpc.start()

    async def told(self, line: bytes) -> None:
        """The supervisor sends other settings: take what can be taken. What cannot be used changes nothing."""
        try:
            await self._house.reloading.take(msgspec.json.decode(line, type=Config))
        except (ConfigError, msgspec.MsgspecError) as error:
            _log.error("other settings were sent and not taken: %s", error)

    async def stop(self) -> None:
        """Finish the calls under way, then sync and close the journal."""
        if self._grpc is not None:
            await self._grpc.stop()
        await self._front.close()
        await self._house.stop()


class StoreProcess:
    """Index, pages, API and monitors. `open` is enough to answer questions; `start` also follows the journals."""

    def __init__(self, config: Config, home: Home) -> None:
        from watchkeeper.compose.store import StoreHouse
        from watchkeeper.server.parts import StoreParts
        from watchkeeper.server.store_app import store_app

        self._house = house = StoreHouse(config, home)

        async def flush() -> Mapping[str, Any]:
            done = await house.ingester.drain()
            it = house.ingester
            so_far = {"frames": it.frames, "records": it.records, "duplicates": it.duplicates}
            return {"frames": done.frames, "records": done.records, "duplicates": done.duplicates, "so_far": so_far}

        self.app: App = store_app(
            StoreParts(
                reader=house.reader,
                payloads=house.payloads,
                backtest=house.backtest,
                monitors=house.watch,
                prober=house.prober,
                runs=house.runs,
                incidents=house.desk,
                keys=house.keys,
                budgets=house.budgets,
                people=house.people,
                record=house.record,
                lineage=house.lineage,
                reports=house.reports(),
                flush=flush,
                watermarks=house.log.watermarks,
                eraser=house.eraser,
                prover=house.prover,
                keeper=house.keeper,
                anchoring=house.anchoring,
                searching=house.searching,
                work=house.work.door,
                effects=house.work.effects,
                ready=self._problem,
                lag=lambda: house.ingester.lag().sentence(),
                metrics_text=self._metrics,
                clock_ns=house.clock,
                address=f"http://{config.server.listen}",
            )
        )

    async def open(self) -> None:
        """Index what is in the journals, once."""
        await self._house.open()

    async def start(self) -> None:
        """Follow the journals and run the monitors."""
        # Records of a batch live until it is in the index: looking through them for cycles again and again finds none.
        gc.freeze()
        gc.set_threshold(25_000, 20, 20)
        await self._house.start()

    async def told(self, line: bytes) -> None:
        """Nothing of the store is taken anew while it runs."""

    async def stop(self) -> None:
        """Finish the batch under way and close everything."""
        await self._house.stop()

    def _problem(self) -> str | None:
        ingester = self._house.ingester
        problems = [f"the journal of {name} is damaged: {what}" for name, what in ingester.broken.items()]
        problems += [failing] if (failing := ingester.problem()) else []
        return "; ".join(problems) or None

    def _metrics(self) -> bytes:
        ingester = self._house.ingester
        lines = []
        for name, value, what in (
            ("frames", ingester.frames, "Frames indexed by this process."),
            ("records", ingester.records, "Records indexed by this process."),
            ("duplicates", ingester.duplicates, "Spans that were in the index already."),
        ):
            family = f"watchkeeper_ingest_{name}_total"
            lines += [f"# HELP {family} {what}", f"# TYPE {family} counter", f"{family} {value}"]
        lag = ingester.lag()
        for name, level, what in (
            ("lag_segments", ingester.lag_segments(), "Whole segments not yet indexed."),
            ("lag_frames", lag.frames, "Frames not yet indexed; an estimate where there are thousands."),
            ("lag_bytes", lag.size_bytes, "Bytes of the journals not yet indexed."),
            ("lag_seconds", lag.seconds, "Age of the oldest frame not yet indexed."),
            ("failing", int(ingester.problem() is not None), "1 while the index takes nothing."),
            ("decoding_process", int(ingester.decoding_elsewhere), "1 while journals are decoded in a process apart."),
        ):
            family = f"watchkeeper_ingest_{name}"
            lines += [f"# HELP {family} {what}", f"# TYPE {family} gauge", f"{family} {level}"]
        return ("\n".join(lines) + "\n").encode() + self._house.anchoring.metrics()


def gateway_process(config: Config, home: Home) -> GatewayProcess:
    """The gateway process; raises `ConfigError`, `HomeError` or an error of the journal."""
    return GatewayProcess(config, home)


def store_process(config: Config, home: Home) -> StoreProcess:
    """The store process; raises an error of the index when it cannot be opened."""
    return StoreProcess(config, home)


def private_socket(home: Home) -> socket.socket:
    """The store's listening unix socket, which only this user can reach; one left behind by a crash is replaced."""
    path = home.socket
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    return listener


async def serve(process: Process, listener: socket.socket, drain_s: float, transport: str = "libraries") -> None:
    """Serve a process's app on a listening socket until SIGTERM, SIGINT or the end of standard input.

    What is under way then has `drain_s` seconds to end. Lines on standard input are the supervisor's.
    """
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, ending.set)
    loop.add_reader(sys.stdin.fileno(), _watch_parent, loop, ending.set, _Lines(process.told))
    await process.start()
    try:
        if transport == "native":
            await _serve_native(process.app, listener, drain_s, ending)
        else:
            await _serve_libraries(process.app, listener, drain_s, ending)
    finally:
        loop.remove_reader(sys.stdin.fileno())
        await process.stop()


async def _serve_native(app: App, listener: socket.socket, drain_s: float, ending: asyncio.Event) -> None:
    from watchkeeper.server.transport.serving import HttpServer

    server = HttpServer(app)
    await server.start(listener, BACKLOG)
    await ending.wait()
    await server.close(drain_s)


async def _serve_libraries(app: App, listener: socket.socket, drain_s: float, ending: asyncio.Event) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        date_header=False,
        http="httptools",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=math.ceil(drain_s),
        backlog=BACKLOG,
    )
    server = _quiet_server(config)

    async def end() -> None:
        await ending.wait()
        server.should_exit = True

    ender = asyncio.create_task(end(), name="end of serving")
    try:
        await server.serve(sockets=[listener])
    finally:
        ender.cancel()


def _watch_parent(loop: asyncio.AbstractEventLoop, end: Callable[[], None], lines: _Lines) -> None:
    data = os.read(sys.stdin.fileno(), 65_536)
    if data:
        lines.feed(data)
        return
    loop.remove_reader(sys.stdin.fileno())
    end()


class _Lines:
    """Puts lines together from pieces and hands them on, one after the other."""

    def __init__(self, told: Callable[[bytes], Awaitable[None]]) -> None:
        self._told, self._rest = told, bytearray()
        self._last: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        for line in lines:
            self._last = asyncio.ensure_future(self._next(line, self._last))

    async def _next(self, line: bytes, before: asyncio.Future[None] | None) -> None:
        if before is not None:
            await before
        try:
            await self._told(line)
        except Exception:  # noqa: BLE001  a process goes on with what it has; the log says what was wrong
            _log.exception("a line of the supervisor's could not be followed")


def _quiet_server(config: uvicorn.Config) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        """A server that leaves the signals to us: what follows serving must still run."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(config)


def _read_line(file: int) -> bytes:
    """One line and no byte more: settings that were sent meanwhile are for whoever reads on."""
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = os.read(file, 1)
        if not piece:
            break
        line += piece
    return bytes(line)


def main(arguments: list[str]) -> int:
    """Run one process; returns its exit code. The public socket is inherited as the file number in `arguments[1]`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    from watchkeeper.adapters.store.errors import StoreError

    name = arguments[0]
    try:
        config = msgspec.json.decode(_read_line(sys.stdin.fileno()), type=Config)
        home = Home(config.data)
        work: Awaitable[None] = _gateway(config, home, int(arguments[1])) if name == "gateway" else _store(config, home)
        _run(work)
    except (ConfigError, HomeError) as error:
        sys.stderr.write(f"watchkeeper {name}: {error}\n")
        return EXIT_SETTINGS
    except StoreError as error:
        # The gateway goes on without its index: this process alone is tried again.
        sys.stderr.write(f"watchkeeper {name}: {error}\n")
        return 1
    return 0


async def _gateway(config: Config, home: Home, file: int) -> None:
    from watchkeeper.engines.gateway.settings import SettingsError

    try:
        process = gateway_process(config, home)
    except SettingsError as error:
        raise ConfigError(str(error)) from error
    await serve(process, socket.socket(fileno=file), config.server.drain_s, config.server.transport)


async def _store(config: Config, home: Home) -> None:
    process = store_process(config, home)
    listener = private_socket(home)
    try:
        await serve(process, listener, STORE_DRAIN_S, config.server.transport)
    finally:
        with contextlib.suppress(FileNotFoundError):
            home.socket.unlink()


def _run(work: Any) -> None:
    import uvloop

    uvloop.run(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
