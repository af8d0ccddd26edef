"""Suites that ask the lab, for drills that play evals: written to a folder, asked through the commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

TIMEOUT_S = 180.0


def write_suite(
    folder: Path,
    base_url: str,
    cases: Iterable[Mapping[str, Any]],
    scorers: Iterable[Mapping[str, Any]] = ({"use": "exact"},),
    name: str = "suite",
    **more: Any,
) -> Path:
    """Write a suite of these cases that asks `lab-small` at `base_url`; `more` are further keys of the suite."""
    path = folder / f"{name}.yaml"
    suite: dict[str, Any] = {
        "name": name,
        "target": {"base_url": base_url, "model": "lab-small"},
        "scorers": list(scorers),
        "cases": list(cases),
        **more,
    }
    path.write_text(json.dumps(suite), encoding="utf-8")  # JSON is YAML
    return path


def told(folder: Path, *words: str, expect: tuple[int, ...] = (0,)) -> Any:
    """What a `watchkeeper` command says with --json; raises `RuntimeError` for an exit code that is not expected."""
    command = [sys.executable, "-m", "watchkeeper", *words, "--json", "--data", str(folder / "data")]
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode not in expect:
        said = (done.stderr or done.stdout)[-600:].decode("utf-8", "replace")
        raise RuntimeError(f"`watchkeeper {' '.join(words)}` ended with {done.returncode}: {said}")
    return {**json.loads(done.stdout), "exit_code": done.returncode}
