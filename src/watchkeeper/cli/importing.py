"""The command that brings in recorded traffic, so that last week is there in a minute."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json

if TYPE_CHECKING:
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.journal import Journal

SHOWN_REJECTIONS = 20
STOPPED = 130
WRITERS = ("import", *(f"import-{number}" for number in range(2, 10)))
Rows = Iterator[tuple[str, dict[str, Any]]]
Read = Callable[..., Rows]


class Tally:
    """What was read so far: rows by kind, and the rejected ones with file, line and reason."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.rejected: list[dict[str, Any]] = []
        self.stopped = False

    @property
    def kept(self) -> int:
        """How many rows were taken."""
        return sum(count for kind, count in self.counts.items() if kind != "rejected")


@click.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["auto", "chat", "otlp", "langfuse", "inspect", "watchkeeper"]),
    default="auto",
    show_default=True,
    help="What the files are; auto tells it by their content.",
)
@house_options
def import_(files: tuple[Path, ...], form: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Bring in FILES of recorded traffic: chat JSONL, OTLP, Langfuse, Inspect, our own exports; packed or not.

    Importing a file twice makes no duplicates. Rejected rows are listed with their reasons. Exit code 0; 1 when there
    were rows and all were rejected; 2 when it could not be done; 130 when stopped by Ctrl-C, which keeps what was read.
    """
    from watchkeeper.cli.door import open_door
    from watchkeeper.compose.importing import import_file
    from watchkeeper.compose.pricing import prices_of
    from watchkeeper.compose.redacting import captured
    from watchkeeper.compose.unlocking import unlock
    from watchkeeper.engines.recorder.journal import JournalFull

    _check(files)
    tally = Tally()
    with open_door(config, data, create=True) as door:
        unlock(door.config, door.home)
        before = door.flush()["so_far"]
        writer = captured(door.config, door.home, _writer(door.home), "import")
        try:
            read = partial(import_file, form=form, journal=writer, pricer=prices_of(door.config))
            with _interruptible(tally):
                _read_all(files, read, tally)
        except JournalFull as error:
            raise Failure(
                f"{error}. Free some space and import again: what is there already is not doubled."
            ) from error
        finally:
            writer.close()
        # A server indexes as it goes, so what a flush itself has done is only the rest.
        indexed = {name: max(0, count - before[name]) for name, count in door.flush()["so_far"].items()}
    _tell(tally, indexed, as_json)
    raise SystemExit(STOPPED if tally.stopped else int(bool(tally.rejected) and not tally.kept))


def _check(files: tuple[Path, ...]) -> None:
    for path in files:
        if path.is_dir():
            raise Failure(f"{path} is a folder. Name the files in it, for example {path}/*.jsonl", "folder")
        if not path.exists():
            raise Failure(f"there is no file {path}. Name a file that exists.", "no_file")


def _writer(home: Home) -> Journal:
    """A journal of this command's own; imports at the same time take turns in their names."""
    from watchkeeper.engines.recorder.journal import Journal, JournalLocked

    for name in WRITERS:
        try:
            return Journal(home.journal, name, home.secret("chunks"), subjects=home.subjects)
        except JournalLocked:
            continue
    raise Failure(f"{len(WRITERS)} imports run on {home.path} already. Wait for one to end.", "in_use")


@contextlib.contextmanager
def _interruptible(tally: Tally) -> Iterator[None]:
    """Let the first Ctrl-C end the reading between two rows; a second one ends it at once."""

    def stop(*_: object) -> None:
        tally.stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except KeyboardInterrupt:
        tally.stopped = True
    finally:
        signal.signal(signal.SIGINT, before)


def _read_all(files: tuple[Path, ...], read: Read, tally: Tally) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not sys.stderr.isatty(), transient=True) as bar:
        for path in files:
            task = bar.add_task(path.name, total=path.stat().st_size or None)
            for kind, detail in read(path, told=partial(_show, bar, task)):
                tally.counts[kind] += 1
                if kind == "rejected":
                    tally.rejected.append({"file": str(path), **detail})
                if tally.stopped:
                    return


def _show(bar: Any, task: Any, done: int) -> None:
    bar.update(task, completed=done)


def _tell(tally: Tally, indexed: dict[str, Any], as_json: bool) -> None:
    counts, rejected = tally.counts, tally.rejected
    if as_json:
        print_json({"read": dict(counts), "rejected": rejected, "indexed": indexed, "stopped": tally.stopped})
        return
    if tally.stopped:
        click.echo("Stopped. What was read so far is kept, and importing again does not double it.")
    kinds = ", ".join(f"{counts[kind]:,} {kind}" for kind in sorted(counts) if kind != "rejected") or "nothing"
    click.echo(f"Read {kinds}; {indexed.get('duplicates', 0):,} were there already.")
    for row in rejected[:SHOWN_REJECTIONS]:
        where = f"{row['file']}:{row['line']}" if row.get("line") else row["file"]
        click.echo(f"  rejected {plain(where)}: {plain(row.get('reason', ''))}")
    if len(rejected) > SHOWN_REJECTIONS:
        click.echo(f"  and {len(rejected) - SHOWN_REJECTIONS:,} more rejected; --json lists them all.")
