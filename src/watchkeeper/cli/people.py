"""Commands for people: who may sign in to the pages, with which role, for which tenant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from watchkeeper.cli.options import house_options, plain, print_json, print_table

_ROLES = click.Choice(["viewer", "operator", "admin"])
_TENANT = "The one tenant whose records they see [all]."


@click.group()
def people() -> None:
    """Say who may sign in to the pages, and with which role.

    As soon as there is one, pages and API ask everybody to sign in or to show a key, on loopback too.
    """


@people.command()
@click.argument("name")
@click.option("--role", type=_ROLES, default="viewer", show_default=True, help="What they may do.")
@click.option("--tenant", help=_TENANT)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; else one is made.")
@house_options
def add(
    name: str, role: str, tenant: str | None, password_stdin: bool, data: str | None, config: Path | None, as_json: bool
) -> None:
    """Let NAME sign in. A password that was made alone goes to standard output, once."""
    from watchkeeper.cli.door import open_door

    wanted: dict[str, Any] = {"name": name, "role": role, "tenant": tenant}
    if password_stdin:
        wanted["password"] = _read_password()
    with open_door(config, data, create=True) as door:
        made = door.post("/api/v1/people", {k: v for k, v in wanted.items() if v is not None}).json()
    _tell(made, as_json, f"{plain(made['name'])} may sign in as {made['role']}.")


@people.command("list")
@house_options
def list_(data: str | None, config: Path | None, as_json: bool) -> None:
    """List everybody, removed ones too."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        items = door.get("/api/v1/people").json()["items"]
    if as_json:
        print_json({"items": items})
        return
    columns = ("name", "role", "tenant", "state", "issuer", "created", "signed_in")
    print_table(columns, [[item.get(c) for c in columns] for item in items], "Nobody yet: pages ask nobody to sign in.")


@people.command("role")
@click.argument("name")
@click.argument("role", type=_ROLES)
@click.option("--tenant", help=_TENANT)
@house_options
def set_role(name: str, role: str, tenant: str | None, data: str | None, config: Path | None, as_json: bool) -> None:
    """Give NAME another ROLE, and with --tenant another tenant; their sessions end."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        changed = door.post(f"/api/v1/people/{quote(name, safe='')}/role", {"role": role, "tenant": tenant}).json()
    _tell(changed, as_json, f"{plain(changed['name'])} is {changed['role']} now; their sessions have ended.")


@people.command("password")
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input; else one is made.")
@house_options
def set_password(name: str, password_stdin: bool, data: str | None, config: Path | None, as_json: bool) -> None:
    """Give NAME a new password; their sessions end. One that was made alone goes to standard output, once."""
    from watchkeeper.cli.door import open_door

    given = {"password": _read_password()} if password_stdin else {}
    with open_door(config, data) as door:
        changed = door.post(f"/api/v1/people/{quote(name, safe='')}/password", given).json()
    _tell(changed, as_json, f"{plain(changed['name'])} has a new password; their sessions have ended.")


@people.command()
@click.argument("name")
@house_options
def remove(name: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Let NAME in no more; their sessions end at once."""
    from watchkeeper.cli.door import open_door

    with open_door(config, data) as door:
        gone = door.post(f"/api/v1/people/{quote(name, safe='')}/remove").json()
    _tell(gone, as_json, f"Removed {plain(gone['name'])}.")


def _read_password() -> str:
    return str(sys.stdin.readline()).rstrip("\r\n")


def _tell(answered: dict[str, Any], as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(answered)
        return
    if "password" in answered:
        click.echo(answered["password"])
        click.echo(f"{sentence} Keep the password now: it cannot be shown again.", err=True)
        return
    click.echo(sentence)
