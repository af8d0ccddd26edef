"""Commands for the gateway at work: how its upstreams fare, and its settings taken anew."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table


@click.command()
@house_options
def upstreams(data: str | None, config: Path | None, as_json: bool) -> None:
    """Show how each upstream fares: its breaker, why and since when, calls in flight, and the rate.

    An open breaker steers calls to other targets of their route until a trial goes well.
    """
    answer = _door(config, data, lambda door: door.get("/api/v1/upstreams").json())
    if as_json:
        print_json(answer)
        return
    rows = [_row(item) for item in answer["items"]]
    heads = ("upstream", "model", "state", "for", "in flight", "queued", "a minute", "failed", "why")
    print_table(heads, rows, "There are no [[upstreams]] in the settings.")
    if answer["settings_problem"]:
        click.echo(f"The settings file cannot be used as it is now: {plain(answer['settings_problem'])}", err=True)


@click.command()
@house_options
def reload(data: str | None, config: Path | None, as_json: bool) -> None:
    """Take upstreams, routes and policies anew from the settings file, without dropping a call.

    A file that cannot be used changes nothing, and this says why. The server does the same by itself when the file
    changes, and on SIGHUP.
    """
    answer = _door(config, data, lambda door: door.post("/api/v1/reload").json())
    if as_json:
        print_json(answer)
    else:
        click.echo(plain(answer["sentence"][0].upper() + answer["sentence"][1:] + "."))


def _door(config: Path | None, data: str | None, ask: Any) -> Any:
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        if not door.remote:
            raise Failure(
                "no server runs on this data directory, so no gateway is at work. Start one: watchkeeper serve",
                "no_server",
            )
        return ask(door)


def _row(item: dict[str, Any]) -> tuple[Any, ...]:
    for_s = max(0, int(time.time() - item["since_ns"] / 1e9))
    return (
        item["upstream"],
        item["model"] or "-",
        item["state"],
        f"{for_s // 60} min" if for_s >= 120 else f"{for_s} s",
        item["in_flight"],
        item["queued"],
        f"{item['per_minute']:g}",
        f"{item['failures']} of {item['attempts']}",
        item["why"],
    )
