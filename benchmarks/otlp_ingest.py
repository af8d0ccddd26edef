"""Measures OTLP ingest through the real server: spans a second accepted and queryable, bytes a span, memory.

Simulated input, from a seed: exports of 512 GenAI spans (agents, chats with a history that grows turn by turn, tools)
with about 2 kB of attributes each, in words drawn by Zipf's law. Each client builds its exports once and sends them
again and again with fresh ids, so the load costs the cores little; text comes again after some ten thousand spans.

The server is `watchkeeper serve` in processes of its own with its data in a temporary directory, on loopback. Clients
post for so many seconds; then the drain is waited for and counted. "Queryable" is the spans answered 200 over all that
time, and the count is asked of the API. The floor in the same run is a bare ASGI app on the same HTTP libraries that
writes the same bodies to a file: it decodes, compresses and indexes nothing.

Run: `python -m benchmarks.otlp_ingest [--seconds S] [--clients N] [--json]`, about two minutes, most of it drain.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._exports import SPANS, Exports, fresh

POOL = 24
SECONDS = 10.0
FLOOR_SECONDS = 5.0
CLIENTS = 3
DRAIN_S = 200.0
OPERATIONS = ("invoke_agent", "chat", "execute_tool")


# --- the processes that make the load -------------------------------------------------------------------------------


def post_for(port: int, seed: int) -> None:
    """Build exports, say so, wait for the word, post for the seconds it names, and print what was answered."""
    exports = Exports(seed)
    pool = [exports.build() for _ in range(POOL)]
    rng = random.Random(f"ids {seed}")
    print(json.dumps({"attribute_bytes": exports.attribute_bytes / exports.spans}), flush=True)
    seconds = float(sys.stdin.readline())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"content-type": "application/x-protobuf"}
    told = {"accepted": 0, "refused": 0, "body_bytes": 0}
    took: list[float] = []
    ends = time.monotonic() + seconds
    for body in itertools.cycle(pool):
        began = time.monotonic()
        if began >= ends:
            break
        connection.request("POST", "/v1/traces", fresh(body, rng), headers)
        answer = connection.getresponse()
        rest = answer.read()
        took.append(time.monotonic() - began)
        told["accepted" if answer.status == 200 and not rest else "refused"] += SPANS
        told["body_bytes"] += len(body)
    took.sort()
    times = {f"p{q}_ms": round(took[len(took) * q // 100] * 1000, 1) for q in (50, 99)}
    print(json.dumps(told | times), flush=True)


def floor(folder: Path) -> None:
    """The bare app: takes a body, writes it to a file, answers 200; on a free port that it prints."""
    import uvicorn

    file = os.open(folder / "bodies", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        pieces = []
        while True:
            message = await receive()
            pieces.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        os.write(file, b"".join(pieces))
        kind = (b"content-type", b"application/x-protobuf")
        await send({"type": "http.response.start", "status": 200, "headers": [kind, (b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off", http="httptools")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


# --- the run --------------------------------------------------------------------------------------------------------


def role(name: str, **given: Any) -> subprocess.Popen[str]:
    """This file in another role, in a process of its own."""
    options = [word for key, value in given.items() for word in (f"--{key}", str(value))]
    command = [sys.executable, "-m", "benchmarks.otlp_ingest", "--role", name, *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next line that a process prints."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("A process of the benchmark ended early; its own message stands above.")
    answer: dict[str, Any] = json.loads(line)
    return answer


@contextlib.contextmanager
def ended(process: subprocess.Popen[str], within_s: float = 60) -> Iterator[None]:
    """See that a process ends with the block."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def load(port: int, clients: int, seconds: float) -> dict[str, Any]:
    """Post from several processes at once and add up what they were told."""
    posting = [role("client", port=port, seed=seed) for seed in range(1, clients + 1)]
    with contextlib.ExitStack() as stack:
        for process in posting:
            stack.enter_context(ended(process))
        sizes = [said(process)["attribute_bytes"] for process in posting]
        began = time.monotonic()
        for process in posting:
            assert process.stdin is not None
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        answers = [said(process) for process in posting]
        passed = time.monotonic() - began
    total = {name: sum(each[name] for each in answers) for name in ("accepted", "refused", "body_bytes")}
    slowest = {name: max(each[name] for each in answers) for name in ("p50_ms", "p99_ms")}
    attributes = sum(sizes) / len(sizes)
    return {**total, **slowest, "seconds": passed, "began": began, "attribute_bytes": attributes}


class Memory:
    """The proportional set size of some processes, looked at four times a second: first, highest and last, in MiB."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._done = threading.Event()
        self.start = {name: pss_mib(pid) for name, pid in pids.items()}
        self.peak, self.end = dict(self.start), dict(self.start)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look a last time."""
        self._done.set()
        self._thread.join()
        self.end = {name: pss_mib(pid) for name, pid in self._pids.items()}

    def _look(self) -> None:
        while not self._done.wait(0.25):
            for name, pid in self._pids.items():
                self.peak[name] = max(self.peak[name], pss_mib(pid))


def pss_mib(pid: int) -> float:
    """Proportional set size: shared pages count by share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> dict[str, int]:
    """The two processes of a server, by name."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        found.update({name.decode(): int(child) for name in (b"gateway", b"store") if name in words})
    return found


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder, as du counts them."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


