"""Measures the gateway beside a bare reverse proxy of the same HTTP libraries: rate, latency, streams, memory.

Both stand before the same stub upstream on loopback, which answers at once; neither it nor the load is a model or a
real application, so the figures are the proxies' own cost. The gateway has keys, records to a real journal and has both
policies (budget twice, loop) in force over SQLite cells. Bare proxy and gateway take turns within one run. The CPU time
that an answer takes in the proxy's process is printed too: it says more than the rate where load, stub and proxy share
few cores.

Run: `python -m benchmarks.gateway [--seconds S] [--json]`, about a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._wire import EVENTS, REPLY

CONNECTIONS = (1, 16, 64)
STREAM_CONNECTIONS = 16
ROUNDS = 3
SECONDS = 1.8
PORT_LINE = "listening on "


def request_body(stream: bool) -> bytes:
    """A chat request of about 2 kB: system prompt, one tool, a history with a tool call; `0000000000` varies."""
    call = {"id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": '{"order": 17}'}}
    tool = {
        "type": "function",
        "function": {
            "name": "lookup",
            "description": "Looks an order up by its number.",
            "parameters": {"type": "object", "properties": {"order": {"type": "integer"}}, "required": ["order"]},
        },
    }
    return json.dumps(
        {
            "model": "gpt-4o-mini",
            "messages": [
                {"role": "system", "content": "You help the customers of a bookshop. " * 20},
                {"role": "user", "content": "Where is my order 17?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": '{"status": "shipped", "days": 2}'},
                {"role": "user", "content": "And when does it come? 0000000000"},
            ],
            "tools": [tool],
            "temperature": 0.2,
            "max_tokens": 200,
            "stream": stream,
        }
    ).encode()


# --- the three servers, each in a process of its own ---------------------------------------------------------------


async def stub(scope: Any, receive: Any, send: Any) -> None:
    """The upstream: reads the request and answers at once, streamed when asked to."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    if b'"stream": true' in body[-40:]:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for event in EVENTS:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
        return
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(REPLY)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": REPLY})


def bare(upstream: str) -> Any:
    """A reverse proxy that does nothing else: uvicorn and aiohttp, headers filtered, bytes passed on as they come."""
    import aiohttp
    from yarl import URL

    session: list[aiohttp.ClientSession] = []
    url = URL(f"{upstream}/chat/completions")
    hop = {b"host", b"connection", b"content-length", b"transfer-encoding", b"accept-encoding", b"date", b"server"}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if not session:
            session.append(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                )
            )
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"] if k not in hop}
        response = await session[0].post(url, data=body, headers=headers)
        back = [(k.lower(), v) for k, v in response.raw_headers if k.lower() not in hop]
        if response.content_type == "text/event-stream":
            await send({"type": "http.response.start", "status": response.status, "headers": back})
            while data := await response.content.readany():
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        data = await response.read()
        back.append((b"content-length", str(len(data)).encode()))
        await send({"type": "http.response.start", "status": response.status, "headers": back})
        await send({"type": "http.response.body", "body": data})

    return app


def watched(upstream: str, folder: Path) -> Any:
    """The gateway with keys, a real journal, and budget and loop in force over SQLite cells."""
    from watchkeeper.adapters.models.prices import Prices
    from watchkeeper.adapters.store.sqlite_cells import SQLiteCells
    from watchkeeper.capabilities.policies.budget import Budget
    from watchkeeper.capabilities.policies.loop import Loop
    from watchkeeper.engines.decide.chain import Chain
    from watchkeeper.engines.decide.link import Link
    from watchkeeper.engines.gateway.app import Gateway
    from watchkeeper.engines.gateway.keys import KeyRing
    from watchkeeper.engines.gateway.settings import Settings, UpstreamSpec
    from watchkeeper.engines.recorder.journal import Journal

    journal = Journal(folder / "journal", "gateway", os.urandom(32))
    cells = SQLiteCells.open(folder / "cells.sqlite")
    links = (
        Link(policy=Budget(per="key", usd=1_000_000.0), instance="per-key"),
        Link(policy=Budget(per="session", usd=1_000_000.0), instance="per-session"),
        Link(policy=Loop(), instance="loop"),
    )
    prices = Prices()
    prices.load()
    keys = KeyRing(cells)
    made = asyncio.run(keys.create("bench"))
    (folder / "key").write_text(made.secret)
    spec = UpstreamSpec(name="stub", base_url=upstream, credential="none", provider="openai")
    settings = Settings(upstreams=(spec,), require_keys=True, policies="bench")
    return Gateway(settings, journal, Chain(links, cells, journal.append, time.time_ns), keys, prices)


