"""The command that erases somebody from the data directory, and the one for the keys of encryption at rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watchkeeper.cli.options import Failure, house_options, print_json

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door

_WORDS = {
    "spans": "spans",
    "scores": "scores",
    "decisions": "decisions",
    "cases": "cases",
    "sources": "retrieved chunks",
    "effects": "effects",
    "sessions": "declared sessions",
    "logs": "log records",
    "mentions": "records that mention the user",
    "payloads": "payloads",
    "cells": "meters and other cells",
}


@click.command()
@click.option("--user", help="All of this user.")
@click.option("--tenant", help="Only the user of this tenant.")
@click.option("--session", help="All of this session.")
@click.option("--trace", help="One trace.")
@click.option("--key", help="All calls made with the key of this id.")
@click.option("--dry-run", is_flag=True, help="Say what would be erased, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--resume", is_flag=True, help="End erasures that were interrupted.")
@house_options
def erase(
    user: str | None,
    tenant: str | None,
    session: str | None,
    trace: str | None,
    key: str | None,
    dry_run: bool,
    yes: bool,
    resume: bool,
    data: str | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Erase all that belongs to one user, session, trace or key, for good.

    Content and the user's name go from journals, index and cells, whether a server runs or not; ids, times, tokens and
    cost stay, under a pseudonym. The erasure itself is recorded, and `verify` still proves the rest. Backups made
    before still hold what was erased, unless payloads are encrypted (see `recording.encryption`).
    """
    from watchkeeper.cli.door import open_door

    wanted = {"user": user, "tenant": tenant, "session": session, "trace": trace, "key": key}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    with open_door(config, data) as door:
        if resume:
            ended = door.post("/api/v1/erasures/resume").json()["ended"]
            _tell(as_json, {"ended": ended}, [f"Ended {len(ended)} interrupted erasures."])
            return
        found = _post(door, {**wanted, "dry_run": True}, "Looking for it in the journals", as_json)
        if dry_run or not (found["found"]["frames"] or found["found"]["cells"]):
            _tell(as_json, found, _said(found))
            return
        if not yes:
            _ask(found, as_json)
        done = _post(door, wanted, "Erasing", as_json)
    _tell(as_json, done, _said(done))


def _post(door: Door, wanted: dict[str, Any], what: str, as_json: bool) -> Any:
    from rich.console import Console

    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        return door.post("/api/v1/erasures", wanted).json()
    with console.status(what):
        return door.post("/api/v1/erasures", wanted).json()


def _ask(found: dict[str, Any], as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise Failure(
            f"{found['found']['frames']} frames would be erased for good. Look at them with --dry-run, and say "
            "--yes to do it.",
            "not_confirmed",
        )
    for line in _said(found):
        click.echo(line, err=True)
    click.confirm("Erase this for good?", abort=True, err=True)


def _said(result: dict[str, Any]) -> list[str]:
    found = result["found"]
    parts = [f"{found[name]:,} {words}" for name, words in _WORDS.items() if found.get(name)]
    if result["dry_run"]:
        lines = [f"Would erase {', '.join(parts)}." if parts else "Nothing of that is in this data directory."]
    else:
        lines = [
            f"Erased {', '.join(parts)}: {result['frames']:,} frames, {result['payload_bytes']:,} bytes.",
            f"What stays is under the pseudonym {result['pseudonym']}; erasure {result['erasure_id']}.",
        ]
    if found.get("shared_kept"):
        lines.append(f"{found['shared_kept']:,} payloads stay: others sent the same bytes, and rest on them.")
    if found.get("cells_kept"):
        lines.append(f"{found['cells_kept']:,} keys or settings name the user and stay; see: watchkeeper key list")
    lines += [f"Could not be read, so not looked through: {place}" for place in result["damaged"]]
    return lines


def _tell(as_json: bool, value: Any, lines: list[str]) -> None:
    if as_json:
        print_json(value)
        return
    for line in lines:
        click.echo(line)


@click.group()
def seal() -> None:
    """Show and change the keys of encryption at rest."""


@seal.command()
@house_options
def status(data: str | None, config: Path | None, as_json: bool) -> None:
    """Say whether new payloads are sealed, and how many subjects have keys."""
    from watchkeeper.compose.unlocking import unlock
    from watchkeeper.config import load
    from watchkeeper.engines.recorder.home import Home

    settings = load(config, data=data)
    home = Home(settings.data, create=False)
    counts = unlock(settings, home).counts()
    value = {"encryption": settings.recording.encryption, **counts}
    state = "are sealed" if settings.recording.encryption == "subject" else "are not sealed"
    _tell(
        as_json,
        value,
        [
            f"New payloads {state}. Keys: {counts['subjects']:,} subjects, {counts['sealed']:,} of them sealed; "
            f"{counts['destroyed']:,} destroyed."
        ],
    )


@seal.command()
@click.option("--to", "to", required=True, metavar="KEY", help="The new master key: env:NAME or a file.")
@house_options
def rotate(to: str, data: str | None, config: Path | None, as_json: bool) -> None:
    """Wrap all keys with another master key. Stop the server first, and set `recording.master_key` afterwards.

    Nothing in the journal is written again: only the small keys that seal it are wrapped anew, in one transaction.
    """
    from watchkeeper.compose.unlocking import outside, unlock
    from watchkeeper.config import load
    from watchkeeper.engines.recorder.home import Home
    from watchkeeper.engines.recorder.subjects import KeysError, read_master

    settings = load(config, data=data)
    home = Home(settings.data, create=False)
    home.lock()
    try:
        outside(to, home)
        count = unlock(settings, home).rotate(read_master(to))
    except KeysError as error:
        raise Failure(str(error), "keys") from error
    finally:
        home.unlock()
    _tell(as_json, {"rotated": count}, [f"Wrapped {count:,} keys anew. Now set recording.master_key to {to}."])
