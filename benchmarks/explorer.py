"""The questions of a trace explorer over a large index, idle and beside ingest, each beside hand-written SQL.

Every question goes the way that the API and `watchkeeper ask` go: its name and words, the registry, the Select, the
store. The floor is SQL written by hand for the same answer, on the same file and in the same process. Simulated input
(see `_explorer_index`). Beside ingest means that another process writes so many spans a second into a journal, which
this one follows, decodes and indexes as the store process does.

    python -m benchmarks.explorer [--spans 300000] [--days 30] [--index FILE] [--rounds 30] [--ingest 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks._explorer_index import END_NS, make
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.compose.store import LogReader
from watchkeeper.engines.recorder.ingest import Ingester
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.queries.registry import question_from
from watchkeeper.queries.timespan import DAY_NS, MINUTE_NS

MEMORY_MB = 256
LIMIT_MS = 300
_CALLS = "operation IN ('chat', 'text_completion', 'embeddings') AND duplicate_of IS NULL"
_DAY = END_NS - DAY_NS
MODEL = "gpt-5-2026-01-01"
SORTS = (("cost", "sum(cost_usd)"), ("calls", "count(*)"), ("errors", "count(*) FILTER (status = 'error')"))


class Asked(NamedTuple):
    """One question: what it is called, its name and words, and the floor's SQL."""

    title: str
    question: str
    words: dict[str, object]
    floor: str


def asked(rng: Random, spans: int) -> list[Asked]:
    """The questions, with other values each time."""
    trace = hashlib.md5(f"t{rng.randrange(spans // 10)}".encode(), usedforsecurity=False).hexdigest()
    quantiles = ", ".join(f"quantile_cont(duration_ns, {q})" for q in (0.5, 0.9, 0.95, 0.99))
    return [
        Asked(
            "one trace by id, no time given", "trace", {"trace_id": trace},
            f"SELECT * FROM spans WHERE trace_id = '{trace}'",
        ),
        Asked(
            "last 100 by model and status", "spans", {"model": MODEL, "status": "error"},
            f"SELECT trace_id, span_id, start_ns, preview FROM spans WHERE model = '{MODEL}' AND status = 'error' "
            "ORDER BY start_ns DESC LIMIT 100",
        ),
        Asked(
            "latency percentiles a minute, 24 h", "latency", {"since": "24h"},
            f"SELECT start_ns // {MINUTE_NS}, count(*), {quantiles} FROM spans WHERE start_ns >= {_DAY} "
            "AND operation = 'chat' AND duration_ns IS NOT NULL GROUP BY 1",
        ),
        Asked(
            "cost by model and day, 30 d", "costs", {"since": "30d"},
            f"SELECT start_ns // {DAY_NS}, model, count(*), sum(input_tokens), sum(output_tokens), sum(cost_usd) "
            f"FROM spans WHERE {_CALLS} GROUP BY 1, 2",
        ),
        *(
            Asked(
                f"top sessions by {by}, {since}", "sessions", {"since": since, "sort": by},
                f"SELECT session, {what} AS n FROM spans WHERE start_ns >= {END_NS - days * DAY_NS} "
                "AND session IS NOT NULL GROUP BY 1 ORDER BY 2 DESC LIMIT 50",
            )
            for since, days in (("24h", 1), ("30d", 30))
            for by, what in SORTS
        ),
        *_more(rng, quantiles.replace("duration_ns", "first_token_ns")),
    ]  # fmt: skip


