"""Reads the whole conduct of one agent: what it was allowed, what it did, who stood behind it, when it was stopped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from watchkeeper.queries.acts import Effects
from watchkeeper.queries.filters import equal, page
from watchkeeper.queries.judgments import Incidents
from watchkeeper.queries.operations import Audits
from watchkeeper.queries.question import Reader
from watchkeeper.queries.select import Aggregate, And, Column, Known, Order, Select, Table
from watchkeeper.queries.timespan import FAR_NS, SECOND_NS
from watchkeeper.records.record import Record

MOST_EFFECTS = 20_000
_MOST_RULINGS = 100_000
_MOST_KEYS = 100
STOPS = ("deny", "hold")

Row = Mapping[str, Any]


class Stopped(Record):
    """A tool's effects in one run: when they began, its first stop (0: never), and what was done before and after."""

    run: str
    tool: str
    first_ns: int
    stopped_ns: int
    by: str | None
    before: int
    after: int
    seconds: float | None


class Conduct(msgspec.Struct, kw_only=True):
    """What is on record about an agent in a time range; `more_effects` says that only the latest 20,000 were read."""

    since: int
    until: int
    effects: Sequence[Row]
    more_effects: bool
    rulings: Sequence[Row]
    calls: Mapping[str, int]
    settings: Sequence[Row]
    audits: Sequence[Row]
    incidents: Sequence[Row]
    last_act: Mapping[str, int]
    checkpoint_ns: int | None

    def tools(self) -> list[str]:
        """The tools that were called, ruled on, or had effects."""
        names = {*self.calls, *(str(each["tool"]) for each in self.effects)}
        names |= {str(each["tool"]) for each in self.rulings if each["tool"]}
        return sorted(names)

    def in_force(self) -> Mapping[str, Any]:
        """The settings that held last; empty where none are on record."""
        return _detail(self.settings[-1]) if self.settings else {}

    def declared(self, tool: str) -> Mapping[str, Any] | None:
        """What the owner declared of a tool."""
        tools = self.in_force().get("tools", ())
        return next((each for each in tools if fnmatchcase(tool, each["name"])), None)

    def caps(self, tool: str) -> list[Mapping[str, Any]]:
        """The policies in force that name a tool."""
        return [each for each in self.in_force().get("policies", ()) if _names(each, tool)]

    def since_when(self, policy: Row) -> int:
        """Since when a policy is in force exactly as it is now: through all changes of other settings."""
        since = 0
        for each in reversed(self.settings):
            if policy not in _detail(each).get("policies", ()):
                break
            since = int(each["at_ns"])
        return since

    def stops(self) -> list[Stopped]:
        """For each run and tool with effects: when they began, the first stop, and what was done around it."""
        groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for each in self.effects:
            groups[str(each["run"] or each["session"] or "unknown"), str(each["tool"])].append(each)
        found = [self._stop(run, tool, effects) for (run, tool), effects in groups.items()]
        return sorted(found, key=lambda each: each.first_ns)

    def _stop(self, run: str, tool: str, effects: Sequence[Row]) -> Stopped:
        denied = [
            each
            for each in self.rulings
            if each["mode"] == "enforce"
            and each["verdict"] in STOPS
            and each["tool"] == tool
            and run in (each["run"], each["session"])
        ]
        first = denied[0] if denied else None
        stop = 0 if first is None else int(first["at_ns"])
        began = min(int(each["at_ns"]) for each in effects)
        done = [(int(each["at_ns"]), int(each["count"] or 1)) for each in effects if each["status"] == "done"]
        return Stopped(
            run=run,
            tool=tool,
            first_ns=began,
            stopped_ns=stop,
            by=None if first is None else f"{first['instance']}: {first['reason']}",
            before=sum(count for at, count in done if not stop or at <= stop),
            after=sum(count for at, count in done if stop and at > stop),
            seconds=max(0, stop - began) / SECOND_NS if stop else None,
        )

    def switches(self) -> list[tuple[Row, float]]:
        """Keys of this agent that were revoked, with the seconds until their last act; 0 where none came after."""
        found = []
        for act in self.audits:
            key = str(act["subject"]).removeprefix("key:")
            if act["act"] == "key.revoked" and key in self.last_act:
                found.append((act, max(0, self.last_act[key] - int(act["at_ns"])) / SECOND_NS))
        return found


