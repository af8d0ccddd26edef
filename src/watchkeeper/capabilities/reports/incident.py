"""Writes an incident down for somebody who was not there: what happened, how sure that is, and what nobody looked at.

Problem
    After an incident people ask what happened, since when, how bad, to whom, and what changed. The answers lie in five
    places, and what was never measured is silently taken for fine.

Method
    From the incident's findings: the last one in its own words, and the same window counted again now, labels that came
    since included. A chart of the bad share per time bucket with Wilson's 95% interval, the share that the objective
    allows, and marks for findings and for compositions first seen; the bucket suits where the judged events lie. The
    first bucket that lies above what is allowed (95% over all buckets together) says since when. The timeline; the
    sessions judged worst and their traces; what policies ruled meanwhile. Then what is missing: sessions with calls
    that nobody judged, scores without a value, traces that are not linked, an index that lags. Last, how to check it.

Limits
    It claims no cause: a mark beside a fall is a coincidence until somebody shows more. Findings that name no signal
    get no chart and no table of sessions. Of exemplars and decisions only the first are listed, and it says so. Bars
    whose events are not independent are too narrow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

import msgspec

from watchkeeper.analysis import intervals
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.report import Scope, Subjects
from watchkeeper.queries.exemplars import Exemplars, TracesOf
from watchkeeper.queries.filters import count
from watchkeeper.queries.judgments import Incidents, Outcomes
from watchkeeper.queries.question import Reader
from watchkeeper.queries.select import Aggregate, And, Column, Compare, Join, Known, Order, Select
from watchkeeper.queries.timespan import DAY_NS, FAR_NS, HOUR_NS, MINUTE_NS, SECOND_NS
from watchkeeper.queries.whole import FindingsOf, Whole
from watchkeeper.records.document import Block, Chart, Code, Document, Facts, Heading, Series, Table, Text, Timeline
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.finding import Finding
from watchkeeper.records.incident import Incident
from watchkeeper.records.record import Scalar

_WIDTHS_NS = (
    SECOND_NS, 5 * SECOND_NS, 15 * SECOND_NS, MINUTE_NS, 5 * MINUTE_NS, 15 * MINUTE_NS, HOUR_NS, 3 * HOUR_NS,
    6 * HOUR_NS, 12 * HOUR_NS, DAY_NS,
)  # fmt: skip
SURELY_ABOVE = "surely more bad than allowed from here on"
_FEWEST = 12
_EVENTS = 8
_LISTED = 5
_GATHERED = ("manifest", "trace", "session", "span")
_MORE = re.compile(r"([0-9,]+) more new compositions")


class IncidentReport(msgspec.Struct, frozen=True, kw_only=True):
    """An incident as a document; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="incident",
        version="1",
        theme="governance",
        summary="What happened in an incident, how sure that is, what changed meanwhile, and what nobody looked at.",
    )
    subjects: ClassVar[Subjects] = Subjects(prefix="incident:", parts=("incident",), offers="incidents", ranged=False)

    buckets: Annotated[int, msgspec.Meta(ge=4, le=500, description="About so many points in the chart.")] = 60
    sessions: Annotated[int, msgspec.Meta(ge=1, le=200, description="At most so many of the worst sessions.")] = 20

    async def compose(self, scope: Scope, reader: Reader) -> Document:
        """Write the document; raises `LookupError` when there is no such incident, `ValueError` for another subject."""
        incident = await _incident(scope.subject, reader)
        findings = await _findings(incident, reader)
        watched = next((each for each in reversed(findings) if isinstance(each.evidence.get("signal"), str)), None)
        until = incident.resolved_ns or scope.now_ns
        chart = None if watched is None else await self._chart(incident, findings, watched, until, reader)
        opening = await self._opening(incident, findings, reader)
        blocks: list[Block] = [*opening, _facts(incident, findings, until, chart)]
        blocks += [] if chart is None else [chart]
        blocks += [Heading(text="Timeline"), _timeline(incident)]
        if watched is not None:
            blocks += await self._worst(watched, reader)
        blocks += await _decisions(_start(findings, incident), until, reader)
        blocks += [Heading(text="What was not looked at"), *await self._gaps(incident, watched, reader)]
        blocks += [Heading(text="How to check this"), _checks(incident)]
        return Document(
            title=incident.title,
            subtitle=f"{incident.incident_id}, {incident.status}, {incident.severity}, about {incident.subject}",
            at_ns=scope.now_ns,
            blocks=tuple(blocks),
        )

    async def _opening(self, incident: Incident, findings: list[Finding], reader: Reader) -> list[Block]:
        if not findings:
            return [Text(text=f"{incident.title}. The findings behind this incident are not in the index.")]
        last = findings[-1]
        return [Text(text=last.sentence), *await _restated(last, reader)]

    async def _chart(
        self, incident: Incident, findings: list[Finding], watched: Finding, until: int, reader: Reader
    ) -> Chart:
        length = max(each.window_end_ns - each.window_start_ns for each in findings)
        since = max(0, _start(findings, incident) - length)
        width, known = await self._buckets(watched, since, until + 1, reader)
        rates = [intervals.wilson(bad, total) for _, bad, total in known]
        objective = watched.evidence.get("objective")
        first, last = (known[0][0], known[-1][0] + width) if known else (since, until)
        near = max(last - first, _FEWEST * width)
        marks = [(each.at_ns, f"finding: {each.severity}") for each in findings]
        changes = [(at, text) for at, text in _changes(incident) if first - near <= at <= last + near]
        marks += [(at, text) for at, text in _folded(changes) if first - near <= at <= last + near]
        judged = sum(total for _, _, total in known)
        limit = 1 - objective if isinstance(objective, float) else None
        above = None if limit is None else _first_above(limit, known)
        marks += [] if above is None else [(above, SURELY_ABOVE)]
        return Chart(
            title=f"Share of bad {watched.evidence['signal']!r} per {_span(width)}, with 95% intervals "
            f"({judged:,} judged)",
            unit="% bad",
            series=(
                Series(
                    name="bad, 95% interval",
                    points=tuple((at, 100 * rate.value) for (at, _, _), rate in zip(known, rates, strict=True)),
                    low=tuple(100 * rate.low for rate in rates),
                    high=tuple(100 * rate.high for rate in rates),
                ),
            ),
            limit=None if limit is None else 100 * limit,
            limit_name="allowed:",
            marks=tuple(sorted(each for each in marks if first - near <= each[0] <= last + near)[:24]),
        )

    async def _buckets(
        self, watched: Finding, since: int, until: int, reader: Reader
    ) -> tuple[int, list[tuple[int, int, int]]]:
        """The width that suits where the judged events lie, and (bucket, bad, all) for each that has any.

        From coarse to fine: each look narrows the range to the events' own, until the width no longer changes.
        """
        width = next((w for w in _WIDTHS_NS if (until - since) / w <= self.buckets), _WIDTHS_NS[-1])
        known: list[tuple[int, int, int]] = []
        while True:
            rows = (await reader.ask(_outcomes(watched, since, until, width))).items
            known = [(row["bucket"], row["bad"], row["good"] + row["bad"]) for row in rows if row["good"] + row["bad"]]
            if not known:
                return width, known
            since, until = max(since, known[0][0]), min(until, known[-1][0] + width)
            finer = self._width(until - since, sum(total for _, _, total in known))
            if finer >= width:
                return width, known
            width = finer

    def _width(self, length: int, judged: int) -> int:
        """The narrowest width with enough events in a bucket; else the widest that still gives some buckets."""
        fitting = [w for w in _WIDTHS_NS if length / w <= self.buckets] or [_WIDTHS_NS[-1]]
        enough = [w for w in fitting if length / w >= _FEWEST and judged * w / length >= _EVENTS]
        some = [w for w in fitting if length / w >= _FEWEST]
        return enough[0] if enough else some[-1] if some else fitting[0]

    async def _worst(self, watched: Finding, reader: Reader) -> list[Block]:
        asked = _exemplars(watched, self.sessions)
        worst = await reader.ask(asked)
        names = tuple(dict.fromkeys(each.session for each in worst if each.session is not None))
        traces = await reader.ask(TracesOf(ids=names, since=max(0, asked.since - DAY_NS))) if names else ()
        last = {trace.key: trace for trace in reversed(traces)}
        rows: list[tuple[Scalar, ...]] = []
        for each in worst:
            trace = None if each.session is None else last.get(each.session)
            rows.append(
                (
                    each.session or f"{each.subject_kind} {each.subject_id}",
                    _utc(each.event_ns),
                    each.value,
                    each.label or (each.explanation or "")[:120] or None,
                    each.trace_id or (trace.trace_id if trace else None),
                    trace.cost_usd if trace else None,
                )
            )
        names_shown = ("session", "judged (UTC)", "value", "said of it", "trace", "cost (USD)")
        shown = [i for i in range(len(names_shown)) if i == 0 or any(row[i] is not None for row in rows)]
        table = Table(
            columns=tuple(names_shown[i] for i in shown),
            rows=tuple(tuple(row[i] for i in shown) for row in rows),
            numeric=("value", "cost (USD)"),
            caption=f"The {len(rows)} judged worst in the last finding's window; at most {self.sessions} are listed.",
        )
        return [Heading(text="The worst sessions"), table]

    async def _gaps(self, incident: Incident, watched: Finding | None, reader: Reader) -> list[Block]:
        lines = ["No cause is claimed. A composition that appeared before a fall may have nothing to do with it."]
        if watched is not None:
            lines += await _unjudged(watched, reader)
            unknown = watched.evidence.get("long_without_value")
            if unknown:
                lines.append(f"{unknown} scores in the window have no value and count for neither side.")
        lines.append(
            f"{len(incident.traces)} traces are linked. Sessions whose calls did not pass through the gateway and were "
            "not sent as traces have none."
            if incident.traces
            else "No trace is linked: the judged sessions sent no calls through the gateway and no traces."
        )
        return [Text(text=line) for line in lines]