def _more(rng: Random, first: str) -> list[Asked]:
    """Attributes, scores, first tokens and the list of traces; `first` is the floor's SQL for its percentiles."""
    customer, tier = f"cus_{rng.randrange(20_000)}", rng.choice(["free", "pro", "enterprise"])
    month = {"since": "30d"}
    return [
        Asked(
            "attribute = a rare value, last 100", "spans", {"attribute": f"customer.id={customer}"},
            f"SELECT trace_id, span_id, start_ns, preview FROM spans WHERE attribute_10 = '{customer}' "
            "ORDER BY start_ns DESC LIMIT 100",
        ),
        Asked(
            "attribute = a common value, last 100", "spans", {"attribute": f"customer.tier={tier}"},
            f"SELECT trace_id, span_id, start_ns, preview FROM spans WHERE attribute_09 = '{tier}' "
            "ORDER BY start_ns DESC LIMIT 100",
        ),
        Asked(
            "attribute without a column, last 100", "spans", {"attribute": "incident.note=seen by kilo"},
            "SELECT trace_id, span_id, start_ns, preview FROM spans WHERE contains(attributes, 'seen by kilo') "
            "ORDER BY start_ns DESC LIMIT 100",
        ),
        Asked(
            "attribute that never came", "spans", {"attribute": "no.such.key=1"}, "SELECT 1 FROM spans LIMIT 0",
        ),
        Asked(
            "SLI over all scores, 30 d", "sli", {"score": "helpful", "width": "1d", **month},
            f"SELECT event_ns // {DAY_NS}, count(*) FILTER (value >= 1), count(value) FROM scores GROUP BY 1",
        ),
        Asked(
            "SLI of one model's spans, 30 d", "sli", {"score": "helpful", "width": "1d", "model": MODEL, **month},
            f"SELECT event_ns // {DAY_NS}, count(*) FILTER (value >= 1), count(value) FROM scores "
            f"WHERE hash(subject_id) IN (SELECT hash(span_id) FROM spans WHERE model = '{MODEL}') GROUP BY 1",
        ),
        Asked(
            "first-token percentiles a minute, 24 h", "first_tokens", {"since": "24h"},
            f"SELECT start_ns // {MINUTE_NS}, count(*), {first} FROM spans WHERE start_ns >= {_DAY} "
            f"AND {_CALLS} GROUP BY 1",
        ),
        Asked(
            "list of traces, newest 50, 24 h", "traces", {"since": "24h", "limit": 50},
            f"SELECT trace_id, min(start_ns), count(*), sum(cost_usd) FROM spans WHERE start_ns >= {_DAY} GROUP BY 1 "
            "ORDER BY 2 DESC LIMIT 50",
        ),
    ]  # fmt: skip


class Times:
    """How long something took, in milliseconds."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def quantile(self, q: float) -> float:
        """A quantile, of those measured."""
        ordered = sorted(self.taken)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


async def measure(log: DuckDBLog, spans: int, rounds: int, floors: bool) -> dict[str, tuple[Times, Times, int]]:
    """Ask everything so often, in turn."""
    reader, rng = LogReader(log), Random(7)
    floor_cursor = log._connection.cursor()
    floor_cursor.execute("USE log")
    found: dict[str, tuple[Times, Times, int]] = {}
    for _ in range(rounds):
        for each in asked(rng, spans):
            own, floor, _ = found.setdefault(each.title, (Times(), Times(), 0))
            question = question_from(each.question, each.words, END_NS)
            began = time.perf_counter()
            answer = await reader.ask(question)
            own.taken.append((time.perf_counter() - began) * 1000)
            found[each.title] = own, floor, len(answer.items)
            if floors:
                began = time.perf_counter()
                await asyncio.to_thread(_fetched, floor_cursor, each.floor)
                floor.taken.append((time.perf_counter() - began) * 1000)
    floor_cursor.close()
    return found


def _fetched(cursor: Any, sql: str) -> int:
    return len(cursor.execute(sql).fetchall())


def scanned(log: DuckDBLog, spans: int) -> dict[str, int]:
    """How many rows each question reads, over all its scans, as the database tells."""
    from watchkeeper.adapters.store.compile import Dialect, compile_select

    cursor = log._connection.cursor()
    cursor.execute("USE log")
    found = {}
    for each in asked(Random(7), spans):
        query = question_from(each.question, each.words, END_NS).select()
        compiled = compile_select(query, Dialect(log._slots, log._restated.complete))
        plan = cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + compiled.sql, compiled.parameters).fetchall()[0][1]
        found[each.title] = sum(int(n) for n in re.findall(r'"rows_scanned":\s*(\d+)', plan))
    cursor.close()
    return found


def resident_mb() -> float:
    """Memory of this process that is in use now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def show(title: str, found: dict[str, tuple[Times, Times, int]], rows: dict[str, int]) -> int:
    """One table; returns how many questions missed the limit."""
    print(f"\n{title}")
    print(f"  {'milliseconds':<40}{'p50':>8}{'p95':>8}{'max':>8}{'floor p50':>11}{'p95':>8}{'rows':>6}{'scanned':>13}")
    missed = 0
    for name, (own, floor, count) in found.items():
        mark = " <- over" if own.quantile(0.95) > LIMIT_MS else ""
        missed += bool(mark)
        beside = f"{floor.quantile(0.5):>11.1f}{floor.quantile(0.95):>8.1f}" if floor.taken else " " * 19
        print(
            f"  {name:<40}{own.quantile(0.5):>8.1f}{own.quantile(0.95):>8.1f}{max(own.taken):>8.1f}{beside}{count:>6}"
            f"{rows.get(name, 0):>13,}{mark}"
        )
    return missed


