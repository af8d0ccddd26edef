"""The command that says whether a run's scores are about what serves now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from watchkeeper.cli.options import Failure, house_options, print_json, print_table, when

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.engines.experiments.freshness import Freshness

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
    from watchkeeper.queries.registry import as_plain

    with open_door(config, data) as door:
        door.flush()
        rows = [r for r in door.ask("experiments", {"experiment_id": run})["items"] if r["end_ns"] is not None]
        if not rows:
            raise Failure(f"there is no finished experiment {run!r}. List them: watchkeeper eval list")
        tested: dict[str, int] = rows[0]["compositions"] or {}
        found, differs, models = live_freshness(door, tested, {"since": since, "agent": agent, "service": service})
    if as_json:
        print_json(
            {
                "schema": "watchkeeper.eval.status/1",
                "experiment_id": run,
                **as_plain(found),
                "other": differs,
                "models": models,
            }
        )
    else:
        click.echo(f"{run} is {found.state}: {found.sentence}")
        tell_others(differs)
    raise SystemExit(STATES[found.state])


class LiveFreshness(NamedTuple):
    """Whether something tested is what serves, in which layers other live compositions differ, and for which models."""

    found: Freshness
    differs: list[dict[str, Any]]
    models: list[str]


def live_freshness(
    door: Door, tested: dict[str, int], window: dict[str, Any], route: str | None = None
) -> LiveFreshness:
    """Compare what was tested with the live calls of a window, of the models tested, or of the one that is named."""
    from watchkeeper.engines.experiments.freshness import Live, freshness

    live = door.ask("serving", window)["items"]
    components = {digest: _components(door, digest) for digest in {*tested, *(row["manifest"] for row in live)}}
    asked = {row["request_model"] for row in live if row["manifest"] in tested}
    named = {components[digest]["model"] for digest in tested if "model" in components[digest]}
    models = sorted({route} if route is not None else {str(name) for name in asked | named if name is not None})
    found = freshness(
        tested,
        [Live(composition=r["manifest"], model=r["request_model"] or "", calls=r["calls"]) for r in live],
        models,
        own_among=window["agent"] is None and window["service"] is None,
    )
    last = {row["manifest"]: int(row["last_ns"]) for row in sorted(live, key=lambda row: int(row["last_ns"]))}
    differs = [
        {
            "composition": each.composition,
            "calls": each.calls,
            "last_ns": last[each.composition],
            "layers": _layers(components, tested, each.composition),
        }
        for each in found.other
    ]
    return LiveFreshness(found, differs, models)


def tell_others(differs: list[dict[str, Any]]) -> None:
    """The live compositions that were not tested, and when each answered last."""
    table = [
        (each["composition"][:12], each["calls"], when(each["last_ns"]), ", ".join(each["layers"]) or "unknown")
        for each in differs
    ]
    if table:
        print_table(("composition", "calls", "last (UTC)", "differs in"), table, "")
        click.echo("One that no longer serves is left out by a shorter --since, such as 10m.", err=True)


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