async def _incident(subject: str, reader: Reader) -> Incident:
    kind, _, name = subject.partition(":")
    if kind != "incident" or not name:
        raise ValueError(f"this report is about an incident; write incident:ID, not {subject[:80]!r}.")
    found = await reader.ask(Whole(Incidents(incident_id=name), Incident))
    if not found:
        raise LookupError(f"There is no incident {name[:64]!r}. List them: watchkeeper incident list")
    return found[0]


async def _findings(incident: Incident, reader: Reader) -> list[Finding]:
    """The incident's findings that are in the index, oldest first."""
    return list(reversed(await reader.ask(FindingsOf(ids=incident.findings))))


async def _restated(finding: Finding, reader: Reader) -> list[Block]:
    """The finding's window counted again; nothing where no label has come or changed since."""
    then_good, then_bad = finding.evidence.get("long_good"), finding.evidence.get("long_bad")
    if not isinstance(then_good, int) or not isinstance(then_bad, int):
        return []
    length = finding.window_end_ns - finding.window_start_ns
    rows = (await reader.ask(_outcomes(finding, finding.window_start_ns, finding.window_end_ns, length))).items
    good, bad = (sum(int(row[name]) for row in rows) for name in ("good", "bad"))
    if (good, bad) == (then_good, then_bad) or not good + bad:
        return []
    now = intervals.wilson(bad, good + bad)
    return [
        Text(
            text=f"Restated with the labels that have come since: {_percent(now)} of {now.n:,} in that window were "
            f"bad, where {then_bad:,} of {then_good + then_bad:,} were known to be when it was found."
        )
    ]


