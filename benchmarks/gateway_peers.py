"""Sets the gateway beside nginx, a bare proxy of protocols, a bare proxy of libraries, and LiteLLM's proxy.

One run, one core for the system under test, another for load and stub upstream, the systems taking turns, medians of
the turns. The stub answers at once, so every figure is the proxy's own cost and none is a model's. The main figure is
CPU time, as requests per core-second: it changes less than rates and latencies when others use the machine.

The gateway is the process that `watchkeeper serve` starts, with keys asked for, credentials masked and everything
recorded to a real journal; `limits` adds two budgets and the loop breaker over SQLite cells, `required` waits for the
disk before the upstream is asked.

Run: `python -m benchmarks.gateway_peers [--turns N] [--seconds S] [--soak N] [--litellm] [--json]`; some four
minutes. What is not installed is said and left out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._peers import STUB_CORE, SYSTEM_CORE, Absent, System, core, gateway, litellm, load, nginx, own

TURNS = 2
SECONDS = 0.8
SOAK = 10_000
RATE_PER_S = 500
LITELLM_FOLDER = Path(tempfile.gettempdir()) / "watchkeeper-bench-litellm"
SLOW = "litellm"
SLOW_RATE_PER_S = 20


class Row(NamedTuple):
    """A kind of load, and which systems it is for (all when empty)."""

    name: str
    plan: dict[str, Any]
    only: frozenset[str] = frozenset()


KINDS = frozenset({"gateway", "gateway limits", "gateway required", "gateway libraries", "nginx"})
ROWS = (
    Row("1 connection", {"connections": 1, "size_bytes": 2000, "stream": False}),
    Row("16 connections", {"connections": 16, "size_bytes": 2000, "stream": False}),
    Row("64 connections", {"connections": 64, "size_bytes": 2000, "stream": False}),
    Row("16 streams", {"connections": 16, "size_bytes": 2000, "stream": True}),
    Row("1 kB, 16 conn", {"connections": 16, "size_bytes": 1000, "stream": False}, KINDS),
    Row("28 kB, 16 conn", {"connections": 16, "size_bytes": 28_000, "stream": False}, KINDS),
    Row("200 kB, 16 conn", {"connections": 16, "size_bytes": 200_000, "stream": False}, KINDS),
)


def starters(given: argparse.Namespace, port: int, folder: Path) -> dict[str, Callable[[], System]]:
    """How each system is started."""
    return {
        "nginx": lambda: nginx(port, folder),
        "protocols": lambda: own("protocols", port, folder),
        "libraries": lambda: own("libraries", port, folder),
        "gateway": lambda: gateway("gateway", port, folder),
        "gateway limits": lambda: gateway("gateway limits", port, folder, limits=True),
        "gateway required": lambda: gateway("gateway required", port, folder, recording="required"),
        "gateway libraries": lambda: gateway("gateway libraries", port, folder, transport="libraries"),
        "litellm": lambda: litellm(port, folder, Path(given.litellm_folder), given.litellm),
    }


@contextlib.contextmanager
def running(given: argparse.Namespace, folder: Path, report: dict[str, Any]) -> Iterator[dict[str, System]]:
    """The stub and all systems that are there; the others are named in the report's `absent`."""
    systems: dict[str, System] = {}
    try:
        systems["stub"] = stub = own("stub", 0, folder, STUB_CORE)
        for name, start in starters(given, stub.port, folder).items():
            if given.only and name not in given.only:
                continue
            try:
                systems[name] = start()
                systems[name].name = name
            except Absent as absent:
                report["absent"][name] = str(absent)
        yield systems
    finally:
        for system in reversed(systems.values()):
            system.stop()


