"""Measures OTLP ingest for minutes at a steady rate: accepted, queryable, CPU, memory over time, bytes on disk.

Simulated input, from a seed: exports of 512 GenAI spans with about 2 kB of attributes each, agents and chats whose
histories grow turn by turn. One client has built them beforehand, posts them at the rate asked for with fresh ids, and
shares the cores with the server. The server is `watchkeeper serve` in processes of its own, on loopback, with its data
in a temporary directory. Text comes again after some fifty thousand spans, more than DuckDB compresses together.

"Queryable" is counted by the server as it indexes, and at the end by questions to its API. The run fails when a span
that was answered 200 cannot be found, or when more than `--most-behind-s` seconds of work were left at the end.
Memory is the proportional set size of each process, the decoding process included while there is one.

The floor in the same run, on one core: the same exports parsed by protobuf, and their finished rows given to DuckDB's
appender and written out, with no keys, no attributes of their own and no questions.

Run: `python -m benchmarks.otlp_sustained [--minutes M] [--rate R] [--json]`; the claim is `--minutes 10`.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._exports import SPANS, Exports, fresh
from benchmarks.otlp_ingest import Api, children, cpu_s, ended, pss_mib, said, size_of

MINUTES = 0.5
RATE = 16_000
POOL = 96
CALLS = 9
"""Turns of a conversation; so many give the mean of 2 kB of attributes a span."""
FLOOR_EXPORTS = 40
LOOK_S = 2.0
TAKES_S = 300.0


def post_steadily(port: int, seed: int) -> None:
    """Build exports, say so, then post at the rate and for the seconds that are named; prints what was answered."""
    exports = Exports(seed, CALLS)
    pool = [exports.build() for _ in range(POOL)]
    rng = random.Random(f"ids {seed}")
    print(json.dumps({"attribute_bytes": exports.attribute_bytes / exports.spans}), flush=True)
    order = json.loads(sys.stdin.readline())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"content-type": "application/x-protobuf"}
    told = {"accepted": 0, "refused": 0, "body_bytes": 0}
    took: list[float] = []
    began = time.monotonic()
    for number, body in enumerate(itertools.cycle(pool)):
        due = began + number * SPANS / order["rate"]
        if due >= began + order["seconds"] or time.monotonic() >= began + order["seconds"]:
            break
        time.sleep(max(0.0, due - time.monotonic()))
        start = time.monotonic()
        connection.request("POST", "/v1/traces", fresh(body, rng), headers)
        answer = connection.getresponse()
        rest = answer.read()
        took.append(time.monotonic() - start)
        told["accepted" if answer.status == 200 and not rest else "refused"] += SPANS
        told["body_bytes"] += len(body)
    took.sort()
    times = {f"p{q}_ms": round(took[len(took) * q // 100] * 1000, 1) for q in (50, 99)}
    print(json.dumps({**told, **times, "seconds": time.monotonic() - began}), flush=True)


def client(port: int) -> subprocess.Popen[str]:
    """The load, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.otlp_sustained", "--client", str(port)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Processes:
    """CPU and memory of all processes of a server and of the load, those that come and go included."""

    def __init__(self, supervisor: int, load: int) -> None:
        self._fixed = {"supervisor": supervisor, "load": load, **children(supervisor)}
        self.cpu: dict[str, dict[int, float]] = {name: {} for name in (*self._fixed, "decoder")}
        self.memory: dict[str, list[float]] = {name: [] for name in self.cpu}

    def look(self) -> None:
        """Note what each process has used so far and holds now."""
        for name, pid in self._now():
            try:
                self.cpu[name][pid] = cpu_s(pid)
                self.memory[name].append(pss_mib(pid))
            except (OSError, StopIteration):  # it has just ended; what was noted last counts
                continue

    def used(self) -> dict[str, float]:
        """CPU seconds by process."""
        return {name: sum(by_pid.values()) for name, by_pid in self.cpu.items()}

    def _now(self) -> Iterator[tuple[str, int]]:
        yield from self._fixed.items()
        store = self._fixed["store"]
        for task in Path(f"/proc/{store}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield "decoder", int(child)


def metrics(port: int) -> dict[str, float]:
    """The server's figures about its index."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    return {name: float(value) for name, _, value in (line.partition(" ") for line in lines if "_ingest_" in line[:24])}


def watch(port: int, load: subprocess.Popen[str], processes: Processes) -> list[dict[str, float]]:
    """Look again and again until the load has ended; returns what was seen."""
    seen, began = [], time.monotonic()
    assert load.stdout is not None
    while load.poll() is None:
        processes.look()
        found = metrics(port)
        seen.append(
            {
                "at_s": time.monotonic() - began,
                "records": found.get("watchkeeper_ingest_records_total", 0.0),
                "lag_s": found.get("watchkeeper_ingest_lag_seconds", 0.0),
                "lag_bytes": found.get("watchkeeper_ingest_lag_bytes", 0.0),
                "decoder": found.get("watchkeeper_ingest_decoding_process", 0.0),
            }
        )
        time.sleep(LOOK_S)
    return seen


def run_server(folder: Path, minutes: float, rate: float) -> dict[str, Any]:
    """Load the real server steadily and watch it."""
    command = [sys.executable, "-m", "watchkeeper", "serve", "--json", "--listen", "127.0.0.1:0"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--data", str(folder / "data")], cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True
        )
    with ended(server):
        port = int(said(server)["address"].rpartition(":")[2])
        api = Api(port)
        api.until_ready()
        load = client(port)
        with ended(load):
            attribute_bytes = said(load)["attribute_bytes"]
            processes = Processes(server.pid, load.pid)
            processes.look()
            before = processes.used()
            began = time.monotonic()
            assert load.stdin is not None
            load.stdin.write(json.dumps({"rate": rate, "seconds": minutes * 60}) + "\n")
            load.stdin.flush()
            seen = watch(port, load, processes)
            told = said(load)
        posted_s = time.monotonic() - began
        in_time = metrics(port)["watchkeeper_ingest_records_total"]
        api.ask("/api/v1/ingest/flush", "POST", TAKES_S)
        drained_s = time.monotonic() - began
        processes.look()
        used = {name: value - before.get(name, 0.0) for name, value in processes.used().items()}
        found = api.spans()
        time.sleep(7)  # an idle store writes its last rows into the file proper and gives memory back
        processes.look()
    return {
        **told,
        "attribute_bytes": attribute_bytes,
        "found": found,
        "per_s_accepted": told["accepted"] / told["seconds"],
        "per_s_queryable": in_time / posted_s,
        "drain_s": drained_s - posted_s,
        "cpu_s_per_10k": {name: value / max(1, found) * 10_000 for name, value in used.items()},
        "memory_mib": {name: _spread(values) for name, values in processes.memory.items() if values},
        "seen": seen,
        "journal_bytes": size_of(folder / "data" / "journal") / max(1, found),
        "index_bytes": size_of(folder / "data" / "index") / max(1, found),
    }


def _spread(values: list[float]) -> dict[str, float]:
    """First, highest in the first and in the last third of the time, highest of all, and last."""
    third = max(1, len(values) // 3)
    return {
        "start": values[0],
        "early": max(values[:third]),
        "late": max(values[-third:]),
        "peak": max(values),
        "end": values[-1],
    }


def run_floor(folder: Path) -> dict[str, float]:
    """Parse the same exports, and give their finished rows to DuckDB's appender; CPU time of this process."""
    from watchkeeper.adapters.formats.otlp import decode
    from watchkeeper.adapters.formats.otlp_wire import parse
    from watchkeeper.adapters.store.duckdb_file import open_file
    from watchkeeper.adapters.store.rows import packed_row
    from watchkeeper.queries.tables import SPANS as SHAPE

    exports = Exports(1, CALLS)
    bodies = [exports.build() for _ in range(FLOOR_EXPORTS)]
    began = time.process_time()
    for body in bodies:
        parse(body)
    parsed_s = time.process_time() - began
    connection = open_file(folder / "floor.duckdb", 256, 1)
    connection.execute("CREATE TABLE bare AS SELECT * FROM spans LIMIT 0")
    width, place = len(SHAPE.fields), SHAPE.names().index("attributes")
    wide = len(connection.execute("SELECT * FROM bare").description)
    appended_s, spans = 0.0, 0
    for body in bodies:
        rows = [packed_row(span) for span in decode(body).spans]
        ready = [[*row[:place], json.dumps(row[place]), *row[place + 1 :], *[None] * (wide - width)] for row in rows]
        began = time.process_time()
        appender = connection.appender("bare")
        appender.append_rows(ready)
        appender.flush()
        appended_s += time.process_time() - began
        spans += len(rows)
    began = time.process_time()
    connection.execute("CHECKPOINT log")
    appended_s += time.process_time() - began
    connection.close()
    return {"parse_us": parsed_s / spans * 1e6, "append_us": appended_s / spans * 1e6}


def show(report: dict[str, Any]) -> None:
    """Print a report."""
    own, floor = report["server"], report["floor"]
    print(
        f"Simulated input on loopback: exports of {SPANS} spans with {own['attribute_bytes']:,.0f} bytes of attributes "
        f"each; {report['rate']:,.0f} spans/s asked for over {own['seconds'] / 60:.1f} minutes; "
        f"{report['cores']} cores shared by load and server."
    )
    both = floor["parse_us"] + floor["append_us"]
    print(f"\n{'':<44}{'spans/s':>10}{'CPU us a span':>15}")
    print(f"{'floor: bare parse and append, one core':<44}{1e6 / both:>10,.0f}{both:>15.1f}")
    print(
        f"{'accepted (answered 200)':<44}{own['per_s_accepted']:>10,.0f}{own['cpu_s_per_10k']['gateway'] * 100:>15.1f}"
    )
    total = sum(own["cpu_s_per_10k"].values()) * 100
    print(f"{'queryable while the load went on':<44}{own['per_s_queryable']:>10,.0f}{total:>15.1f}")
    print("aim                                             15,000")
    print(f"answers p50 {own['p50_ms']:.0f} ms, p99 {own['p99_ms']:.0f} ms; refused {own['refused']:,}")
    print(f"acknowledged {own['accepted']:,}, found through the API {own['found']:,}; drain {own['drain_s']:.1f} s")
    journal, index = own["journal_bytes"], own["index_bytes"]
    print(f"on disk {journal + index:,.0f} bytes a span (aim 800): journal {journal:,.0f}, index {index:,.0f}")
    print(f"\n{'process':<12}{'CPU s per 10k':>14}  memory in MiB: start, peak of first and last third, end")
    for name, memory in own["memory_mib"].items():
        figures = "".join(f"{memory[each]:>8.0f}" for each in ("start", "early", "late", "end"))
        print(f"{name:<12}{own['cpu_s_per_10k'][name]:>14.3f}  {figures}")
    print(f"\n{'second':>8}{'queryable/s':>14}{'behind s':>10}{'behind MB':>11}{'decoder':>9}")
    seen = own["seen"]
    step = max(1, len(seen) // 12)
    for earlier, later in zip(seen[::step], seen[step::step], strict=False):
        rate = (later["records"] - earlier["records"]) / (later["at_s"] - earlier["at_s"])
        apart = "apart" if later["decoder"] else "-"
        print(f"{later['at_s']:>8.0f}{rate:>14,.0f}{later['lag_s']:>10.1f}{later['lag_bytes'] / 1e6:>11.1f}{apart:>9}")


def main() -> int:
    """Run the benchmark, or be its load; returns 1 when a span answered 200 is not found or the index fell behind."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long the load lasts")
    parser.add_argument("--rate", type=float, default=RATE, help="spans a second that are asked for")
    parser.add_argument("--most-behind-s", type=float, default=30.0, help="the lag at the end that is still sustained")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--client", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        post_steadily(given.client, 1)
        return 0
    with tempfile.TemporaryDirectory() as bare, tempfile.TemporaryDirectory() as own:
        report = {
            "rate": given.rate,
            "cores": len(os.sched_getaffinity(0)),
            "floor": run_floor(Path(bare)),
            "server": run_server(Path(own), given.minutes, given.rate),
        }
    if given.json:
        print(json.dumps(report))
    else:
        show(report)
    behind = report["server"]["drain_s"]
    if report["server"]["found"] != report["server"]["accepted"]:
        print("a span that was answered 200 cannot be found, or is there twice", file=sys.stderr)
        return 1
    if behind > given.most_behind_s:
        print(f"not sustained: {behind:.0f} s of work were left at the end", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
