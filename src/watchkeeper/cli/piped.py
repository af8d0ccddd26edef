"""Makes a file of what is piped in, for commands that read a table more than once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """The file itself, or a copy of what comes through a pipe or, for `-`, through standard input."""
    dash = str(path) == "-"
    if not (dash or path.is_fifo()):
        yield path
        return
    with TemporaryDirectory(prefix="watchkeeper-") as folder:
        copy = Path(folder) / "stdin"
        with ExitStack() as opened, copy.open("wb") as out:
            pipe = sys.stdin.buffer if dash else opened.enter_context(path.open("rb"))
            shutil.copyfileobj(pipe, out)
        yield copy