def serve(role: str, upstream: str, folder: Path) -> None:
    """Serve one role on a free loopback port until stopped, and say which port."""
    import uvicorn

    app = stub if role == "stub" else bare(upstream) if role == "bare" else watched(upstream, folder)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(f"{PORT_LINE}{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        log_level="warning",
        access_log=False,
        lifespan="on" if role == "gateway" else "off",
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])


# --- the load, in a process of its own -----------------------------------------------------------------------------


class Connection(asyncio.Protocol):
    """One keep-alive connection that sends a request as soon as the last is answered, and times each."""

    def __init__(self, head: bytes, body: bytes, until: float, number: int) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.took: list[float] = []
        self.wrong = 0
        self._head, self._body, self._until = head, body, until
        self._count = number * 10_000_000
        self._buffer = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._count += 1
        self._began = time.perf_counter()
        self._transport.write(self._head + self._body.replace(b"0000000000", b"%010d" % self._count))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, blank, body = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return
        lower = head.lower()
        if b"content-length: " in lower:
            whole = len(body) >= int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        else:
            whole = body.endswith(b"0\r\n\r\n")
        if not whole:
            return
        now = time.perf_counter()
        self.took.append(now - self._began)
        self.wrong += not head.startswith(b"HTTP/1.1 200")
        self._buffer = b""
        if now >= self._until:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def load(port: int, connections: int, seconds: float, stream: bool, key: str) -> dict[str, Any]:
    """Load a server for a while; answers per second, latencies in milliseconds, and how many were no 200."""
    body = request_body(stream)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\nuser-agent: bench\r\nx-watchkeeper-key: {key}\r\n"
        "x-watchkeeper-session: bench\r\nx-watchkeeper-run: bench\r\naccept: */*\r\n\r\n"
    ).encode()
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        await loop.create_connection(lambda n=n: Connection(head, body, began + seconds, n), "127.0.0.1", port)
        for n in range(connections)
    ]
    await asyncio.gather(*(protocol.ended for _, protocol in made))
    passed = time.perf_counter() - began
    took = sorted(each for _, protocol in made for each in protocol.took)
    return {
        "per_s": len(took) / passed,
        "p50_ms": took[len(took) // 2] * 1000,
        "p99_ms": took[int(len(took) * 0.99)] * 1000,
        "answers": len(took),
        "wrong": sum(protocol.wrong for _, protocol in made),
    }


# --- the run --------------------------------------------------------------------------------------------------------


class Server:
    """A role in a process of its own, with what it costs."""

    def __init__(self, role: str, upstream: str, folder: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.gateway", "--role", role, "--upstream", upstream]
        self.process = subprocess.Popen([*command, "--folder", str(folder)], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(PORT_LINE):
            raise RuntimeError(f"The {role} server did not start; its own message stands above.")
        self.port = int(line.removeprefix(PORT_LINE))
        self._wait_until_it_answers()

    def _wait_until_it_answers(self) -> None:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)

    def cpu_s(self) -> float:
        """CPU seconds of the process so far, user and system."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        """Resident memory in MiB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / (1 << 20)

    def stop(self) -> None:
        """Ask the process to end, and see that it does."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[dict[str, Server]]:
    """Stub, bare proxy and gateway, running."""
    running: dict[str, Server] = {}
    try:
        running["stub"] = Server("stub", "", folder)
        upstream = f"http://127.0.0.1:{running['stub'].port}/v1"
        for role in ("bare", "gateway"):
            running[role] = Server(role, upstream, folder)
        yield running
    finally:
        for server in reversed(running.values()):
            server.stop()


def measure(server: Server, connections: int, seconds: float, stream: bool, key: str) -> dict[str, Any]:
    """One turn of load on one server, from a process of its own, with the CPU time each answer took the server."""
    before = server.cpu_s()
    command = [sys.executable, "-m", "benchmarks.gateway", "--role", "load", "--port", str(server.port), "--key", key]
    command += ["--connections", str(connections), "--seconds", str(seconds), *(["--stream"] if stream else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 30)
    result: dict[str, Any] = json.loads(done.stdout)
    result["cpu_us"] = (server.cpu_s() - before) / result["answers"] * 1e6
    return result


def median(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The median turn by answers per second; wrong answers are summed over all."""
    middle = sorted(turns, key=lambda turn: turn["per_s"])[len(turns) // 2]
    return {**middle, "wrong": sum(turn["wrong"] for turn in turns)}


def run(seconds: float) -> dict[str, Any]:
    """Measure everything; bare proxy and gateway take turns."""
    report: dict[str, Any] = {"rows": [], "cores": os.cpu_count()}
    with tempfile.TemporaryDirectory() as name, servers(Path(name)) as running:
        key = (Path(name) / "key").read_text()
        report["rss_at_rest_mib"] = running["gateway"].rss_mib()
        for role in ("bare", "gateway"):
            measure(running[role], 4, 0.5, False, key)
        plans = [(connections, False) for connections in CONNECTIONS] + [(STREAM_CONNECTIONS, True)]
        for connections, stream in plans:
            turns: dict[str, list[dict[str, Any]]] = {"bare": [], "gateway": []}
            for _ in range(ROUNDS):
                for role, made in turns.items():
                    made.append(measure(running[role], connections, seconds, stream, key))
            row = {"connections": connections, "stream": stream, **{role: median(made) for role, made in turns.items()}}
            report["rows"].append(row)
        report["rss_after_mib"] = running["gateway"].rss_mib()
        journal = sum(path.stat().st_size for path in (Path(name) / "journal").rglob("*.wkj"))
        report["journal_mib"] = journal / (1 << 20)
    return report


def show(report: dict[str, Any]) -> None:
    """Print a report as a table."""
    print(f"Simulated load and upstream on loopback, {report['cores']} cores shared by load, stub and proxy.")
    print("                        bare proxy              gateway (keys, recording, 2 budgets + loop)")
    print("connections        per s  CPU us     per s  CPU us   ratio  CPU ratio   added p50   added p99   not 200")
    for row in report["rows"]:
        one, two = row["bare"], row["gateway"]
        what = f"{row['connections']:>3} {'streams' if row['stream'] else 'requests'}"
        print(
            f"{what:<16}{one['per_s']:>8.0f}{one['cpu_us']:>8.0f}{two['per_s']:>10.0f}{two['cpu_us']:>8.0f}"
            f"{two['per_s'] / one['per_s']:>8.0%}{one['cpu_us'] / two['cpu_us']:>11.0%}"
            f"{two['p50_ms'] - one['p50_ms']:>9.2f} ms{two['p99_ms'] - one['p99_ms']:>9.2f} ms"
            f"{one['wrong'] + two['wrong']:>10}"
        )
    print(
        f"gateway memory: {report['rss_at_rest_mib']:.0f} MiB at rest, {report['rss_after_mib']:.0f} MiB after; "
        f"journal written: {report['journal_mib']:.1f} MiB"
    )


def main() -> None:
    """Run as the whole benchmark, or as one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of each turn")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--role", choices=("stub", "bare", "gateway", "load"), help=argparse.SUPPRESS)
    for hidden in ("--upstream", "--folder", "--key"):
        parser.add_argument(hidden, default="", help=argparse.SUPPRESS)
    for hidden in ("--port", "--connections"):
        parser.add_argument(hidden, type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--stream", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "load":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            print(json.dumps(runner.run(load(given.port, given.connections, given.seconds, given.stream, given.key))))
    elif given.role is not None:
        serve(given.role, given.upstream, Path(given.folder))
    else:
        report = run(given.seconds)
        print(json.dumps(report)) if given.json else show(report)


if __name__ == "__main__":
    main()
