"""Run the benchmarks, each in a process of its own: `python -m benchmarks [NAME ...]`; without names, all of them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
NEEDS_ARGUMENT = {
    "loop_false_trips": "the folder with recorded agent runs",
    "published_tables": "per-item data of published tables",
    "overclaim_agreement": "marked answers",
    "support_agreement": "marked answers",
}
LIMIT_S = 300


def names() -> list[str]:
    """The benchmarks there are."""
    return sorted(path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_"))


def main(wanted: list[str]) -> int:
    """Run the wanted benchmarks; returns 1 when one of them could not be run to its end."""
    unknown = [name for name in wanted if name not in names()]
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    print(f"# {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    failed = []
    for name in wanted or [name for name in names() if name not in NEEDS_ARGUMENT]:
        print(f"\n## {name}", flush=True)
        began = time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, "-m", f"benchmarks.{name}"], cwd=FOLDER.parent, timeout=LIMIT_S, check=False
            )
            if done.returncode:
                failed.append(name)
        except subprocess.TimeoutExpired:
            print(f"stopped after {LIMIT_S} s", file=sys.stderr)
            failed.append(name)
        print(f"({time.monotonic() - began:.0f} s)", flush=True)
    if failed:
        print(f"\nnot run to the end: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
