"""Prepares the page of probes: what each was answered last, its baseline, and what the canary monitor found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from watchkeeper.engines.monitoring.probes import ACCEPTED, SCORE, Probe
from watchkeeper.records.record import Record
from watchkeeper.server.views.wording import UNKNOWN, count, duration, percent
from watchkeeper.server.visible import visible

LAST = 5


class Said(Record):
    """One answer of a probe: what it said in short, its form, and which model says that it answered."""

    at_ns: int
    label: str
    form: str
    model: str
    failed: bool


class ProbeRow(Record):
    """One probe as it stands."""

    name: str
    model: str
    upstream: str
    pace: str
    answers: str
    failures: str
    usual: str
    last: tuple[Said, ...]
    last_ns: int | None
    accepted_ns: int | None
    accepted_by: str
    baseline_ns: int | None


def probe_rows(probes: Iterable[Probe], scores: Sequence[Mapping[str, Any]]) -> list[ProbeRow]:
    """The lines of the probes; `scores` are those of probes, the latest first."""
    return [_row(probe, [each for each in scores if each["subject_id"] == probe.name]) for probe in probes]


def _row(probe: Probe, scores: Sequence[Mapping[str, Any]]) -> ProbeRow:
    """A baseline begins with the first answer after the latest acceptance, or under the latest question."""
    accepted = next((each for each in scores if each["name"] == ACCEPTED), None)
    since_ns = 0 if accepted is None else int(accepted["event_ns"])
    told = [each for each in scores if each["name"] == SCORE and each.get("version") == probe.digest[:16]]
    now = [each for each in told if each["event_ns"] > since_ns]
    well = [each for each in now if each["label"] is not None]
    usual = Counter(str(each["label"]) for each in well).most_common(1)
    return ProbeRow(
        name=probe.name,
        model=visible(probe.model),
        upstream=visible(probe.upstream or ""),
        pace=duration(int(probe.every_s * 1e9)),
        answers=count(len(well)),
        failures=count(len(now) - len(well)),
        usual=f"{visible(usual[0][0])!r} in {percent(usual[0][1], len(well))}" if usual else UNKNOWN,
        last=tuple(_said(each) for each in told[:LAST]),
        last_ns=int(told[0]["event_ns"]) if told else None,
        accepted_ns=since_ns or None,
        accepted_by=visible(str((accepted or {}).get("label") or "")),
        baseline_ns=int(well[-1]["event_ns"]) if well else None,
    )


def _said(score: Mapping[str, Any]) -> Said:
    more = score.get("attributes") or {}
    failed = score["label"] is None
    return Said(
        at_ns=int(score["event_ns"]),
        label=visible(str(more.get("error") or "the call failed") if failed else str(score["label"])) or "(empty)",
        form=visible(str(more.get("form") or "")),
        model=visible(str(more.get("model") or "")),
        failed=failed,
    )
