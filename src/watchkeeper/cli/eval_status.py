"""The command that says whether a run's scores are about what serves now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from watchkeeper.cli.options import Failure, house_options, print_json, print_table

STATES = {"fresh": 0, "stale": 1, "unknown": 3}


@click.command()
@click.argument("run")
@click.option("--since", default="24h", show_default=True, help="Which live calls to compare with.")
@click.option("--agent", help="Only live calls of this agent.")
@click.option("--service", help="Only live calls of this service.")
@house_options
def status(
    run: str, since: str, agent: str | None, service: str | None, data: str | None, config: Path | None, as_json: bool
) -> None:
    """Say whether RUN, an experiment's id, tested what serves now.

    Exit code 0 when it did (fresh); 1 when other compositions answer live calls (stale), so that its scores must not be
    shown for them; 3 when that is unknown.
    """
    from watchkeeper.cli.door import open_door
    from watchkeeper.engines.experiments.freshness import Live, freshness
    from watchkeeper.queries.registry import as_plain

    with open_door(config, data) as door:
        door.flush()
        rows = [r for r in door.ask("experiments", {"experiment_id": run})["items"] if r["end_ns"] is not None]
        if not rows:
            raise Failure(f"there is no finished experiment {run!r}. List them: watchkeeper eval list")
        tested: dict[str, int] = rows[0]["compositions"] or {}
        live = door.ask("serving", {"since": since, "agent": agent, "service": service})["items"]
        components = {digest: _components(door, digest) for digest in {*tested, *(row["manifest"] for row in live)}}
    models = sorted({row["request_model"] for row in live if row["manifest"] in tested})
    found = freshness(
        tested,
        [Live(composition=r["manifest"], model=r["request_model"] or "", calls=r["calls"]) for r in live],
        models,
    )
    differs: list[dict[str, Any]] = [
        {"composition": each.composition, "calls": each.calls, "layers": _layers(components, tested, each.composition)}
        for each in found.other
    ]
    if as_json:
        print_json({"experiment_id": run, **as_plain(found), "other": differs, "models": models})
    else:
        click.echo(f"{run} is {found.state}: {found.sentence}")
        table = [(each["composition"][:12], each["calls"], ", ".join(each["layers"]) or "unknown") for each in differs]
        if table:
            print_table(("composition", "calls", "differs in"), table, "")
    raise SystemExit(STATES[found.state])


def _components(door: Any, digest: str) -> dict[str, str]:
    items = door.ask("manifests", {"digest": digest})["items"]
    found: dict[str, str] = items[0]["components"] if items else {}
    return found


def _layers(components: dict[str, dict[str, str]], tested: dict[str, int], other: str) -> list[str]:
    """The layers in which a composition differs from the tested one that is nearest to it."""
    there = components[other]
    if not there:
        return []
    differences = [
        sorted(name for name in components[each].keys() | there.keys() if components[each].get(name) != there.get(name))
        for each in tested
        if components.get(each)
    ]
    return min(differences, key=len, default=[])
