"""Commands for runs: which were stopped and why, and letting one go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from watchkeeper.cli.options import house_options, plain, print_json, print_table

PAGE = 1000


@click.group()
def runs() -> None:
    """See which runs a policy has stopped, and let one go on."""


@runs.command("list")
@click.option("--since", default="7d", show_default=True, help="How far back: 1h, 7d or a time.")
@house_options
def list_(since: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """List the runs that were stopped or are held, the latest first."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        door.flush()
        items = stopped(door, since)
    if as_json:
        print_json({"items": items})
        return
    rows = [(r["run"], r["tenant"], r["verdict"], r["reason"], r["stops"], r["last"], r["sentence"]) for r in items]
    print_table(("run", "tenant", "ruling", "reason", "times", "last", "why"), rows, f"No run was stopped in {since}.")


@runs.command()
@click.argument("run")
@click.option("--tenant", default="default", show_default=True, help="Whose run it is.")
@house_options
def resume(run: str, tenant: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Let RUN go on: what it has done so far no longer counts as a loop. What it spent still counts."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        answer = door.post("/api/v1/runs/resume", {"run": run, "tenant": tenant}).json()
    if as_json:
        print_json(answer)
    else:
        click.echo(f"Run {plain(run)} may go on: {answer['steps_set_aside']} steps of it count no more.")


def stopped(door: Any, since: str) -> list[dict[str, Any]]:
    """One row for each run that was stopped, the latest first."""
    from watchkeeper.compose.stopped_runs import STOPS, stopped_runs

    rulings: list[dict[str, Any]] = []
    for verdict in STOPS:
        asked = {"since": since, "verdict": verdict, "mode": "enforce", "limit": PAGE}
        items, cursor = door.ask("decisions", asked)["items"], 0
        while items:
            rulings += items
            cursor += PAGE
            items = door.ask("decisions", {**asked, "cursor": cursor})["items"] if len(items) == PAGE else []
    return [{**row, "last": _told(row["at_ns"])} for row in stopped_runs(rulings)]


def _told(at_ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(int(at_ns) / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")
