"""The command that writes a checkpoint now and keeps it outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from watchkeeper.cli.options import house_options, print_json


@click.command()
@click.option("--to", "to", multiple=True, metavar="NAME", help="Only this anchor of the settings; may be repeated.")
@click.option(
    "--print", "shown", is_flag=True, help="Write the checkpoint's line to standard output, to keep it by hand."
)
@house_options
def anchor(to: tuple[str, ...], shown: bool, data: str | None, config: Path | None, as_json: bool) -> None:
    """Write down where all chains stand, and hand that to the anchors of the settings.

    A line that lies where nobody who can write this data directory can change it proves everything before it:
    `watchkeeper verify --anchors FILE`. Exit code 1 when an anchor could not keep it.
    """
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        done: Any = door.post("/api/v1/anchors", {"to": list(to)}).json()
    checkpoint, anchors = done["checkpoint"], done["anchors"]
    failed = [each for each in anchors if each["problem"]]
    if as_json:
        print_json(done)
    elif shown:
        import json

        click.echo(json.dumps(checkpoint, separators=(",", ":")))
    else:
        ends = ", ".join(f"{r[0]} at frame {r[3]:,}" for r in checkpoint["reached"])
        click.echo(f"Checkpoint {checkpoint['number']} {checkpoint['digest'][:16]}: {ends}.")
        for each in anchors:
            click.echo(
                f"  {each['name']}: "
                + (f"NOT KEPT: {each['problem']}" if each["problem"] else f"kept, {each['receipt']}")
            )
        if not anchors:
            click.echo(
                "  There are no anchors in the settings; add [[anchors]], or keep the line of --print elsewhere."
            )
    raise SystemExit(1 if failed else 0)
