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
"""The cell that holds the digest of the settings that were last in force."""

QUIET_S = 60.0
MOST_PARAMETER_CHARS = 300
_SECRET = re.compile(r"secret|token|password|credential|api_?key", re.IGNORECASE)


async def note_settings(config: Config, cells: Cells, record: Callable[[Audit], object], now_ns: int) -> None:
    """Write that the settings changed, with the digests of the old and the new ones and what is in force now.

    Where they are what they were at the last start, nothing is written. Values under names of secrets are left out.
    """
    wanted = msgspec.to_builtins(config)
    for name in ("data", "listen"):
        wanted.get("server", {}).pop(name, None)
    wanted.pop("file", None)
    new = digest(msgspec.json.encode(wanted, order="deterministic"))
    old = await cells.get(IN_FORCE)
    if old == new.encode():
        return
    was = old.decode("ascii", "replace") if isinstance(old, bytes) else None
    detail = as_json({"old": was, "new": new, **in_force(config)}).decode()
    record(
        Audit(
            audit_id=new_id("aud", now_ns),
            at_ns=now_ns,
            act="settings.changed" if was is not None else "settings.first",
            actor="owner",
            subject="settings",
            detail=detail,
        )
    )
    await cells.apply([Put(key=IN_FORCE, value=new.encode())])


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
                actor=subject if act == "signin" else "unknown",
                subject=subject,
                detail=count,
            )
        )