async def conduct_of(agent: str, since: int, until: int, reader: Reader) -> Conduct:
    """Read everything about one agent."""
    effects = (await reader.ask(Effects(agent=agent, since=since, until=until, limit=MOST_EFFECTS + 1))).items
    keys = {str(each["key"]) for each in effects if each["key"]}
    settings = (await reader.ask(Audits(subject="settings", until=until, limit=1_000))).items
    spans = await reader.select(
        Select(
            table="spans",
            since_ns=since,
            until_ns=until,
            columns=(Column(name="tool"), Aggregate(function="count", alias="calls")),
            where=And(all=(*equal(agent=agent, operation="execute_tool"), Known(column="tool"))),
            group=("tool",),
        )
    )
    return Conduct(
        since=since,
        until=until,
        effects=list(reversed(effects[:MOST_EFFECTS])),
        more_effects=len(effects) > MOST_EFFECTS,
        rulings=await _rulings(agent, since, until, reader),
        calls={str(row["tool"]): int(row["calls"]) for row in spans.dicts()},  # type: ignore[call-overload]
        settings=list(reversed(settings)),
        audits=(await reader.ask(Audits(since=since, until=until, limit=100_000))).items,
        incidents=(await reader.ask(Incidents(since=since, until=until, limit=1_000))).items,
        last_act={key: await _last_act(key, reader) for key in sorted(keys)[:_MOST_KEYS]},
        checkpoint_ns=await _checkpoint(until, reader),
    )


async def _rulings(agent: str, since: int, until: int, reader: Reader) -> Sequence[Row]:
    rows = await reader.select(
        Select(
            table="decisions",
            since_ns=since,
            until_ns=until,
            columns=tuple(Column(name=each) for each in _RULING),
            where=And(all=tuple(equal(agent=agent))),
            order=(Order(by="at_ns"), Order(by="decision_id")),
            limit=_MOST_RULINGS,
        )
    )
    return page(rows, "decisions").items


_RULING = (
    "decision_id", "at_ns", "verdict", "reason", "sentence", "policy", "version", "instance", "mode", "stage", "tool",
    "key", "user", "session", "run", "agent", "sources",
)  # fmt: skip


async def _last_act(key: str, reader: Reader) -> int:
    """When a key was last used for a call, as far as that is on record; 0 for never."""
    latest = 0
    clocks: tuple[tuple[Table, str], ...] = (("spans", "start_ns"), ("effects", "at_ns"))
    for table, clock in clocks:
        rows = await reader.select(
            Select(
                table=table,
                since_ns=0,
                until_ns=FAR_NS,
                columns=(Aggregate(function="max", column=clock, alias="last"),),
                where=And(all=tuple(equal(key=key))),
            )
        )
        last = rows.rows[0][0] if rows.rows else None
        latest = max(latest, last if isinstance(last, int) else 0)
    return latest


async def _checkpoint(until: int, reader: Reader) -> int | None:
    columns = (Aggregate(function="max", column="at_ns", alias="last"),)
    rows = await reader.select(Select(table="checkpoints", since_ns=0, until_ns=until, columns=columns))
    last = rows.rows[0][0] if rows.rows else None
    return last if isinstance(last, int) else None


def _names(policy: Mapping[str, Any], tool: str) -> bool:
    """Whether a policy's parameters name a tool, as `tools` (a list of patterns) or `tool`."""
    given = policy["with"]
    patterns = given.get("tools") or ([given["tool"]] if given.get("tool") else [])
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return any(fnmatchcase(tool, str(pattern)) for pattern in patterns)


def _detail(audit: Row) -> dict[str, Any]:
    try:
        return msgspec.json.decode(str(audit["detail"]), type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
