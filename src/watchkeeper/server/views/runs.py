"""Prepares the runs that a policy has stopped: why, how often, and what lets them go on."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from watchkeeper.records.record import Record
from watchkeeper.server.views.wording import count_of
from watchkeeper.server.visible import visible

BUDGETS = ("budget", "key_limits")
"""Policies whose rulings letting a run go on does not change: what is spent stays spent."""


class StoppedRow(Record):
    """One run that was stopped; `run` and `tenant` are as they are, for the form, and `state` says what holds now."""

    run: str
    tenant: str
    shown: str
    verdict: str
    policy: str
    reason: str
    sentence: str
    times: str
    at_ns: int
    href: str
    command: str
    by_budget: bool
    resumed_ns: int | None = None
    resumed_by: str = ""


def stopped_rows(runs: Iterable[Mapping[str, Any]]) -> list[StoppedRow]:
    """The lines of the stopped runs."""
    return [_row(run) for run in runs]


def _row(run: Mapping[str, Any]) -> StoppedRow:
    name, tenant = str(run["run"]), str(run["tenant"])
    act = run.get("resumed")
    more = f" --tenant {shlex.quote(tenant)}" if tenant != "default" else ""
    return StoppedRow(
        run=name,
        tenant=tenant,
        shown=visible(name),
        verdict=str(run["verdict"]),
        policy=visible(str(run.get("policy") or "")),
        reason=visible(str(run.get("reason") or "")),
        sentence=visible(str(run.get("sentence") or "")),
        times=count_of(int(run["stops"]), "time"),
        at_ns=int(run["at_ns"]),
        href="/ui/decisions?" + urlencode({"run": name}),
        command=f"watchkeeper runs resume {shlex.quote(visible(name))}{more}",
        by_budget=run.get("policy") in BUDGETS,
        resumed_ns=None if act is None else int(act["at_ns"]),
        resumed_by="" if act is None else visible(str(act["actor"])),
    )
