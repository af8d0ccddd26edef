"""Commands that copy a data directory and make one from a copy."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, print_json

if TYPE_CHECKING:
    from watchkeeper.config import Config
    from watchkeeper.engines.keeping.restore import Restored
    from watchkeeper.engines.recorder.home import Home


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--incremental", is_flag=True, help="Bring the backup in a folder up to date; copies what changed only.")
@click.option("--without-secrets", is_flag=True, help="Leave the keys of the directory out; see below.")
@click.option("--erasures", is_flag=True, help="Write only the list of erasures to TARGET, for a later restore.")
@house_options
def backup(
    target: Path,
    incremental: bool,
    without_secrets: bool,
    erasures: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Copy the data directory to TARGET, a new folder or a file that ends in .tar; the server may go on running.

    The copy is proved before it counts: every link of the chain, every commitment, every digest. The index is left out;
    a restore makes it anew. Keys are copied too: without them sessions end, and what was sealed cannot be read, so
    leave them out only when you keep the folder `secrets` elsewhere. The master key is never in a backup.
    """
    from watchkeeper.adapters.store.sqlite_copy import copy
    from watchkeeper.config import load
    from watchkeeper.engines.keeping import backup as engine
    from watchkeeper.engines.recorder.home import Home

    settings = load(config, data=data)
    home = Home(settings.data, create=False)
    try:
        if erasures:
            _list_erasures(home, target, as_json)
            return
        with _bar("Copying", "bytes") as told:
            made = engine.backup(home, target, copy, incremental=incremental, secrets=not without_secrets, told=told)
    except engine.BackupProblem as error:
        raise Failure(str(error), "backup") from error
    except OSError as error:
        raise Failure(
            f"the backup could not be written to {target}: {error.strerror}. Make room there, or name another place.",
            "disk",
        ) from error
    _note(settings, home, f"{made.frames} frames, {made.copied_bytes} bytes copied", config, data)
    if as_json:
        print_json(made)
        return
    click.echo(
        f"Copied {made.copied} files ({made.copied_bytes:,} bytes) to {made.target}; {made.unchanged} were there."
    )
    click.echo(f"Proved: {made.frames:,} frames, {made.erased:,} of them erased by record.")
    if made.removed:
        click.echo(f"{made.removed} segments that were trimmed since are gone from the backup too.")


def _note(settings: Config, home: Home, detail: str, config: Path | None, data: str | None) -> None:
    """Keep in the audit trail that a backup was made; a backup that stands is not failed for want of that."""
    from watchkeeper.cli.door import open_door
    from watchkeeper.compose.acts import note_act
    from watchkeeper.engines.recorder.home import HomeError

    try:
        if home.holder() is None:
            note_act(settings, home, "backup.made", "data directory", detail)
            return
        with open_door(config, data) as door:
            door.post("/api/v1/acts", {"act": "backup.made", "subject": "data directory", "detail": detail}).checked()
    except (Failure, HomeError, OSError, ValueError) as error:
        click.echo(f"The backup is whole, but is not in the audit trail: {error}", err=True)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--erasures",
    type=click.Path(path_type=Path),
    help="A later journal or data directory, or a list: erasures made after the backup are carried out again.",
)
@house_options
def restore(source: Path, erasures: Path | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """Make the data directory from SOURCE, which 'watchkeeper backup' wrote; --data must be new or empty.

    Checks every file against the backup's list, proves the journal, and makes the index anew. What was erased for
    somebody's sake after the backup was made would come back with it: name the later journal with --erasures, and it
    is erased again before anything is indexed.
    """
    from watchkeeper.adapters.store.errors import StoreError
    from watchkeeper.config import load
    from watchkeeper.engines.keeping.backup import BackupProblem

    settings = load(config, data=data)
    try:
        result, holds = _restore(settings, source, erasures)
    except BackupProblem as error:
        raise Failure(str(error), "backup") from error
    except (OSError, StoreError) as error:
        raise Failure(
            f"the restore could not be done: {error}. The folder it was to make is left out.", "disk"
        ) from error
    if as_json:
        print_json({**_plain(result), "holds": holds})
    else:
        _say(result, holds)
    raise SystemExit(0 if holds else 1)


def _restore(settings: Config, source: Path, later: Path | None) -> tuple[Restored, bool]:
    from watchkeeper.compose.restoring import finish
    from watchkeeper.engines.keeping.restore import erasures_in, restore

    again = [] if later is None else erasures_in(later)
    with _bar("Restoring", "files") as told:
        manifest = restore(source, settings.data, told)
    with _bar("Indexing", "records") as told:
        return asyncio.run(finish(settings, manifest, again, later, told))


def _say(result: Restored, holds: bool) -> None:
    from watchkeeper.cli.questions import readable

    click.echo(f"Restored {result.files} files ({result.size:,} bytes), as they stood on")
    click.echo(f"  {readable(result.made_ns, 'moment')} UTC, to {result.data}")
    click.echo(f"The journal {'holds' if holds else 'does NOT hold'}: {result.frames:,} frames.")
    for erasure in result.again:
        click.echo(f"Erased again: {erasure.erasure_id}, {erasure.frames:,} frames, for {erasure.reason}.")
    if not result.again:
        click.echo("No later erasures were named. If any were made since, restore with --erasures.")
    if not result.secrets:
        click.echo("The backup holds no keys: put the folder `secrets` back, or what was sealed stays shut.")


def _list_erasures(home: Any, target: Path, as_json: bool) -> None:
    import msgspec

    from watchkeeper.engines.keeping.restore import LASTING, erasures_in

    found = [each for each in erasures_in(home.path) if each.reason in LASTING]
    with os.fdopen(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        out.writelines(msgspec.json.encode(each) + b"\n" for each in found)
    if as_json:
        print_json({"target": str(target), "erasures": len(found)})
    else:
        click.echo(f"Wrote {len(found)} erasures to {target}. It names no person; keep it apart from the backups.")


def _plain(value: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(value)
    return plain


@contextmanager
def _bar(title: str, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TextColumn("{task.completed:,} " + unit))
    with Progress(*columns, TimeElapsedColumn(), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(title, total=None)
        yield lambda count: bar.update(task, completed=count)
