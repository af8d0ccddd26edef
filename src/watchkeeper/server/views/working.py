"""Prepares what the pages about jobs and effects show: words for where work is and how it ended, each value escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from watchkeeper.server.views.wording import UNKNOWN, count, duration, usd
from watchkeeper.server.visible import visible

OUTCOMES = {
    "needs-input": "It waits for somebody's answer",
    "completed-verified": "Done, and all that it declared to hold was checked and held",
    "completed-unverified": "Done, but nothing says that its result is right",
    "refused": "A rule or the model declined",
    "failed": "It did not come to its end",
    "cancelled": "Somebody ended it; its run has no further effect",
    "unknown": "What became of it is not known: look at its trace, then resume or cancel it",
}
STATES = {
    "planned": "Claimed, and not settled yet",
    "done": "It happened, by its claimant's or somebody's word",
    "failed": "It certainly did not happen",
    "undone": "It happened and was taken back",
    "unknown": "It may have happened or not: somebody has to look and settle it",
}
TONES = {
    "completed-verified": "ok",
    "done": "ok",
    "unknown": "error",
    "failed": "error",
    "refused": "denied",
    "cancelled": "denied",
}


def job_rows(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Jobs as lines of a list."""
    return [
        {
            "job_id": row["job_id"],
            "name": _seen(row["kind"]),
            "status": row["status"],
            "outcome": row["outcome"] or "",
            "tone": TONES.get(row["outcome"] or "", "open" if row["status"] != "ended" else "plain"),
            "meaning": OUTCOMES.get(row["outcome"] or "", "Nothing is known of its result yet"),
            "submitted_ns": row["submitted_ns"] or row["at_ns"],
            "moved_ns": row["at_ns"],
            "progress": UNKNOWN if row["progress"] is None else f"{100 * row['progress']:.0f}%",
            "step": _seen(row["step"]) or UNKNOWN,
            "cost": usd(row["cost_usd"]),
            "checks": _checks_in_short(row["checks"] or ()),
            "message": _seen(row["message"]),
        }
        for row in items
    ]


def job_facts(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of one job, in the order in which somebody asks."""
    since_ns = row["submitted_ns"]
    return [
        ("Transport", str(row["status"])),
        ("Outcome", row["outcome"] or UNKNOWN),
        ("Why it stopped", _seen(row["stop_reason"]) or UNKNOWN),
        ("Step", _seen(row["step"]) or UNKNOWN),
        ("Steps", count(row["steps"])),
        ("Model", _seen(row["model"]) or UNKNOWN),
        ("Cost", usd(row["cost_usd"])),
        ("Took", duration(None if since_ns is None else row["at_ns"] - since_ns)),
        ("Run", _seen(row["run"]) or UNKNOWN),
        ("User", _seen(row["user"]) or UNKNOWN),
        ("Key", _seen(row["key"]) or UNKNOWN),
    ]


def check_rows(checks: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Postconditions that ran, each with whether it held."""
    words = {True: ("held", "ok"), False: ("did not hold", "error"), None: ("not judged", "open")}
    return [
        {
            "name": _seen(check["name"]),
            "said": words[check.get("held")][0],
            "tone": words[check.get("held")][1],
            "explanation": _seen(check.get("explanation")),
        }
        for check in checks
    ]


def effect_rows(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Effects as lines of a list."""
    return [
        {
            "effect_id": row["effect_id"],
            "at_ns": row["at_ns"],
            "status": row["status"],
            "tone": TONES.get(row["status"], "open"),
            "meaning": STATES.get(row["status"], ""),
            "tool": _seen(row["tool"]),
            "object": _seen(row["target"]) or UNKNOWN,
            "run": _seen(row["run"]) or UNKNOWN,
            "step": _seen(row["step"]) or UNKNOWN,
            "amount": usd(row["amount_usd"]),
            "attempt": row["attempt"] or 1,
        }
        for row in items
    ]


def effect_facts(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of one effect."""
    return [
        ("Tool", _seen(row["tool"])),
        ("Object", _seen(row["target"]) or UNKNOWN),
        ("Run", _seen(row["run"]) or UNKNOWN),
        ("Step", _seen(row["step"]) or UNKNOWN),
        ("Key", _seen(row["idempotency_key"])),
        ("How many", count(row["count"])),
        ("Amount", usd(row["amount_usd"])),
        ("Can be taken back", {True: "yes", False: "no"}.get(row["reversible"], UNKNOWN)),
        ("Attempt", count(row["attempt"])),
        ("Settled by", _seen(row["settled_by"]) or UNKNOWN),
        ("Told", _seen(row["detail"]) or UNKNOWN),
        ("Receipt", _seen(row["receipt"]) or UNKNOWN),
    ]


def _checks_in_short(checks: Sequence[Mapping[str, Any]]) -> str:
    if not checks:
        return UNKNOWN
    return f"{sum(check.get('held') is True for check in checks)} of {len(checks)} held"


def _seen(text: object) -> str:
    return "" if text is None else visible(str(text))
