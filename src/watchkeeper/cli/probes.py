"""Commands for probes: list them, ask them now, accept how a model answers now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table


@click.group()
def probe() -> None:
    """Ask fixed questions on a schedule, and notice when a model answers otherwise than it did."""


@probe.command("list")
@house_options
def list_(data: str | None, config: Path | None, as_json: bool) -> None:
    """List the probes in the settings."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        answer = door.get("/api/v1/probes").json()
    if as_json:
        print_json(answer)
        return
    rows = [(p["name"], p["model"], p["samples"], f"{p['every_s']:g} s", p["digest"][:12]) for p in answer["items"]]
    print_table(("name", "model", "samples", "every", "digest"), rows, "There are no [[probes]] in the settings.")


@probe.command()
@click.argument("names", nargs=-1)
@click.option("--rounds", type=click.IntRange(1, 200), default=1, show_default=True, help="Rounds to ask.")
@house_options
def run(names: tuple[str, ...], rounds: int, data: str | None, config: Path | None, as_json: bool) -> None:
    """Ask the probes NAMES now, or all of them, through the running gateway. Exit code 1 when a call failed."""
    from rich.console import Console
    from rich.progress import track

    from watchkeeper.cli.door import open_door

    items: list[dict[str, Any]] = []
    console = Console(stderr=True)
    with open_door(config, data) as door:
        _require_server(door.remote)
        steps = track(range(rounds), "asking", console=console, disable=not sys.stderr.isatty(), transient=True)
        for _ in steps:
            items += door.post("/api/v1/probes/run", {"probes": list(names)}).json()["items"]
    failures = sum(item["failures"] for item in items)
    if as_json:
        print_json({"items": items, "failures": failures})
    else:
        answers = sum(item["answers"] for item in items)
        click.echo(
            f"{answers} answers and {failures} failed calls in {rounds} rounds of {len(items) // rounds} probes."
        )
        errors = [item["error"] for item in items if item["error"]]
        if errors:
            click.echo(f"The last failure: {plain(errors[-1])}", err=True)
    raise SystemExit(int(failures > 0))


@probe.command()
@click.argument("name")
@house_options
def accept(name: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Accept how probe NAME is answered now: its next answers are the new baseline."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        answer = door.post(f"/api/v1/probes/{quote(name, safe='')}/accept").json()
    if as_json:
        print_json(answer)
    else:
        click.echo(f"Accepted. The next answers of {name} are its new baseline.")


def _require_server(remote: bool) -> None:
    if not remote:
        raise Failure(
            "no server runs on this data directory, so there is no gateway to ask. Start one: watchkeeper serve",
            "no_server",
        )
