"""Writes administrative acts that no engine sees: settings that changed since the last start, and sign-ins."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import msgspec

from watchkeeper.compose.discovery import discover
from watchkeeper.config import Config
from watchkeeper.kinds.ports import Cells, Put
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import digest, new_id
from watchkeeper.records.record import as_json

IN_FORCE = "settings/in_force"
"""The cell that holds the digest of the settings that were last in force, and how often they changed."""

QUIET_S = 60.0
MOST_PARAMETER_CHARS = 300
_SECRET = re.compile(r"secret|token|password|credential|api_?key", re.IGNORECASE)


async def note_settings(config: Config, cells: Cells, record: Callable[[Audit], object], now_ns: int) -> None:
    """Write that the settings changed, with the digests of the old and the new ones and what is in force now.

    Where they are what they were at the last start, nothing is written. What counts is what the settings state, not the
    defaults that stand for the rest, so that a new version with new settings is no change. The act's id follows from
    the change and its number: when the process ends between the act and the note that it was written, the next start
    writes the same act again, and the index holds it once. Values under names of secrets are left out.
    """
    new = digest(msgspec.json.encode(stated(config), order="deterministic"))
    kept = await cells.get(IN_FORCE)
    was, _, number = kept.decode("ascii", "replace").partition(" ") if isinstance(kept, bytes) else ("", "", "")
    if was == new:
        return
    count = int(number) + 1 if number.isdigit() else 1
    detail = as_json({"old": was or None, "new": new, **in_force(config)}).decode()
    record(
        Audit(
            audit_id=f"aud_{digest(f'{count} {was} {new}'.encode())[:26]}",
            at_ns=now_ns,
            act="settings.changed" if was else "settings.first",
            actor="owner",
            subject="settings",
            detail=detail,
        )
    )
    await cells.apply([Put(key=IN_FORCE, value=f"{new} {count}".encode())])


def stated(config: Config) -> dict[str, Any]:
    """What the settings state beyond the defaults, without where the server listens and keeps its data."""
    found: dict[str, Any] = _stated(config)
    for name in ("data", "listen"):
        found.get("server", {}).pop(name, None)
    if not found.get("server", True):
        del found["server"]
    found.pop("file", None)
    return found


def _stated(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {
            field.encode_name: _stated(getattr(value, field.name))
            for field in msgspec.structs.fields(type(value))
            if getattr(value, field.name) != _default(field)
        }
    if isinstance(value, list | tuple):
        return [_stated(each) for each in value]
    return msgspec.to_builtins(value)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return field.default_factory() if field.default_factory is not msgspec.NODEFAULT else msgspec.NODEFAULT


def in_force(config: Config) -> dict[str, Any]:
    """The policies in their order with versions and parameters, the tools with their class, and the monitors' names."""
    known = discover("policies")
    return {
        "policies": [
            {
                "name": use.name or use.use,
                "policy": use.use,
                "version": known[use.use].header.version if use.use in known else None,
                "mode": use.mode,
                "owner": use.owner,
                "with": {name: _shown(name, value) for name, value in use.parameters.items()},
            }
            for use in config.policies
        ],
        "tools": [msgspec.to_builtins(tool) for tool in config.tools],
        "monitors": [use.name or use.use for use in config.monitors],
        "upstreams": [upstream.name for upstream in config.upstreams],
    }


def _shown(name: str, value: Any) -> Any:
    if _SECRET.search(name) and not isinstance(value, int | float):
        return "(not shown)"
    return value if len(str(value)) <= MOST_PARAMETER_CHARS else f"{str(value)[:MOST_PARAMETER_CHARS]} ..."


class SignIns:
    """Writes sign-ins. Failed ones at most once a minute, with how many there were, so that nobody fills a disk so."""

    def __init__(self, record: Callable[[Audit], object], clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._record, self._clock_ns = record, clock_ns
        self._failed = 0
        self._last_ns = 0

    def __call__(self, act: str, subject: str) -> None:
        """`act` is "signin" or "signin.failed"; `subject` whose key, or from which address."""
        now_ns = self._clock_ns()
        if act == "signin.failed":
            self._failed += 1
            if now_ns - self._last_ns < QUIET_S * 1e9:
                return
            self._last_ns = now_ns
        count = f"{self._failed} failed sign-ins since the last line like this" if act == "signin.failed" else None
        self._failed = 0 if count else self._failed
        self._record(
            Audit(
                audit_id=new_id("aud", now_ns),
                at_ns=now_ns,
                act=act,
                actor="unknown" if act == "signin.failed" else subject,
                subject=subject,
                detail=count,
            )
        )
