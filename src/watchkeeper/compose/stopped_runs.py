"""Which runs a policy has stopped: rulings folded into one row for each run, for the command and for the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

STOPS = ("deny", "hold")
_SAID = ("at_ns", "verdict", "reason", "sentence", "policy")


def stopped_runs(rulings: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row for each run (or session, where calls name no run) that was stopped: its latest ruling, and how often.

    `rulings` are decisions that were enforced, in any order; others than `STOPS`, and those about nobody, are left out.
    The latest comes first.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rulings:
        name = row.get("run") or row.get("session")
        if not name or row["verdict"] not in STOPS:
            continue
        known = found.setdefault((row.get("tenant") or "default", name), {"at_ns": -1, "stops": 0})
        known["stops"] += 1
        if row["at_ns"] > known["at_ns"]:
            known.update({key: row.get(key) for key in _SAID})
    rows = [{"run": run, "tenant": tenant, **row} for (tenant, run), row in found.items()]
    return sorted(rows, key=lambda row: -row["at_ns"])
