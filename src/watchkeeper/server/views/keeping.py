"""Prepares what the page about retention shows: rules in words, the disk, what is due, what went and what stayed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from watchkeeper.engines.keeping.keeper import Plan
from watchkeeper.records.kept import Stage
from watchkeeper.records.record import Record
from watchkeeper.server.views.wording import UNKNOWN
from watchkeeper.server.visible import visible

DAY_NS = 24 * 3600 * 1_000_000_000
WENT = {
    Stage.SAMPLED: "bodies that nothing spoke for",
    Stage.BODIES: "all bodies",
    Stage.FIELDS: "previews, messages, attributes",
    Stage.METADATA: "spans",
    Stage.RECORDS: "everything",
    Stage.TRIMMED: "everything, and the file",
}
REASONS = {
    "error": "error",
    "irreversible_effect": "an effect that cannot be taken back",
    "cost_outlier": "cost outlier",
    "guard_hit": "a policy ruled",
    "complaint": "complaint",
    "low_score": "low score",
    "slow_reply": "slow reply",
    "incident": "incident",
    "random": "drawn at random",
}
KINDS = {
    "chunk": "payloads",
    "span": "spans",
    "otlp": "telemetry exports",
    "otlp_logs": "log exports",
    "kept": "decisions of retention",
}


class Part(Record):
    """One line of what takes disk: its name, size, share of all in per cent, and a remark."""

    name: str
    size: str
    share: float
    remark: str = ""


class Rule(Record):
    """One rule in words: what it is about, and for how long or how."""

    name: str
    value: str


class Summary(Record):
    """The page's head: the disk against its cap, the rules, what takes the disk, and what is due."""

    used: str
    cap: str
    cap_share: float | None
    free: str
    forecast: str
    refused: bool
    waiting: str | None
    erased: str
    rules: tuple[Rule, ...]
    parts: tuple[Part, ...]
    kinds: tuple[Part, ...]
    due: tuple[dict[str, str], ...]


def summary(plan: Plan) -> Summary:
    """What the page shows of a plan."""
    cap, used = plan.rules.disk_cap_bytes, plan.use.total
    stored = sum(size for _, size, _ in plan.amounts.values()) or 1
    return Summary(
        used=_size(used),
        cap=UNKNOWN if cap is None else _size(cap),
        cap_share=None if cap is None else min(100.0, 100 * used / cap),
        free=_size(plan.use.free),
        forecast=_forecast(plan),
        refused=plan.refused,
        waiting=plan.waiting,
        erased=f"{plan.erased:,} of {plan.frames:,}",
        rules=_rules(plan),
        parts=tuple(
            Part(name=name, size=_size(size), share=100 * size / max(1, used))
            for name, size in sorted(plan.use.parts.items(), key=lambda each: -each[1])
        ),
        kinds=tuple(
            Part(
                name=KINDS.get(name, name.replace("_", " ")),
                size=_size(size),
                share=100 * size / stored,
                remark=f"{frames:,} written, {erased:,} erased",
            )
            for name, (frames, size, erased) in sorted(plan.amounts.items(), key=lambda each: -each[1][1])
        ),
        due=tuple(
            {
                "where": f"{step.writer} {step.segment}",
                "went": _went(step.to, step.why),
                "why": "disk cap" if step.why == "disk_cap" else "age",
                "most": _size(step.at_most_bytes),
            }
            for step in plan.due[:50]
        ),
    )


def _went(stage: str, why: str) -> str:
    if why == "identities":
        return "names; pseudonyms stay"
    return WENT.get(Stage(stage), stage)


def thinning_rows(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Segments that were thinned, as lines."""
    return [
        {
            "at_ns": row["at_ns"],
            "where": visible(f"{row['writer']} {row['segment']}"),
            "since_ns": row["since_ns"],
            "until_ns": row["until_ns"],
            "went": _went(str(row["stage"]), str(row["why"])),
            "why": "disk cap" if row["why"] == "disk_cap" else "age",
            "traces": f"{row['kept_traces']:,} of {row['traces']:,}" if row["stage"] == Stage.SAMPLED else "",
            "frames": f"{row['frames']:,}",
            "freed": _size(int(row["freed_bytes"])),
        }
        for row in items
    ]


def kept_rows(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Kept traces, as lines."""
    return [
        {
            "trace_id": row["trace_id"],
            "at_ns": row["at_ns"],
            "reasons": ", ".join(REASONS.get(each, visible(str(each))) for each in row["reasons"] or ()),
            "probability": "certain" if row["probability"] >= 1 else f"{100 * row['probability']:.3g}%",
        }
        for row in items
    ]


def _rules(plan: Plan) -> tuple[Rule, ...]:
    rules = plan.rules
    reasons = ", ".join(REASONS.get(each, each) for each in rules.reasons)
    sampled = f"{100 * rules.share:.3g}% at random, and for: {reasons}" if rules.sampling else "all (no sampling)"
    return (
        Rule(name="All bodies", value=_length(rules.window_ns)),
        Rule(name="Bodies kept after that", value=sampled),
        Rule(name="Kept bodies", value=_length(rules.bodies_ns)),
        Rule(name="Previews, messages, attributes", value=_length(rules.fields_ns)),
        Rule(name="Spans", value=_length(rules.metadata_ns)),
        Rule(name="Everything else", value=_length(rules.records_ns)),
        Rule(name="Never for the disk cap's sake", value=f"younger than {_length(rules.floor_ns)}"),
        Rule(name="Digest of these rules", value=plan.version),
    )


def _forecast(plan: Plan) -> str:
    if plan.growth_bytes_a_day is None:
        return "nothing came in this week"
    growth = f"{_size(round(plan.growth_bytes_a_day))} a day come in"
    if plan.cap_in_days is None:
        return growth
    if plan.cap_in_days == 0:
        return f"{growth}; the cap is reached"
    return f"{growth}; untouched, the cap would be reached in {plan.cap_in_days:.1f} days"


def _length(length_ns: int | None) -> str:
    if length_ns is None:
        return "for ever"
    days = length_ns / DAY_NS
    if days < 2:
        return f"{24 * days:.3g} hours"
    return f"{days:,.0f} days" if days >= 10 else f"{days:.3g} days"


def _size(size_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes} B"
