"""Brings a data directory of an older format up to this one, step by step, each safe to do again.

The journal itself is never rewritten: frames of every earlier version are read as they are. A step changes what lies
around it; the index is made anew by whoever finds that it has another shape.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

_log = logging.getLogger("watchkeeper.migration")


class Step(NamedTuple):
    """What leads from one format to the next, in words and as a deed."""

    says: str
    run: Callable[[Path], None]


def _from_one(home: Path) -> None:
    """Format 2 has packed and trimmed segments, which a program of format 1 would take for damage.

    Files that the first format left readable to others are closed to them.
    """
    for path in home.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            path.chmod(0o700 if path.is_dir() else 0o600)


STEPS: Mapping[int, Step] = {
    1: Step("old segments may from now on be packed or trimmed; files are closed to other users", _from_one),
}


def migrate(home: Path, found: int, wanted: int) -> None:
    """Take every step from the format that was found to the one that is wanted."""
    for version in range(found, wanted):
        step = STEPS[version]
        step.run(home)
        _mark(home, version + 1, version)
        _log.warning(
            "the data directory %s was brought from format %d to %d: %s", home, version, version + 1, step.says
        )


def _mark(home: Path, version: int, before: int) -> None:
    marker = home / "format.json"
    content = json.loads(marker.read_text())
    content |= {"format": version, f"migrated_from_{before}_ns": time.time_ns()}
    draft = marker.with_suffix(".new")
    with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as out:
        out.write(json.dumps(content) + "\n")
        out.flush()
        os.fsync(out.fileno())
    draft.replace(marker)
