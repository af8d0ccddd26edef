"""Commands for incidents: list, show, acknowledge, resolve, note, export their cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from watchkeeper.cli.options import Failure, house_options, plain, print_json, print_table, when, write_private


@click.group()
def incident() -> None:
    """List, show and work on incidents; export their cases."""


@incident.command("list")
@click.option("--status", type=click.Choice(["open", "acknowledged", "resolved"]), help="Only in this state.")
@click.option("--since", help="Only opened since: 24h, 7d, or a date.")
@house_options
def list_(status: str | None, since: str | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """List incidents in their latest state, the last opened first."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        answer = door.ask("incidents", {"status": status, "since": since})
    if as_json:
        print_json(answer)
        return
    rows = [
        (row["incident_id"], row["status"], row["severity"], when(row["opened_ns"]), row["subject"], row["title"])
        for row in answer["items"]
    ]
    print_table(("id", "status", "severity", "opened (UTC)", "subject", "title"), rows, "There are no incidents.")


@incident.command()
@click.argument("incident_id")
@house_options
def show(incident_id: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Show the incident INCIDENT_ID with its findings and its timeline."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        answer = door.get(f"/api/v1/incidents/{_safe(incident_id)}").json()
    if as_json:
        print_json(answer)
        return
    found = answer["incident"]
    click.echo(f"{plain(found['title'])}")
    click.echo(f"{found['incident_id']}: {found['status']}, {found['severity']}, about {plain(found['subject'])}")
    owner = f", owner {plain(found['owner'])}" if found.get("owner") else ""
    click.echo(f"opened {when(found['opened_ns'])} UTC{owner}, {len(found.get('traces', []))} traces")
    click.echo("")
    for entry in found.get("timeline", []):
        actor = plain(entry.get("actor", "watchkeeper"))
        click.echo(f"  {when(entry['at_ns'])}  {plain(entry['kind']):<12} {plain(entry['text'])} [{actor}]")


@incident.command()
@click.argument("incident_id")
@click.argument("text", required=False)
@house_options
def acknowledge(incident_id: str, text: str | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """Say that you have taken on the incident INCIDENT_ID."""
    _act("acknowledge", incident_id, text, data, config, as_json)


@incident.command()
@click.argument("incident_id")
@click.argument("text", required=False)
@house_options
def resolve(incident_id: str, text: str | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """Say that the incident INCIDENT_ID is over; TEXT says how it was mended."""
    _act("resolve", incident_id, text, data, config, as_json)


@incident.command()
@click.argument("incident_id")
@click.argument("text")
@house_options
def note(incident_id: str, text: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Add the line TEXT to the timeline of the incident INCIDENT_ID."""
    _act("note", incident_id, text, data, config, as_json)


@incident.command()
@click.argument("incident_id")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The JSONL file to write; '-' for output.")
@house_options
def export(incident_id: str, out: Path, data: str | None, config: Path | None, as_json: bool) -> None:
    """Write the cases behind the incident INCIDENT_ID as JSONL, ready as the `dataset` of a suite.

    A case holds what the calls of a linked trace were asked. Exit code 1 when no trace gave a case.
    """
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        cases = door.post(f"/api/v1/incidents/{_safe(incident_id)}/cases").json()["cases"]
    lines = _lines(cases)
    if str(out) == "-":
        click.echo(lines, nl=False)
        raise SystemExit(0 if cases else 1)
    try:
        write_private(out, lines.encode())
    except OSError as error:
        raise Failure(f"{out} cannot be written: {error.strerror}. Name another file with --out.") from error
    if as_json:
        print_json({"cases": len(cases), "file": str(out)})
    elif cases:
        click.echo(f"Wrote {len(cases)} cases to {out}. Put `dataset: {out.name}` into a suite beside it.")
    else:
        click.echo(f"No case: the incident links no trace whose messages are recorded. {out} is empty.", err=True)
    raise SystemExit(0 if cases else 1)


def _act(action: str, incident_id: str, text: str | None, data: str | None, config: Path | None, as_json: bool) -> None:
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        sent = {} if text is None else {"note": text}
        changed = door.post(f"/api/v1/incidents/{_safe(incident_id)}/{action}", sent).json()["incident"]
    if as_json:
        print_json(changed)
    else:
        click.echo(f"{changed['incident_id']} is {changed['status']}.")


def _lines(cases: list[dict[str, Any]]) -> str:
    import json

    return "".join(json.dumps(case, ensure_ascii=False) + "\n" for case in cases)


def _safe(incident_id: str) -> str:
    from urllib.parse import quote

    return quote(incident_id, safe="")
