"""Commands for effects: list, show, settle, and end a run so that it has no more of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table, when


@click.group()
def effects() -> None:
    """List, show and settle what agents did to the world."""


@effects.command("list")
@click.option("--status", type=click.Choice(["planned", "done", "failed", "undone", "unknown"]), help="Only like this.")
@click.option("--tool", help="Only of this tool.")
@click.option("--run", help="Only of this run.")
@click.option("--unsettled", is_flag=True, help="Only those of which nobody has said what became of them.")
@click.option("--since", help="Only claimed since: 24h, 7d, or a date.")
@click.option("--limit", default=100, show_default=True, help="At most this many.")
@house_options
def list_(
    status: str | None,
    tool: str | None,
    run: str | None,
    unsettled: bool,
    since: str | None,
    limit: int,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """List effects, the newest first."""
    from watchkeeper.cli.door import open_door

    asked = {"status": status, "tool": tool, "run": run, "since": since, "limit": limit}
    if unsettled:
        asked["settled"] = "false"
    with open_door(config, data) as door:
        door.flush()
        answer = door.ask("effects", asked)
    if as_json:
        print_json(answer)
        return
    rows = [
        (row["effect_id"], row["status"], when(row["at_ns"]), row["tool"], row["target"], row["run"], row["step"])
        for row in answer["items"]
    ]
    print_table(("id", "status", "claimed (UTC)", "tool", "object", "run", "step"), rows, "There are no effects.", True)


@effects.command()
@click.argument("effect_id")
@house_options
def show(effect_id: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Show the effect EFFECT_ID as it stands in the ledger."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        found = door.get(f"/api/v1/effects/{quote(effect_id, safe='')}").json()
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        said = when(value) if name.endswith("_ns") and value is not None else value
        click.echo(f"{name.removesuffix('_ns').replace('_', ' '):<12} {plain(_text(said))}")


@effects.command()
@click.argument("effect_id")
@click.option(
    "--as",
    "status",
    type=click.Choice(["done", "failed", "undone", "unknown"]),
    required=True,
    help="What became of it; `failed` says that it certainly did not happen, so that it may be claimed again.",
)
@click.option("--receipt", help="What the other side gave for it, as JSON.")
@click.option("--note", help="A line for the record: how you know.")
@house_options
def settle(
    effect_id: str,
    status: str,
    receipt: str | None,
    note: str | None,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Say what became of the effect EFFECT_ID, once you have found out."""
    from watchkeeper.cli.door import open_door

    said: dict[str, Any] = {"effect_id": effect_id, "status": status}
    if receipt is not None:
        try:
            said["receipt"] = json.loads(receipt)
        except ValueError as error:
            raise Failure(f"--receipt is not JSON: {error}. A text needs its quotes: '\"abc\"'.") from error
    if note is not None:
        said["detail"] = note
    with open_door(config, data) as door:
        settled = door.post("/api/v1/effects/settle", said).json()
    if as_json:
        print_json(settled)
    else:
        click.echo(f"{settled['effect_id']} is {settled['status']}.")


@effects.command("end-run")
@click.argument("run")
@house_options
def end_run(run: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Let the run RUN have no further effect. Exit code 1 when some of its effects are not settled."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        ended = door.post(f"/api/v1/runs/{quote(run, safe='')}/cancel").json()
    if as_json:
        print_json(ended)
    else:
        click.echo(f"The run {plain(run)} can claim no further effect; {len(ended['unsettled'])} are not settled.")
        for each in ended["unsettled"]:
            click.echo(f"  {each['effect_id']}  {each['status']:<8} {plain(each['tool'])} {plain(each['object'])}")
    raise SystemExit(1 if ended["unsettled"] else 0)


def _text(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else value
