"""What the commands share: where the data is, how answers are printed, how errors are told."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import stat
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
STOPPED = 130


class Failure(click.ClickException):
    """An error told to a person (or, with --json, to a program as well); exit code 2."""

    exit_code = 2

    def __init__(self, message: str, code: str = "error") -> None:
        super().__init__(message)
        self.code = code
        context = click.get_current_context(silent=True)  # it is gone by the time that the error is shown
        self._as_json = bool(context is not None and context.params.get("as_json"))

    def show(self, file: Any = None) -> None:
        """Print the message on standard error, and as JSON on standard output where the command was asked for JSON."""
        if self._as_json:
            print_json(
                {"error": {"message": self.message, "type": "watchkeeper_cli", "param": None, "code": self.code}}
            )
        click.echo(f"watchkeeper: {self.message}", err=True)


def write_private(path: Path, data: bytes) -> None:
    """Write what was recorded to a file that only its owner can read, also where there was one; raises `OSError`."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as out:
        if stat.S_ISREG(os.fstat(out.fileno()).st_mode):  # not a pipe or /dev/stdout
            with contextlib.suppress(OSError):  # a file system without modes
                os.fchmod(out.fileno(), 0o600)
        out.write(data)


def house_options(command: F) -> F:
    """Give a command --data, --config and --json, turn known errors into letters, and Ctrl-C into exit code 130."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        from watchkeeper.adapters.store.errors import StoreError
        from watchkeeper.config import ConfigError
        from watchkeeper.engines.recorder.home import HomeError

        try:
            return command(*args, **kwargs)
        except ConfigError as error:
            raise Failure(str(error), "config") from error
        except HomeError as error:
            raise Failure(str(error), "data") from error
        except StoreError as error:
            raise Failure(str(error), "store") from error
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            raise SystemExit(STOPPED) from None

    for option in (
        click.option("--json", "as_json", is_flag=True, help="Answer in JSON."),
        click.option("--config", type=click.Path(path_type=Path), help="The settings file [./watchkeeper.toml]."),
        click.option("--data", type=click.Path(), help="The data directory [./.watchkeeper]."),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]


def print_json(value: Any) -> None:
    """One JSON document on standard output, indented for people when it goes to a terminal."""
    import msgspec

    text = msgspec.json.encode(value)
    if sys.stdout.isatty():
        text = msgspec.json.format(text, indent=2)
    click.echo(text.decode())


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str, cut: bool = False) -> None:
    """A table on standard output; `empty` is said when there is nothing to show.

    On a terminal the widest texts are wrapped, or with `cut` end in an ellipsis, so that a row fits its width; ids,
    numbers and times stay whole. Elsewhere every row is one line of whole values between tabs, below a line of names,
    and what is unknown is empty.
    """
    if not rows:
        click.echo(empty)
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join("" if cell is None else plain(cell) for cell in row))
        return
    cells = [[plain(cell) for cell in row] for row in rows]
    from watchkeeper.cli.layout import fitted

    head, lines = fitted(columns, cells, terminal_width(), cut)
    for line in head:
        click.secho(line, bold=True)
    for line in lines:
        click.echo(line)


def terminal_width() -> int:
    """The width of the terminal in cells."""
    return shutil.get_terminal_size((100, 24)).columns


def plain(value: object) -> str:
    """A value as a person reads it: unknown is a dash, control characters are made visible."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def when(at_ns: int) -> str:
    """A time (unix, ns) as people read it, in UTC to the second."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
