"""Commands for keys: add, list, show, change, rotate, revoke. A secret is shown once, and kept only as a hash."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import house_options, plain, print_json, print_table

_KEEP = "Keep it now: it is stored as a hash and cannot be shown again."
_LIMIT = "A limit that travels with the key: usd=5/day, tokens=1000000/total, calls=60/minute. Repeatable."


@click.group()
def key() -> None:
    """Add, list, show, change, rotate and revoke keys."""


@key.command("create")
@click.argument("name")
@click.option("--tenant", help="The tenant that calls with this key belong to.")
@click.option("--user", help="The user that calls with this key belong to.")
@click.option("--team", help="The team that calls with this key belong to.")
@click.option("--expires", metavar="DURATION", help="How long it is valid: 12h, 90d [for ever].")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["call", "ingest", "read", "operate", "admin"]),
    help="What it may do; repeatable [call, ingest, read].",
)
@click.option("--all-tenants", is_flag=True, help="It reads what belongs to every tenant, not only its own.")
@click.option("--model", "models", multiple=True, help="Only models that match; * and ? as in file names. Repeatable.")
@click.option("--upstream", "upstreams", multiple=True, help="Only upstreams that match. Repeatable.")
@click.option("--limit", "limits", multiple=True, metavar="LIMIT", help=_LIMIT)
@house_options
def create(name: str, data: str | None, config: Path | None, as_json: bool, **wanted: Any) -> None:
    """Make a key called NAME and show its secret, once.

    The secret alone goes to standard output, so that it can be kept with KEY=$(watchkeeper key create NAME).
    """
    from watchkeeper.cli.door import open_door

    given = {field: value for field, value in wanted.items() if value not in (None, (), False)}
    with open_door(config, data, create=True) as door:
        made = door.post("/api/v1/keys", {"name": name, **given}).json()
    _show_secret(made, as_json)


key.add_command(create, "add")


@key.command("list")
@house_options
def list_(data: str | None, config: Path | None, as_json: bool) -> None:
    """List all keys, revoked ones too, with when each was last used and until when it is valid."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        items = door.get("/api/v1/keys").json()["items"]
    if as_json:
        print_json({"items": items})
        return
    columns = ("id", "name", "tenant", "user", "scopes", "state", "created", "last_used", "expires")
    rows = [[" ".join(item[c]) if c == "scopes" else item.get(c) for c in columns] for item in items]
    print_table(columns, rows, "There are no keys yet.")


@key.command()
@click.argument("key_id")
@house_options
def show(key_id: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Show all that the key KEY_ID is bound to and may do; never its secret."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        found = door.get(f"/api/v1/keys/{quote(key_id, safe='')}").json()
    if as_json:
        print_json(found)
        return
    shown = [[name, " ".join(value) if isinstance(value, list) else value] for name, value in found.items()]
    print_table(("what", "is"), [row for row in shown if row[1] not in (None, "", False)], "")


@key.command()
@click.argument("key_id")
@click.option(
    "--overlap", metavar="DURATION", default="0s", show_default=True, help="How long the old secret goes on: 1h, 7d."
)
@house_options
def rotate(key_id: str, overlap: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Give the key KEY_ID a new secret and show it, once; the old one goes on for the overlap and then ends."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        made = door.post(f"/api/v1/keys/{quote(key_id, safe='')}/rotate", {"overlap": overlap}).json()
    _show_secret(made, as_json)


@key.command()
@click.argument("key_id")
@click.option("--limit", "limits", multiple=True, metavar="LIMIT", help=f"{_LIMIT} Replaces all limits.")
@click.option("--no-limits", is_flag=True, help="Take all limits away.")
@click.option("--model", "models", multiple=True, help="Replaces the models that it may call. Repeatable.")
@click.option("--upstream", "upstreams", multiple=True, help="Replaces the upstreams that it may call. Repeatable.")
@click.option("--team", help="Another team.")
@house_options
def change(key_id: str, no_limits: bool, data: str | None, config: Path | None, as_json: bool, **wanted: Any) -> None:
    """Change limits, models, upstreams or team of the key KEY_ID; what is not named stays. Audited."""
    from watchkeeper.cli.door import open_door

    given: dict[str, Any] = {field: value for field, value in wanted.items() if value not in (None, ())}
    if no_limits:
        given["limits"] = []
    with open_door(config, data) as door:
        changed = door.post(f"/api/v1/keys/{quote(key_id, safe='')}/change", given).json()
    if as_json:
        print_json(changed)
    else:
        click.echo(f"Changed {changed['id']} ({plain(changed['name'])}): {' '.join(changed['limits']) or 'no limits'}.")


@key.command()
@click.argument("key_id")
@house_options
def revoke(key_id: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Revoke the key KEY_ID, as `key list` shows it; calls with it are refused within a second."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        gone = door.post(f"/api/v1/keys/{quote(key_id, safe='')}/revoke").json()
    if as_json:
        print_json(gone)
    else:
        click.echo(f"Revoked {gone['id']} ({plain(gone['name'])}).")


def _show_secret(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(made)
        return
    click.echo(made["secret"])
    click.echo(_KEEP, err=True)
