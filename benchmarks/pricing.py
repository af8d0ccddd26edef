"""Measures what pricing costs: reading the table, one call in the gateway's path, and lines of `watchkeeper price`.

    python -m benchmarks pricing [LINES]

The lines are the recorded usage objects of the tests, over and over. Times are wall time of one thread.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml

from watchkeeper.adapters.models.bills import line_of, price
from watchkeeper.adapters.models.prices import Prices
from watchkeeper.analysis.usage import read
from watchkeeper.records.span import Usage

CASES = Path(__file__).parents[1] / "tests" / "cases" / "prices" / "provider_usage.yaml"
USAGE = {
    "prompt_tokens": 900,
    "completion_tokens": 20,
    "total_tokens": 920,
    "prompt_tokens_details": {"cached_tokens": 512},
}
LOAD = "import time; from watchkeeper.adapters.models.prices import Prices; t = time.perf_counter(); Prices().load(); "
ROUNDS = 5


def main(lines: int = 20_000) -> None:
    """Print the figures, each beside its aim."""
    script = LOAD + "print(time.perf_counter() - t)"
    loads = [float(subprocess.check_output([sys.executable, "-c", script])) for _ in range(ROUNDS)]
    print(f"read the table            {statistics.median(loads) * 1e3:8.1f} ms  aim 50 ms")
    prices, at_ns = Prices(), time.time_ns()
    usage = Usage(input_tokens=900, output_tokens=20, cache_read_tokens=512)
    print(f"read a usage object       {_each(lambda: read(USAGE).usage()) * 1e6:8.2f} us")
    print(
        f"price a call              {_each(lambda: prices.cost('openai', 'gpt-4o-mini', usage, at_ns)) * 1e6:8.2f} us"
    )
    bound = _each(lambda: prices.worst_case("openai", "gpt-4o-mini", (900, 256), at_ns))
    print(f"bound a call              {bound * 1e6:8.2f} us")
    rows = yaml.safe_load(CASES.read_text(encoding="utf-8"))
    began = time.perf_counter()
    for number in range(lines):
        price(line_of(rows[number % len(rows)]), prices)
    print(f"price a line of a file    {(time.perf_counter() - began) / lines * 1e6:8.2f} us")


def _each(what: object, times: int = 20_000) -> float:
    """Seconds that a call takes."""
    assert callable(what)
    began = time.perf_counter()
    for _ in range(times):
        what()
    return (time.perf_counter() - began) / times


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