class Api:
    """Requests to the server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, path: str, method: str = "GET", timeout_s: float = 60) -> Any:
        """The JSON of one answer; raises `RuntimeError` when it is no 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout_s)
        body = b"{}" if method == "POST" else None
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {data[:300]!r}")
        return json.loads(data)

    def until_ready(self) -> None:
        """Wait for both processes."""
        for _ in range(600):
            with contextlib.suppress(OSError, RuntimeError):
                if self.ask("/readyz")["ready"]:
                    return
            time.sleep(0.1)
        raise TimeoutError("the server was not ready within a minute")

    def spans(self) -> int:
        """How many spans can be found."""
        asked = (f"/api/v1/latency?operation={name}&width=1d" for name in OPERATIONS)
        return sum(item["calls"] for path in asked for item in self.ask(path)["items"])


def run_server(folder: Path, clients: int, seconds: float) -> dict[str, Any]:
    """Load the real server, drain it, and count."""
    command = [sys.executable, "-m", "watchkeeper", "serve", "--json", "--listen", "127.0.0.1:0"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--data", str(folder / "data")], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        )
    with ended(server):
        port = int(said(server)["address"].rpartition(":")[2])
        api = Api(port)
        api.until_ready()
        pids = children(server.pid)
        memory = Memory(pids)
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        told = load(port, clients, seconds)
        behind = told["accepted"] - api.spans()
        flushed = api.ask("/api/v1/ingest/flush", "POST", DRAIN_S)
        whole_s = time.monotonic() - told["began"]
        found = api.spans()
        cpu = {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
        time.sleep(7)  # an idle store writes its last rows into the file proper and gives memory back
        memory.stop()
    journal, index = size_of(folder / "data" / "journal"), size_of(folder / "data" / "index")
    return {
        **told,
        "per_s_accepted": told["accepted"] / told["seconds"],
        "per_s_queryable": found / whole_s,
        "drain_s": whole_s - told["seconds"],
        "behind": behind,
        "flushed": flushed,
        "found": found,
        "cpu_us": {name: used / found * 1e6 for name, used in cpu.items()},
        "journal_bytes": journal / found,
        "index_bytes": index / found,
        "memory_mib": {"start": memory.start, "peak": memory.peak, "end": memory.end},
    }


def run_floor(folder: Path, clients: int) -> dict[str, Any]:
    """Load the bare app."""
    server = role("floor", folder=folder)
    with ended(server, 10):
        before = cpu_s(server.pid)
        told = load(said(server)["port"], clients, FLOOR_SECONDS)
        cpu = cpu_s(server.pid) - before
    kept = size_of(folder) / told["accepted"]
    return {
        **told,
        "per_s_accepted": told["accepted"] / told["seconds"],
        "cpu_us": cpu / told["accepted"] * 1e6,
        "bytes": kept,
    }


def show(report: dict[str, Any]) -> None:
    """Print a report."""
    bare, own = report["floor"], report["server"]
    print(
        f"Simulated input on loopback: {report['clients']} clients, exports of {SPANS} spans with "
        f"{own['attribute_bytes']:,.0f} bytes of attributes each, {report['cores']} cores shared by clients and server."
    )
    print(f"{'':<38}{'spans/s':>10}{'CPU us a span':>15}{'bytes a span':>14}")
    print(
        f"{'floor: bodies to a file, no questions':<38}{bare['per_s_accepted']:>10,.0f}{bare['cpu_us']:>15.0f}"
        f"{bare['bytes']:>14,.0f}"
    )
    cpu, disk = own["cpu_us"], own["journal_bytes"] + own["index_bytes"]
    print(f"{'accepted (answered 200)':<38}{own['per_s_accepted']:>10,.0f}{cpu['gateway']:>15.0f}")
    print(f"{'queryable (drain counted)':<38}{own['per_s_queryable']:>10,.0f}{sum(cpu.values()):>15.0f}{disk:>14,.0f}")
    print("aim                                       10,000 queryable              under 1,500")
    print(
        f"posted for {own['seconds']:.1f} s, then {own['drain_s']:.1f} s of drain for {own['behind']:,} spans; "
        f"answers p50 {own['p50_ms']:.0f} ms, p99 {own['p99_ms']:.0f} ms; refused {own['refused']}"
    )
    print(
        f"acknowledged {own['accepted']:,}, found through the API {own['found']:,}; on disk: "
        f"journal {own['journal_bytes']:,.0f}, index {own['index_bytes']:,.0f} bytes a span"
    )
    for name in ("gateway", "store"):
        one = {when: own["memory_mib"][when][name] for when in ("start", "peak", "end")}
        print(f"memory of the {name:<8} {one['start']:.0f} MiB at start, {one['peak']:.0f} peak, {one['end']:.0f} end")


def main() -> int:
    """Run as the whole benchmark or as one of its processes; returns 1 when a span answered 200 cannot be found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long the clients post")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--role", choices=("client", "floor"), help=argparse.SUPPRESS)
    for hidden in ("--port", "--seed"):
        parser.add_argument(hidden, type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role == "client":
        post_for(given.port, given.seed)
        return 0
    if given.role == "floor":
        floor(Path(given.folder))
        return 0
    with tempfile.TemporaryDirectory() as bare, tempfile.TemporaryDirectory() as own:
        report = {
            "cores": os.cpu_count(),
            "clients": given.clients,
            "floor": run_floor(Path(bare), given.clients),
            "server": run_server(Path(own), given.clients, given.seconds),
        }
    print(json.dumps(report)) if given.json else show(report)
    return 0 if report["server"]["found"] == report["server"]["accepted"] else 1


if __name__ == "__main__":
    sys.exit(main())