def measure(systems: dict[str, System], row: Row, turns: int, **more: Any) -> dict[str, dict[str, float]]:
    """A row: every system takes its turn, as often as asked; the medians of each figure."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in systems if not row.only or name in row.only}
    for _ in range(turns):
        for name, made in taken.items():
            plan = {**row.plan, **more}
            if name == SLOW and plan.get("rate_per_s"):
                plan["rate_per_s"] = SLOW_RATE_PER_S
            made.append(load(systems[name], **plan))
    return {name: _medians(made) for name, made in taken.items()}


def _medians(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    middle = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    return {**middle, "wrong": sum(turn["wrong"] for turn in turns)}


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Measure everything there is."""
    report: dict[str, Any] = {"absent": {}, "rows": {}, "cores": len(os.sched_getaffinity(0))}
    report["shared"] = core(STUB_CORE) == core(SYSTEM_CORE)
    with tempfile.TemporaryDirectory() as name, running(given, Path(name), report) as systems:
        proxies = {name: each for name, each in systems.items() if name != "stub"}
        for each in proxies.values():
            load(each, connections=4, size_bytes=2000, stream=False, seconds=0.7)
        report["rest_mib"] = {name: each.rss_mib() for name, each in proxies.items()}
        for row in ROWS:
            report["rows"][row.name] = measure(proxies, row, given.turns, seconds=given.seconds)
        for what, stream, rate in (("requests", False, RATE_PER_S), ("streams", True, RATE_PER_S // 10)):
            row = Row(what, {"connections": 32, "size_bytes": 2000, "stream": stream})
            report[f"at_rate_{what}"] = measure(systems, row, given.turns, seconds=given.seconds * 2, rate_per_s=rate)
        report["soak"] = {
            name: _soak(each, given.soak) for name, each in proxies.items() if name in ("gateway", "gateway limits")
        }
    return report


def _soak(system: System, calls: int) -> dict[str, float]:
    """Memory over many calls, in MiB: at four points of the way, for growth that does not end."""
    levels = {"0": system.rss_mib()}
    made = wrong = 0
    for part in range(1, 5):
        goal = calls * part // 4
        while made < goal:
            most = min(goal - made, 50_000)
            done = load(system, connections=16, size_bytes=2000, stream=False, seconds=120, most=most)
            made, wrong = made + int(done["answers"]), wrong + int(done["wrong"])
        levels[str(made)] = system.rss_mib()
    return {**levels, "wrong": wrong}


def show(report: dict[str, Any]) -> None:
    """Print a report as tables."""
    print(f"Stub upstream and load on loopback; {report['cores']} cores.")
    if report["shared"]:
        print(
            "There is one core only: load, stub and system share it. The CPU figures hold, rates and latencies do not."
        )
    for name, why in report["absent"].items():
        print(f"left out: {name}: {why}.")
    print(
        f"\n{'load':<17}{'system':<19}{'per s':>8}{'CPU us':>9}{'per core-s':>12}"
        f"{'of nginx':>10}{'p50 ms':>9}{'p99 ms':>9}"
    )
    for row, made in report["rows"].items():
        best = made.get("nginx", {}).get("cpu_us", math.nan)
        for name, each in made.items():
            wrong = f"  {each['wrong']:.0f} not 200" if each["wrong"] else ""
            print(
                f"{row:<17}{name:<19}{each['per_s']:>8.0f}{each['cpu_us']:>9.0f}{1e6 / max(each['cpu_us'], 0.1):>12.0f}"
                f"{best / max(each['cpu_us'], 0.1):>10.0%}{each['p50_ms']:>9.2f}{each['p99_ms']:>9.2f}{wrong}"
            )
    for what in ("requests", "streams"):
        rows = report[f"at_rate_{what}"]
        base = rows["stub"]
        figure = "first_p50_ms" if what == "streams" else "p50_ms"
        rate = RATE_PER_S if what == "requests" else RATE_PER_S // 10
        print(f"\nadded at {rate} {what}/s ({SLOW}: {SLOW_RATE_PER_S}/s), over asking the stub itself")
        for name, each in rows.items():
            if name == "stub":
                continue
            first = f"{'first chunk' if what == 'streams' else 'p50'} {each[figure] - base[figure]:.2f} ms"
            print(
                f"{name:<19}{first:<22} p95 {each['p95_ms'] - base['p95_ms']:.2f} ms, "
                f"p99 {each['p99_ms'] - base['p99_ms']:.2f} ms, CPU {each['cpu_us'] / 1000:.2f} s per 1,000"
            )
    print()
    for name, levels in report["soak"].items():
        steps = ", ".join(f"{value:.0f} after {calls}" for calls, value in levels.items() if calls != "wrong")
        print(f"{name}: memory in MiB {steps} calls ({levels['wrong']:.0f} not 200)")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=TURNS, help="turns of each system in each row")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="length of a turn")
    parser.add_argument("--soak", type=int, default=SOAK, help="calls over which memory is watched (up to a million)")
    parser.add_argument("--only", nargs="*", default=[], help="these systems only")
    parser.add_argument("--litellm", action="store_true", help="install LiteLLM where it is missing")
    parser.add_argument("--litellm-folder", default=str(LITELLM_FOLDER), help="the environment of LiteLLM")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    given = parser.parse_args()
    given.soak = min(given.soak, 1_000_000)
    report = run(given)
    print(json.dumps(report)) if given.json else show(report)


if __name__ == "__main__":
    main()