def _facts(incident: Incident, findings: list[Finding], until: int, chart: Chart | None) -> Facts:
    burn = findings[-1].estimate if findings else None
    left = findings[-1].evidence.get("budget_remaining") if findings else None
    items: list[tuple[str, Scalar]] = [
        ("Status", incident.status),
        ("Severity", incident.severity),
        ("Owner", incident.owner),
        ("Opened (UTC)", _utc(incident.opened_ns)),
        ("Lasted" if incident.resolved_ns else "Open for", _span(max(0, until - incident.opened_ns))),
        *_since(chart),
        ("Estimate", None if burn is None else _estimate(burn)),
        ("Budget left", _left(left) if isinstance(left, int | float) else None),
        ("Findings", len(incident.findings)),
        ("Traces", len(incident.traces)),
    ]
    return Facts(items=tuple(items))


def _first_above(limit: float, known: Sequence[tuple[int, int, int]]) -> int | None:
    """The first bucket that is surely above: its whole interval is, at 95% over all buckets together (Bonferroni)."""
    sure = 1 - 0.05 / max(1, len(known))
    return next((at for at, bad, total in known if intervals.wilson(bad, total, confidence=sure).low > limit), None)


def _since(chart: Chart | None) -> list[tuple[str, Scalar]]:
    if chart is None or chart.limit is None:
        return []
    at = next((at for at, text in chart.marks if text == SURELY_ABOVE), None)
    return [("Surely above what is allowed since (UTC)", "not resolved" if at is None else _utc(at))]


