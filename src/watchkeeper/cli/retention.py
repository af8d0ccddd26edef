"""The commands that say what retention would take away, and that do it now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from watchkeeper.cli.options import house_options, print_json, print_table


@click.group()
def retention() -> None:
    """Say what is kept, what would go and what went; do it now.

    A running server does it by itself, every `retention.every`. What is kept and why: watchkeeper ask kept. What went:
    watchkeeper ask thinnings.
    """


@retention.command()
@house_options
def plan(data: str | None, config: Path | None, as_json: bool) -> None:
    """Say what would go now, by which rules, and what the disk holds; changes nothing."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        found = door.get("/api/v1/retention").json()
    if as_json:
        print_json(found)
        return
    use, cap = found["use"], found["rules"]["disk_cap_bytes"]
    capped = "no cap" if cap is None else f"of a cap of {cap:,}"
    click.echo(f"The data directory takes {use['total']:,} bytes ({capped}); {use['free']:,} are free.")
    if found["refused"]:
        click.echo("New bodies are not kept at present: the cap is all but reached. Calls and metadata go on.")
    if found["waiting"]:
        click.echo(f"Nothing is taken for now: {found['waiting']}.")
    rows = [
        (s["writer"], s["segment"], _moment(s["oldest_ns"]), _moment(s["youngest_ns"]), s["stage"], s["to"], s["why"],
         s["at_most_bytes"])
        for s in found["due"]
    ]  # fmt: skip
    names = ("writer", "segment", "from (UTC)", "until (UTC)", "is", "becomes", "why", "at most bytes")
    print_table(names, rows, "Nothing is due.")


@retention.command()
@house_options
def run(data: str | None, config: Path | None, as_json: bool) -> None:
    """Take away all that is due now, in small steps; stopped half-way, the next run goes on.

    Exit code 0 also when nothing was due; 2 when it could not be done.
    """
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        found = _run(door, as_json)
    if as_json:
        print_json(found)
        return
    if found["waiting"]:
        click.echo(f"Nothing was taken: {found['waiting']}.")
    rows = [
        (t["writer"], t["segment"], t["stage"], t["why"], t["traces"], t["kept_traces"], t["frames"], t["freed_bytes"])
        for t in found["items"]
    ]
    names = ("writer", "segment", "became", "why", "traces", "kept", "frames", "freed bytes")
    print_table(names, rows, "Nothing was due.")


def _run(door: Any, as_json: bool) -> Any:
    from rich.console import Console

    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        return door.post("/api/v1/retention/run").json()
    with console.status("Thinning segment by segment"):
        return door.post("/api/v1/retention/run").json()


def _moment(at_ns: int) -> str | None:
    from watchkeeper.cli.questions import readable

    return readable(at_ns, "moment")
