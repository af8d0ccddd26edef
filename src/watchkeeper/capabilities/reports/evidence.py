"""Writes down what an agent was allowed to do, what it did, who stood behind it, and what is missing from that record.

Problem
    An authenticated, authorised agent does the damage. Afterwards an insurer, an auditor or a court asks who let it,
    which limits held, how often, for how much and how fast it was stopped; the answers lie in five places, and what was
    never written down is found out at claim time.

Method
    From the record of one agent in a time range: its tools by the class that their owner declared; the caps in force,
    each with version, parameters and since when (the audit trail of settings); the chain of authority behind every act
    (key, user, agent, tool, and where each was learnt); the ledger of effects with idempotency keys; stops, with how
    many effects were done before the first one and how long that took; revoked keys with the time until their last act;
    incidents; and the gaps: everything above that is not there. The calculator multiplies a measured rate, a measured
    time until containment and a declared unit cost, each with its bounds (`analysis.loss`).

Limits
    It states what is on record and gives no advice about cover. Tools that are called past the SDK and the API, and
    effects that nobody wrote down, are not seen; it can only say that a tool was called and has no effects. Classes,
    unit costs and approval rules are what the owner declared. Effects beyond 20,000 are counted and not listed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import msgspec

from watchkeeper.analysis import loss
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.report import Scope, Subjects
from watchkeeper.queries.conduct import MOST_EFFECTS, STOPS, Conduct, conduct_of
from watchkeeper.queries.question import Reader
from watchkeeper.queries.timespan import SECOND_NS
from watchkeeper.records.document import Block, Document, Facts, Heading, Table, Text
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Scalar

ACTING = ("irreversible", "money", "message", "data")
"""Classes of tools that change the world and so need a cap."""

GRAVE = ("irreversible", "money")
Row = Mapping[str, Any]


class EvidenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence pack of an agent; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="evidence",
        version="1",
        theme="governance",
        summary="What an agent was allowed to do, what it did, who stood behind it, and what the record lacks.",
    )
    subjects: ClassVar[Subjects] = Subjects(prefix="agent:", parts=("agent",), offers="agents")

    listed: Annotated[int, msgspec.Meta(ge=0, le=5_000, description="At most so many effects are listed.")] = 200

    async def compose(self, scope: Scope, reader: Reader) -> Document:
        """Write the document; raises `ValueError` when the subject is no agent."""
        kind, _, agent = scope.subject.partition(":")
        if kind != "agent" or not agent:
            raise ValueError(f"The evidence pack is about an agent: agent:<name>, not {scope.subject[:80]!r}.")
        seen = await conduct_of(agent, scope.since_ns, scope.until_ns or scope.now_ns + 1, reader)
        gaps = _gaps(seen)
        blocks: list[Block] = [
            Text(text=_summary(agent, seen, gaps)),
            Heading(text="Gaps"),
            _list(("missing",), [(gap,) for gap in gaps], "Nothing that this report looks for is missing."),
            Heading(text="Tools by consequence"),
            _tools(seen),
            Heading(text="Caps and approvals in force"),
            _policies(seen),
            Heading(text="Who authorised it"),
            _authority(seen),
            Heading(text="Stops"),
            _stops(seen),
            Heading(text="Kill switch"),
            _switches(seen),
            Heading(text="Effects"),
            *_effects(seen, self.listed),
            Heading(text="Incidents"),
            _incidents(seen),
            Heading(text="What it can have cost"),
            Text(text="Rate, time and unit cost with their bounds, multiplied. No forecast and no advice about cover."),
            _losses(seen),
            Heading(text="How to check this"),
            Text(
                text="Every line comes from records in a journal whose frames are chained and committed to. "
                "`watchkeeper evidence verify` checks a pack by itself, and against the journal that it came from."
            ),
        ]
        span = f"{_utc(scope.since_ns)} to {_utc(scope.until_ns or scope.now_ns)}"
        return Document(title=f"Agent {agent}", subtitle=f"Evidence, {span}", at_ns=scope.now_ns, blocks=tuple(blocks))


def _gaps(seen: Conduct) -> list[str]:
    """Everything that this report looks for and does not find, in words."""
    gaps = []
    if not seen.settings:
        gaps.append("missing: the settings in force; the audit trail begins with the first start of a server")
    for tool in seen.tools():
        gaps += _tool_gaps(seen, tool)
    stops = [each for each in seen.stops() if _acting(seen, each.tool)]
    endless = sum(1 for each in stops if not each.stopped_ns)
    if endless:
        gaps.append(
            f"missing: a stop in {endless:,} of {len(stops):,} runs with effects; none was needed, or none came"
        )
    if not seen.switches():
        gaps.append("missing: a drill of the kill switch; no key of this agent was revoked in this time")
    unsettled = sum(1 for each in seen.effects if each["settled_ns"] is None)
    if unsettled:
        gaps.append(f"missing: what came of {unsettled:,} effects; they were planned and never settled")
    nobody = sum(1 for each in seen.effects if not each["key"] and not each["user"])
    if nobody:
        gaps.append(f"missing: who stood behind {nobody:,} effects; neither key nor user is known")
    claimed = sum(1 for each in seen.effects if each["user"] and (each["sources"] or {}).get("user") != "key")
    if claimed:
        gaps.append(f"missing: proof of the user of {claimed:,} effects; the caller said so, no key is bound to it")
    if seen.checkpoint_ns is None:
        gaps.append("missing: a checkpoint of the journal; without one outside this machine its owner could rewrite it")
    elif seen.effects and seen.checkpoint_ns < max(int(each["at_ns"]) for each in seen.effects):
        gaps.append(f"missing: a checkpoint since {_utc(seen.checkpoint_ns)}; effects came after it")
    if seen.more_effects:
        gaps.append(f"missing: effects beyond the first {MOST_EFFECTS:,}; ask for a shorter time")
    return gaps


def _tool_gaps(seen: Conduct, tool: str) -> list[str]:
    declared = seen.declared(tool)
    if declared is None:
        return [f"missing: class of tool {tool}; declare it in [[tools]]"]
    if declared["class"] not in ACTING:
        return []
    gaps = []
    caps = seen.caps(tool)
    if not caps:
        gaps.append(f"missing: cap for tool {tool}")
    elif all(each["mode"] != "enforce" for each in caps):
        gaps.append(f"missing: cap for tool {tool} that is enforced; it is in shadow only")
    if declared["class"] in GRAVE and not declared.get("approval"):
        gaps.append(f"missing: approval rule for tool {tool} ({declared['class']})")
    if not declared.get("unit_cost_usd"):
        gaps.append(f"missing: unit cost of tool {tool}")
    if seen.calls.get(tool) and not any(each["tool"] == tool for each in seen.effects):
        gaps.append(
            f"missing: effects of tool {tool}; it was called {seen.calls[tool]:,} times and none was written down"
        )
    return gaps


def _summary(agent: str, seen: Conduct, gaps: Sequence[str]) -> str:
    done = sum(int(each["count"] or 1) for each in seen.effects if each["status"] == "done")
    stops = [each for each in seen.stops() if each.stopped_ns]
    before = sum(each.before for each in stops)
    said = f"Agent {agent} used {len(seen.tools())} tools; {done:,} effects are recorded as done. "
    said += (
        f"It was stopped in {len(stops):,} runs, after {before:,} effects in them. "
        if stops
        else "It was never stopped. "
    )
    return said + f"{len(gaps)} things are missing from this record; they are listed first."


def _tools(seen: Conduct) -> Block:
    rows: list[tuple[Scalar, ...]] = []
    for tool in seen.tools():
        declared = seen.declared(tool)
        own = [each for each in seen.effects if each["tool"] == tool]
        amounts = [float(each["amount_usd"]) for each in own if each["amount_usd"] is not None]
        rows.append(
            (
                tool,
                declared["class"] if declared else "not declared",
                seen.calls.get(tool, 0),
                sum(int(each["count"] or 1) for each in own if each["status"] == "done"),
                sum(amounts) if amounts else None,
                ", ".join(each["name"] for each in seen.caps(tool)) or "missing",
                (declared or {}).get("approval") or ("missing" if declared and declared["class"] in GRAVE else None),
            )
        )
    columns = ("tool", "class", "calls traced", "effects done", "amount (USD)", "caps", "approval")
    return _list(columns, rows, "No tool of this agent is on record.", ("calls traced", "effects done", "amount (USD)"))


def _policies(seen: Conduct) -> Block:
    rows: list[tuple[Scalar, ...]] = []
    for policy in seen.in_force().get("policies", ()):
        stops = sum(1 for each in seen.rulings if each["instance"] == policy["name"] and each["verdict"] in STOPS)
        given = ", ".join(f"{name}={value}" for name, value in sorted(policy["with"].items()))
        rows.append(
            (
                policy["name"],
                f"{policy['policy']} {policy['version'] or '?'}",
                policy["mode"],
                given or None,
                _utc(seen.since_when(policy)),
                policy["owner"],
                stops,
            )
        )
    columns = ("name", "policy", "mode", "parameters", "in force since (UTC)", "owner", "stops")
    return _list(columns, rows, "No policy is in force, or no settings are on record.", ("stops",))


def _authority(seen: Conduct) -> Block:
    chains: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for kind, rows in (("effects", seen.effects), ("rulings", seen.rulings)):
        for each in rows:
            learnt = each.get("sources") or {}
            shown = ", ".join(f"{name}: {learnt[name]}" for name in sorted(learnt))
            who = tuple(str(each[name] or "unknown") for name in ("key", "user", "agent", "tool"))
            chain = chains[(*who, shown)]
            stopped = kind == "rulings" and each["verdict"] in STOPS
            chain[kind] += int(each["count"] or 1) if kind == "effects" else 1
            chain["stopped"] += stopped
    lines = [(*chain, n["effects"], n["rulings"], n["stopped"]) for chain, n in sorted(chains.items())]
    columns = ("key", "user", "agent", "tool", "learnt from", "effects", "rulings", "of them stops")
    return _list(columns, lines[:500], "No act of this agent is on record.", columns[5:])


def _stops(seen: Conduct) -> Block:
    rows = [
        (
            each.run,
            each.tool,
            _utc(each.first_ns),
            _utc(each.stopped_ns) or "never",
            each.by,
            each.before,
            each.after,
            each.seconds,
        )
        for each in seen.stops()
    ]
    columns = (
        "run",
        "tool",
        "first effect",
        "first stop",
        "by",
        "done before it",
        "done after it",
        "seconds to it",
    )
    return _list(columns, rows[:500], "No effects are on record, so there was nothing to stop.", columns[5:])


def _switches(seen: Conduct) -> Block:
    rows = [(_utc(act["at_ns"]), act["subject"], act["actor"], seconds) for act, seconds in seen.switches()]
    columns = ("revoked (UTC)", "key", "by", "seconds until its last act")
    return _list(columns, rows, "Missing: no key of this agent was revoked in this time.", (columns[3],))


def _effects(seen: Conduct, listed: int) -> list[Block]:
    again = Counter(str(each["idempotency_key"]) for each in seen.effects if each["status"] == "done")
    twice = sum(n - 1 for n in again.values() if n > 1)
    by = Counter((str(each["tool"]), str(each["status"])) for each in seen.effects)
    facts = Facts(
        items=(
            ("written down", len(seen.effects)),
            ("done", sum(n for (_, status), n in by.items() if status == "done")),
            ("failed", sum(n for (_, status), n in by.items() if status == "failed")),
            ("never settled", sum(n for (_, status), n in by.items() if status == "planned")),
            ("undone", sum(n for (_, status), n in by.items() if status == "undone")),
            ("done again under one key", twice),
        )
    )
    names = (
        "at_ns",
        "tool",
        "status",
        "count",
        "target",
        "idempotency_key",
        "amount_usd",
        "user",
        "key",
        "run",
        "trace_id",
    )
    rows = [
        (_utc(each["at_ns"]), *(each[name] for name in names[1:]))
        for each in seen.effects[max(0, len(seen.effects) - listed) :]
    ]
    caption = f"The last {len(rows):,} of {len(seen.effects):,}."
    return [facts, _list(names, rows, "No effects are on record.", ("count", "amount_usd"), caption)]


def _incidents(seen: Conduct) -> Block:
    latest: dict[str, Row] = {}
    for each in seen.incidents:
        latest.setdefault(str(each["incident_id"]), each)
    rows = [
        (each["incident_id"], each["subject"], each["severity"], each["status"], _utc(each["opened_ns"]), _length(each))
        for each in latest.values()
    ]
    columns = ("incident", "subject", "severity", "status", "opened (UTC)", "seconds to its end")
    return _list(columns, rows, "No incident of this house was opened in this time.", (columns[5],))


def _length(incident: Row) -> float | None:
    end = incident["resolved_ns"]
    return None if end is None else (int(end) - int(incident["opened_ns"])) / SECOND_NS


def _losses(seen: Conduct) -> Block:
    rows: list[tuple[Scalar, ...]] = []
    for tool in seen.tools():
        declared = seen.declared(tool)
        if declared is None or declared["class"] not in ACTING:
            continue
        stops = [(each.before, each.seconds) for each in seen.stops() if each.tool == tool and each.seconds]
        per_second = loss.rate(sum(done for done, _ in stops), sum(length for _, length in stops))
        seconds = loss.observed_range([length for _, length in stops], unit="s")
        cost = declared.get("unit_cost_usd")
        unit = loss.declared_range(*cost, unit="USD") if cost else loss.observed_range([], unit="USD")
        whole = loss.loss(per_second, seconds, unit)
        rows.append((tool, _range(per_second), _range(seconds), _range(unit), _range(whole), len(stops)))
    columns = ("tool", "damage per second", "seconds until contained", "unit cost (USD)", "loss (USD)", "stops")
    return _list(columns, rows, "No tool that acts is declared.", ("stops",))


def _range(estimate: Estimate) -> str:
    if math.isnan(estimate.value):
        return "unknown"
    high = "unknown" if math.isinf(estimate.high) else f"{estimate.high:,.4g}"
    return f"{estimate.value:,.4g} ({estimate.low:,.4g} to {high})"


def _acting(seen: Conduct, tool: str) -> bool:
    declared = seen.declared(tool)
    return declared is None or declared["class"] in ACTING


def _list(
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    empty: str,
    numeric: Sequence[str] = (),
    caption: str | None = None,
) -> Block:
    if not rows:
        return Text(text=empty)
    return Table(columns=tuple(columns), rows=tuple(rows), numeric=tuple(numeric), caption=caption)


def _utc(at_ns: object) -> str | None:
    if not isinstance(at_ns, int) or not at_ns:
        return None
    return datetime.fromtimestamp(at_ns // SECOND_NS, UTC).strftime("%Y-%m-%d %H:%M:%S")