def _left(share: float) -> str:
    return f"{share:.0%}" if share >= 0 else f"overspent by {-share:.0%}"


def _timeline(incident: Incident) -> Timeline:
    """All that people and monitors did; of what was gathered the first few, and how many more there are."""
    entries = [(each.at_ns, each.kind, f"{each.text} [{each.actor}]") for each in incident.timeline]
    told = [each for each in entries if each[1] not in _GATHERED]
    told += [(at, "manifest", text) for at, text in _folded(_changes(incident))]
    judged = sorted(each for each in entries if each[1] in _GATHERED and each[1] != "manifest")
    told += judged[:_LISTED]
    if len(judged) > _LISTED:
        more = f"and {len(judged) - _LISTED:,} more that were judged bad; the worst are in the table below"
        told.append((judged[-1][0], judged[-1][1], more))
    return Timeline(entries=tuple(sorted(told, key=lambda each: each[0])))


def _changes(incident: Incident) -> list[tuple[int, str]]:
    """When compositions were first seen, oldest first; the last line may count those that are not listed."""
    return sorted((each.at_ns, each.text) for each in incident.timeline if each.kind == "manifest")


def _folded(changes: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
    """At most five changes, and one line that counts the others."""
    counted = [(at, int(match[1].replace(",", ""))) for at, text in changes if (match := _MORE.match(text))]
    named = [(at, text[:90]) for at, text in changes if not _MORE.match(text)]
    rest = max(0, len(named) - _LISTED) + sum(number for _, number in counted)
    if not rest:
        return named
    at = max(at for at, _ in changes)
    return [*named[:_LISTED], (at, f"and {rest:,} more new compositions up to here")]


async def _decisions(since: int, until: int, reader: Reader) -> list[Block]:
    """What policies ruled in the window, counted by policy, verdict and reason."""
    names = ("instance", "mode", "verdict", "reason")
    rows = await reader.select(
        Select(
            table="decisions",
            since_ns=since,
            until_ns=until + 1,
            columns=(*(Column(name=name) for name in names), count("times")),
            group=names,
            order=(Order(by="times", descending=True), *(Order(by=name) for name in names)),
            limit=20,
        )
    )
    if not rows.rows:
        return [Heading(text="Decisions in the window"), Text(text="No policy ruled on any call in the window.")]
    table = Table(
        columns=("policy", "mode", "verdict", "reason", "times"),
        rows=tuple(tuple(cell if isinstance(cell, str | int) else None for cell in row) for row in rows.rows),
        numeric=("times",),
        caption="What policies ruled in the window, the most frequent first, at most 20 kinds.",
    )
    return [Heading(text="Decisions in the window"), table]


async def _unjudged(watched: Finding, reader: Reader) -> list[str]:
    """How many sessions with calls in the window nobody has judged."""
    judged = Select(
        table="scores",
        since_ns=max(0, watched.window_start_ns - DAY_NS),
        until_ns=FAR_NS,
        columns=(Column(name="session"),),
        where=And(all=(Compare(column="name", op="=", value=watched.evidence.get("signal")), Known(column="session"))),
        group=("session",),
    )
    calls = Select(
        table="spans",
        since_ns=watched.window_start_ns,
        until_ns=watched.window_end_ns,
        columns=(Aggregate(function="distinct", column="session", alias="sessions"),),
        where=Known(column="session"),
    )
    unjudged = Join(kind="anti", select=judged, on=(("session", "session"),))
    answers = [await reader.select(msgspec.structs.replace(calls, joins=joins)) for joins in ((), (unjudged,))]
    total, open_ = (int(str(rows.rows[0][0] or 0)) if rows.rows else 0 for rows in answers)
    complete = all(rows.complete for rows in answers)
    lines = [] if complete else ["The index lags behind the journal; what was recorded in the last moments is missing."]
    if not total:
        return [*lines, "No calls with a session were recorded in the window, so the unjudged cannot be counted."]
    return [
        *lines,
        f"{open_:,} of the {total:,} sessions with calls in the window have no {watched.evidence['signal']}; "
        "whether they went well is unknown.",
    ]


def _checks(incident: Incident) -> Code:
    return Code(
        language="sh",
        text="\n".join(
            (
                "watchkeeper verify                      # the journal is what was written",
                f"watchkeeper incident show {incident.incident_id}",
                "watchkeeper reconstruct SPAN            # the exact request of a call in one of the traces",
                f"watchkeeper incident export {incident.incident_id} --out cases.jsonl",
                "watchkeeper eval run SUITE.yaml         # with `dataset: cases.jsonl`: does the fix hold?",
            )
        ),
    )


def _outcomes(finding: Finding, since: int, until: int, width: int) -> Outcomes:
    return Outcomes(**_filters(finding), since=since, until=until, width=width)


def _exemplars(finding: Finding, limit: int) -> Exemplars:
    return Exemplars(**_filters(finding), since=finding.window_start_ns, until=finding.window_end_ns, limit=limit)


def _filters(finding: Finding) -> dict[str, Any]:
    """What the finding was about, as the parameters that questions about it share."""
    good = finding.evidence.get("good_at_least")
    filters = {name: finding.evidence.get(name) for name in ("journey", "session")}
    return {"score": finding.evidence["signal"], "good": 1.0 if good is None else good, **filters}


def _start(findings: list[Finding], incident: Incident) -> int:
    return min((each.window_start_ns for each in findings), default=max(0, incident.opened_ns - HOUR_NS))


def _estimate(estimate: Estimate) -> str:
    unit = f" {estimate.unit}" if estimate.unit else ""
    return (
        f"{estimate.value:.3g}{unit} ({100 * estimate.confidence:.4g}% interval {estimate.low:.3g} to "
        f"{estimate.high:.3g}; n = {estimate.n:,}; {estimate.method})"
    )


def _percent(rate: Estimate) -> str:
    return f"{rate.value:.1%} ({rate.confidence:.0%} interval {rate.low:.1%} to {rate.high:.1%})"


def _utc(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / SECOND_NS, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _span(ns: int) -> str:
    for size, unit in ((DAY_NS, "d"), (HOUR_NS, "h"), (MINUTE_NS, "min"), (SECOND_NS, "s")):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return "0 s"