def write_spans(folder: Path, rate: int, seconds: float) -> None:
    """Another process: append spans to a journal at a steady rate."""
    from benchmarks.ingest_index import batches

    journal = Journal(folder, "w1", b"k" * 32)
    step = max(1, rate // 20)
    made = batches(int(rate * seconds), step)
    began = time.monotonic()
    for number, some in enumerate(made):
        for span in some:
            journal.append(span)
        time.sleep(max(0.0, began + (number + 1) * step / rate - time.monotonic()))
    journal.close()


@contextlib.asynccontextmanager
async def ingest(log: DuckDBLog, rate: int, seconds: float) -> Any:
    """Follow a journal that grows by so many spans a second."""
    with tempfile.TemporaryDirectory() as name:
        child = subprocess.Popen(  # noqa: ASYNC220 - a benchmark may wait a moment
            [
                sys.executable,
                "-m",
                "benchmarks.explorer",
                "--write",
                name,
                "--ingest",
                str(rate),
                "--seconds",
                str(seconds),
            ]
        )
        stopping = asyncio.Event()
        ingester = Ingester(Path(name), log, {})
        following = asyncio.create_task(ingester.run(stopping))
        began = time.monotonic()
        try:
            yield lambda: ingester.records / (time.monotonic() - began)
        finally:
            child.terminate()
            child.wait()
            stopping.set()
            await following


async def removal(log: DuckDBLog, begin_ns: int) -> None:
    """Take the oldest day out and compact, with appends going on; how long the longest append waited."""
    from benchmarks.ingest_index import batches
    from watchkeeper.kinds.ports import Batch

    for title, act in (
        ("removing the oldest day", lambda: log.remove("spans", before_ns=begin_ns + DAY_NS)),
        ("compacting", log.compact),
    ):
        waits: list[float] = []
        working = asyncio.create_task(_timed(act))
        source = batches(2_000_000, 200)
        while not working.done():
            began = time.perf_counter()
            await log.append(Batch(records=tuple(next(source))))
            waits.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(max(0.0, 0.1 - waits[-1] / 1000))
        took, result = await working
        worst = max(waits, default=0.0)
        print(
            f"  {title:<28}{took:8.1f} s{f'; {result:,} rows' if isinstance(result, int) else ''}; meanwhile "
            f"{len(waits) * 200:,} spans were appended in {len(waits)} batches, the slowest in {worst:,.0f} ms"
        )


async def _timed(act: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = await act()
    return time.perf_counter() - began, result


async def run(path: Path, spans: int, days: float, rounds: int, rate: int) -> None:
    """Measure everything and print the tables."""
    log = DuckDBLog.open(path, MEMORY_MB)
    try:
        await measure(log, spans, 2, floors=False)
        print(f"{spans:,} simulated spans over {days:g} days, {_megabytes(path)}; every question {rounds} times")
        print(f"DuckDB's memory limit is {MEMORY_MB} MB, with two threads")
        rows = scanned(log, spans)
        show("Idle", await measure(log, spans, rounds, floors=True), rows)
        print(f"  memory of the process: {resident_mb():.0f} MiB")
        if rate:
            async with ingest(log, rate, 3600) as pace:
                await asyncio.sleep(3)
                found = await measure(log, spans, rounds, floors=False)
                show(f"Beside {rate:,} spans/s of ingest", found, {})
                print(f"  taken in meanwhile: {pace():,.0f} spans/s; memory of the process: {resident_mb():.0f} MiB")
        print("\nRemoving and compacting, beside 2,000 spans/s of appends")
        await removal(log, END_NS - int(days * DAY_NS))
        print(f"  the file now has {_megabytes(path)}")
    finally:
        await log.close()


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:,.0f} MB"


def main() -> None:
    """Make or copy the index, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--spans", type=int, default=300_000)
    parser.add_argument("--scores", type=int)
    parser.add_argument("--days", type=float, default=30)
    parser.add_argument("--index", type=Path, help="An index made before; it is copied, and the copy is changed.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--ingest", type=int, default=2_000)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write is not None:
        write_spans(given.write, given.ingest, given.seconds)
        return
    with tempfile.TemporaryDirectory(dir=given.index.parent if given.index else None) as name:
        path = Path(name) / "log.duckdb"
        if given.index is not None:
            shutil.copyfile(given.index, path)
        else:
            make(path, given.spans, given.spans // 10 if given.scores is None else given.scores, given.days)
        asyncio.run(run(path, given.spans, given.days, given.rounds, given.ingest))


if __name__ == "__main__":
    main()
