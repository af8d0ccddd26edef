"""How fast retention thins and deletes, how much disk it gives back, and what ingest notices of it.

Simulated input: conversations of 12 turns whose history is sent again each turn, random text (so that nothing
compresses away), 2% errors. The journal is written with an old clock, indexed, and then retention works on it while
fresh calls are written and indexed beside it.

    python -m benchmarks.retention [--spans 120000] [--segment-mb 16]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from watchkeeper.compose.store import StoreHouse
from watchkeeper.config import Config, Server
from watchkeeper.engines.keeping.disk_use import disk_use
from watchkeeper.engines.keeping.settings import Retention, Sampling
from watchkeeper.engines.recorder import journal as journal_module
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Cost, Span, Usage

DAY_NS = 24 * 3600 * 10**9
TURNS = 12


class Traffic:
    """Writes calls of many conversations at once, at a clock that is set from outside."""

    def __init__(self, journal: Journal, seed: int) -> None:
        self._journal, self._rng, self.count = journal, Random(seed), 0
        self._seed = seed

    def calls(self, count: int, at_ns: int, step_ns: int) -> None:
        """Some calls, each `step_ns` after the one before."""
        for _ in range(count // TURNS):
            history: list[dict[str, str]] = []
            for _turn in range(TURNS):
                history.append({"role": "user", "content": self._rng.randbytes(600).hex()})
                self._call(history, at_ns)
                at_ns += step_ns

    def _call(self, history: list[dict[str, str]], at_ns: int) -> None:
        self.count += 1
        name = f"{self._seed:04x}{self.count:012x}"
        span = Span(
            trace_id=name * 2, span_id=name, start_ns=at_ns, end_ns=at_ns + 10**9, name="chat m-1", operation="chat",
            status="error" if self._rng.random() < 0.02 else "ok", revision=1, upstream="lab", request_model="m-1",
            response_model="m-1", identity=Identity(session=f"s{self.count // TURNS}"), preview="what was asked",
            usage=Usage(input_tokens=900, output_tokens=80), cost=Cost(usd=0.001, source="lab"),
        )  # fmt: skip
        request = json.dumps({"model": "m-1", "messages": history}).encode()
        reply = json.dumps({"choices": [{"message": {"content": self._rng.randbytes(300).hex()}}]}).encode()

        def records(bodies: tuple[Body, ...]) -> tuple[Span, ...]:
            return (msgspec.structs.replace(span, bodies=bodies),)

        payloads = ((request, "request", "application/json", "d"), (reply, "reply", "application/json", "d"))
        self._journal.write(payloads, records)


class Beside(threading.Thread):
    """Fresh traffic at a steady pace, and the slowest write of it."""

    def __init__(self, traffic: Traffic, per_s: int) -> None:
        super().__init__(daemon=True)
        self._traffic, self._per_s = traffic, per_s
        self.stopping = threading.Event()
        self.written, self.times_ms = 0, list[float]()

    def run(self) -> None:
        began = time.monotonic()
        while not self.stopping.is_set():
            at = time.perf_counter()
            self._traffic.calls(TURNS, time.time_ns(), 1000)
            self.times_ms.append((time.perf_counter() - at) * 1e3 / TURNS)
            self.written += TURNS
            time.sleep(max(0.0, began + self.written / self._per_s - time.monotonic()))

    def said(self, seconds: float) -> str:
        times = sorted(self.times_ms)
        return (
            f"{self.written / seconds:,.0f} calls/s written, a write {times[len(times) // 2]:.2f} ms at p50, "
            f"{times[int(len(times) * 0.99)]:.2f} at p99, {times[-1]:.1f} at most"
        )


def rss_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


async def measure(folder: Path, spans: int, per_s: int) -> None:
    home, now_ns = Home(folder), time.time_ns()
    config = Config(
        server=Server(data=str(folder)), sampling=Sampling(share=0.02),
        retention=Retention(bodies="30d", fields="90d", metadata="400d"),
    )  # fmt: skip
    at_ns = [now_ns]
    journal = Journal(home.journal, "gateway", home.secret("chunks"))
    old = Traffic(journal, 1)
    began = time.monotonic()
    real = time.time_ns
    journal_module.time.time_ns = lambda: at_ns[0]
    step_ns = 20 * DAY_NS // spans
    for start in range(0, spans, 1200):
        at_ns[0] = now_ns - 28 * DAY_NS + start * step_ns
        old.calls(1200, at_ns[0], step_ns)
    journal._roll()
    journal_module.time.time_ns = real
    print(f"wrote {old.count:,} calls in {time.monotonic() - began:.0f} s")
    house = StoreHouse(config, home)
    began = time.monotonic()
    await house.open()
    print(f"indexed them in {time.monotonic() - began:.0f} s; resident memory {rss_mb():.0f} MB")
    before = disk_use(folder)
    await round_of("thinned to what is kept (sampling)", house, journal, folder, per_s, before.total, old.count)
    for days, what in ((25, "all bodies gone"), (85, "texts gone: spans written anew"), (395, "spans gone")):
        house.keeper._clock_ns = lambda days=days: real() + days * DAY_NS
        await round_of(what, house, journal, folder, per_s, disk_use(folder).total, old.count)
    await house.stop()
    journal.close()
    began = time.monotonic()
    holds = prove(home.journal).holds
    print(f"verify: {'holds' if holds else 'DOES NOT HOLD'} ({time.monotonic() - began:.0f} s)")


async def round_of(
    what: str, house: StoreHouse, journal: Journal, folder: Path, per_s: int, before: int, spans: int
) -> None:
    stopping = asyncio.Event()
    following = asyncio.create_task(house.ingester.run(stopping))
    fresh = Beside(Traffic(journal, 100 + before % 10_000), per_s)
    fresh.start()
    await asyncio.sleep(3.0)
    alone = fresh.said(3.0)
    records, fresh.times_ms, fresh.written = house.ingester.records, [], 0
    fresh.stopping.set()
    fresh.join()
    fresh = Beside(Traffic(journal, 20_000 + before % 10_000), per_s)
    fresh.start()
    began, peak = time.monotonic(), rss_mb()
    done = await house.keeper.run()
    seconds = time.monotonic() - began
    fresh.stopping.set()
    fresh.join()
    lag = time.monotonic()
    await house.ingester.drain()
    lag = time.monotonic() - lag
    stopping.set()
    await following
    frames = sum(each.frames for each in done)
    kept = sum(each.kept_traces for each in done)
    print(f"{what}: {len(done)} segments, {frames:,} frames in {seconds:.1f} s ({spans / seconds:,.0f} spans/s)")
    print(f"  kept {kept:,} traces; the disk went from {before / 1e6:,.0f} to {disk_use(folder).total / 1e6:,.0f} MB")
    print(f"  ingest before: {alone}")
    print(f"  ingest beside: {fresh.said(seconds)}; the index was {lag:.1f} s behind at the end")
    print(f"  resident memory {peak:.0f} MB before, {rss_mb():.0f} after; {house.ingester.records - records:,} indexed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spans", type=int, default=120_000)
    parser.add_argument("--segment-mb", type=int, default=16)
    parser.add_argument("--fresh-per-s", type=int, default=300)
    parser.add_argument("--folder", type=Path)
    given: Any = parser.parse_args()
    journal_module.SEGMENT_BYTES = given.segment_mb << 20
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        asyncio.run(measure(Path(folder) / "house", given.spans, given.fresh_per_s))


if __name__ == "__main__":
    main()
