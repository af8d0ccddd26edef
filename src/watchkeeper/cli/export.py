"""The command that takes spans out: as OTLP for other tools, as JSON lines, or as Parquet."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from watchkeeper.cli.options import Failure, house_options, print_json

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door

PAGE = 500
STOPPED = 130
FILTERS = (
    "model",
    "status",
    "trace_id",
    "session",
    "run",
    "user",
    "agent",
    "service",
    "tool",
    "operation",
    "attribute",
)


@click.command()
@click.option("--format", "form", type=click.Choice(["otlp", "jsonl", "parquet"]), required=True, help="What to write.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option(
    "--since", default="0", show_default=True, help="From this moment on: an age (1h, 7d), a date, or unix ns."
)
@click.option("--until", default=None, help="Before this moment.")
@click.option("--model", default=None, help="Only this model.")
@click.option("--status", default=None, help="Only spans that ended like this: ok, error, denied, open, unset.")
@click.option("--trace", "trace_id", default=None, help="Only this trace.")
@click.option("--session", default=None, help="Only this session.")
@click.option("--run", default=None, help="Only this run.")
@click.option("--user", default=None, help="Only this user.")
@click.option("--agent", default=None, help="Only this agent.")
@click.option("--service", default=None, help="Only this service.")
@click.option("--tool", default=None, help="Only this tool.")
@click.option("--operation", default=None, help="Only this operation: chat, execute_tool, invoke_agent, ...")
@click.option("--attribute", default=None, help="Only with this attribute, as key=value.")
@click.option(
    "--names",
    type=click.Choice(["v1.41", "next"]),
    default="v1.41",
    show_default=True,
    help="OTLP: the GenAI conventions to write, v1.41.1 or the names that came after it.",
)
@click.option(
    "--encoding",
    type=click.Choice(["protobuf", "json"]),
    default=None,
    help="OTLP: protobuf messages behind their lengths, or JSON lines. [by the file's name: json for .json and .jsonl]",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@house_options
def export(form: str, out: Path, as_json: bool, data: str | None, config: Path | None, **given: Any) -> None:
    """Write spans with their messages to a file, oldest first.

    What was redacted or erased is marked, never made up. The file appears under its name when it is whole; Ctrl-C
    leaves none. Exit code 0; 2 when it could not be done; 130 when stopped.
    """
    from watchkeeper.cli.door import open_door

    _check(out, given["force"])
    encoding = given["encoding"] or ("json" if out.suffix in (".json", ".jsonl") else "protobuf")
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    with open_door(config, data) as door:
        door.flush()
        wanted = {name: given[name] for name in (*FILTERS, "since", "until")}
        try:
            done = _write(door, draft, form, encoding, given["names"], wanted)
            if not done["stopped"]:
                draft.replace(out)
        except OSError as error:
            raise Failure(f"{out} cannot be written: {error.strerror or error}. Name another file with -o.") from error
        finally:
            draft.unlink(missing_ok=True)
    _tell(done, out, as_json)
    raise SystemExit(STOPPED if done["stopped"] else 0)


def _check(out: Path, force: bool) -> None:
    if out.is_dir():
        raise Failure(f"{out} is a folder. Name a file in it with -o.", "folder")
    if not out.parent.is_dir():
        raise Failure(f"there is no folder {out.parent}. Make it, or name another file with -o.", "no_folder")
    if out.exists() and not force:
        raise Failure(f"{out} is there already. Name another file with -o, or say --force to write over it.", "exists")


def _write(door: Door, draft: Path, form: str, encoding: str, names: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from watchkeeper.compose.exporting import Exporter, export, writer_of
    from watchkeeper.engines.recorder.vault import Vault

    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    vault = Vault(door.home.journal)
    exporter = Exporter(vault, lambda span: door.get(f"/api/v1/spans/{span.trace_id}/{span.span_id}").json())
    writer = writer_of(draft, cast("Any", form), cast("Any", encoding), cast("Any", names))
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} spans"), TimeElapsedColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True) as bar:
            task = bar.add_task("spans", total=None)

            def told(spans: int, _: int) -> bool:
                bar.update(task, completed=spans)
                return not stopped

            spans, partly = export(_rows(door, wanted), exporter, writer, told)
        if stopped:
            writer.abandon()
        else:
            writer.finish()
    except BaseException as error:
        writer.abandon()
        if not isinstance(error, KeyboardInterrupt):
            raise
        return {"spans": 0, "incomplete": 0, "stopped": True}
    finally:
        vault.close()
        signal.signal(signal.SIGINT, before)
    return {"spans": spans, "incomplete": partly, "stopped": stopped}


def _rows(door: Door, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    after = None
    while True:
        items = door.ask("exported", {**wanted, "after": after, "limit": PAGE})["items"]
        yield from items
        if len(items) < PAGE:
            return
        last = items[-1]
        after = f"{last['start_ns']}:{last['trace_id']}:{last['span_id']}"


def _tell(done: Mapping[str, Any], out: Path, as_json: bool) -> None:
    if as_json:
        size = out.stat().st_size if not done["stopped"] else 0
        print_json({**done, "file": None if done["stopped"] else str(out), "bytes": size})
        return
    if done["stopped"]:
        click.echo("Stopped. No file was written.")
        return
    click.echo(f"Wrote {done['spans']:,} spans, {out.stat().st_size:,} bytes, to {out}.")
    if done["incomplete"]:
        click.echo(f"{done['incomplete']:,} of them are not whole: what was erased is marked in the file.")
