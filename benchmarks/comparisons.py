"""How long comparisons take: 10,000 bootstrap replicates over 100,000 items, and 1,000 comparisons of 805 items.

    python -m benchmarks.comparisons [--json]

The bootstrap is a real one (its Monte Carlo error stands in the method); above 2,048 items its replicates are drawn by
blocks, see `analysis.bootstrap_t`. Scores are made up; nothing is read from a file. Limits to hold: a second for the
first, a minute for the second. A million rows read from a CSV are timed with their memory beside.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from watchkeeper.analysis.paired import compare
from watchkeeper.engines.experiments.tables import Columns, read_scores

ITEMS = 100_000
SMALL, TIMES = 805, 1_000
ROWS = 1_000_000


def sides(items: int, seed: int, *, binary: bool = False) -> tuple[dict[str, float], dict[str, float]]:
    """Two runs over the same items, the second a little better."""
    rng = Random(seed)
    a = [rng.random() for _ in range(items)]
    b = [min(1.0, max(0.0, x + rng.gauss(0.01, 0.2))) for x in a]
    if binary:
        a, b = ([float(x > 0.4) for x in side] for side in (a, b))
    names = [str(i) for i in range(items)]
    return dict(zip(names, a, strict=True)), dict(zip(names, b, strict=True))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and the answer of the fastest of three."""
    best, answer = float("inf"), None
    for _ in range(3):
        began = time.perf_counter()
        answer = work()
        best = min(best, time.perf_counter() - began)
    return best, answer


def small(binary: bool) -> float:
    """Seconds for 1,000 comparisons of 805 items."""
    pairs = [sides(SMALL, seed, binary=binary) for seed in range(20)]
    began = time.perf_counter()
    for index in range(TIMES):
        compare(*pairs[index % len(pairs)])
    return time.perf_counter() - began


def read_a_million() -> tuple[float, int]:
    """Seconds to read a CSV of a million rows, and the process's largest size in MiB by then."""
    rng = Random(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.csv"
        with path.open("w") as file:
            file.write("id,model,score,note\n")
            for i in range(ROWS):
                file.write(f"{i // 2},{'ab'[i % 2]},{rng.random():.4f},some words\n")
        began = time.perf_counter()
        rows = read_scores(path, Columns(item=("id",), score="score", by="model"))
        assert len(rows) == ROWS
        return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> int:
    """Time all of it."""
    parser = argparse.ArgumentParser(description="Time comparisons.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    read_s, mib = read_a_million()
    a, b = sides(ITEMS, 1)
    large, found = timed(lambda: compare(a, b, interval="bootstrap"))
    told = {
        "bootstrap_10000_over_100000_items_s": large,
        "comparisons_of_805_graded_items_per_minute": 60 * TIMES / small(binary=False),
        "comparisons_of_805_outcomes_per_minute": 60 * TIMES / small(binary=True),
        "read_a_million_rows_s": read_s,
        "read_a_million_rows_peak_mib": mib,
    }
    if asked.json:
        print(json.dumps({**told, "method": found.method}))
        return 0
    print(f"{ITEMS:,} items, 10,000 replicates: {large:.2f} s ({found.method})")
    print(f"comparisons of {SMALL} graded items: {told['comparisons_of_805_graded_items_per_minute']:,.0f} a minute")
    print(f"comparisons of {SMALL} outcomes: {told['comparisons_of_805_outcomes_per_minute']:,.0f} a minute")
    print(f"{ROWS:,} rows of CSV read in {read_s:.1f} s, process at most {mib} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
