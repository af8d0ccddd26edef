"""Reads what the pages show: named questions of the registry, answered as the records that pages are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from watchkeeper.compose.stopped_runs import STOPS, stopped_runs
from watchkeeper.queries import figures as key_figures
from watchkeeper.queries.explorer import Spans, Traces, TracesNamed
from watchkeeper.queries.filters import CALLS
from watchkeeper.queries.fitting import Fitting
from watchkeeper.queries.judgments import Cases, Incidents
from watchkeeper.queries.lineage import Sources
from watchkeeper.queries.operations import Audits, Decisions, Drops, Manifests
from watchkeeper.queries.outline import Outline
from watchkeeper.queries.question import Reader
from watchkeeper.queries.twins import TwinsOf
from watchkeeper.queries.whole import FindingsOf, ScoresOf, Whole
from watchkeeper.records.case import Case
from watchkeeper.records.decision import Decision
from watchkeeper.records.finding import Finding
from watchkeeper.records.incident import Incident
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.source import Source
from watchkeeper.records.span import Span
from watchkeeper.server.views.filters import PAGE_ROWS

MAX_SPANS = 20_000
MAX_STOPS = 1_000
MAX_RUNS = 20
RESUMED = "run.resumed"


class TraceSummary(Record):
    """One line of the list of traces. Sums are None when nothing in them is known; `unpriced` counts calls left out."""

    trace_id: str
    start_ns: int
    name: str
    spans: int
    calls: int
    errors: int
    denied: int
    open: int
    end_ns: int | None = None
    duration_ns: int | None = None
    preview: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    models: tuple[str, ...] = ()
    model_count: int = 0
    session: str | None = None
    run: str | None = None
    unpriced: int = 0
    roots: int = 0
    failed_roots: int = 0


class Figures(Record):
    """The key figures of the model calls among some spans, as `Overview` counts them."""

    calls: int
    errors: int
    denied: int
    traces: int = 0
    unpriced: int = 0
    bucket: int = 0
    p50_ns: float | None = None
    p95_ns: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


async def figures(reader: Reader, asked: Traces, width_ns: int = 0) -> tuple[list[Figures], bool]:
    """The key figures of the spans that a `Traces` question selects, at once or by bucket; and whether all is in."""
    filters = {name: getattr(asked, name) for name in Fitting.__struct_fields__}
    answer = await reader.ask(key_figures.Figures(**filters, width=width_ns))
    return [msgspec.convert(item, Figures, strict=False) for item in answer.items], answer.complete


async def anything(reader: Reader) -> bool:
    """Whether a single span was ever recorded."""
    return bool((await reader.ask(Spans(limit=1))).items)


async def traces(reader: Reader, asked: Traces) -> tuple[list[TraceSummary], bool]:
    """One page of traces, and whether there are more."""
    items = (await reader.ask(asked)).items
    return _summaries(items[:PAGE_ROWS]), len(items) > PAGE_ROWS


async def summaries(reader: Reader, trace_ids: Sequence[str]) -> list[TraceSummary]:
    """The lines of some traces, newest first; traces that are not there are left out."""
    return _summaries((await reader.ask(TracesNamed(ids=tuple(trace_ids)))).items) if trace_ids else []


def _summaries(items: Sequence[dict[str, Any]]) -> list[TraceSummary]:
    return [msgspec.convert(item, TraceSummary, strict=False) for item in items]


async def spans_of(reader: Reader, trace_id: str) -> list[Span]:
    """All spans of one trace as the waterfall needs them, oldest first; at most 20,000."""
    return list(await reader.ask(Outline(trace_id=trace_id, limit=MAX_SPANS)))


async def span(reader: Reader, span_id: str, trace_id: str | None = None) -> Span | None:
    """One span; without its trace the newest with that id."""
    found = await reader.ask(Whole(Spans(span_id=span_id, trace_id=trace_id, limit=1), Span))
    return found[0] if found else None


async def twins_of(reader: Reader, of: Span) -> list[Span]:
    """The other spans that tell of the same call as this one, which counts."""
    return list(await reader.ask(TwinsOf(span=of))) if of.operation in CALLS else []


async def decisions(reader: Reader, asked: Decisions) -> tuple[list[Decision], bool]:
    """One page of decisions, newest first, and whether there are more."""
    found = list(await reader.ask(Whole(asked, Decision)))
    return found[:PAGE_ROWS], len(found) > PAGE_ROWS


async def decisions_about(reader: Reader, about: Span) -> list[Decision]:
    """The decisions about one span in order of time."""
    asked = Decisions(trace_id=about.trace_id, span_id=about.span_id, limit=1_000)
    return list(reversed(await reader.ask(Whole(asked, Decision))))


async def scores_of(reader: Reader, subjects: Sequence[str]) -> list[Score]:
    """The latest scores of some subjects (span, trace, session or run ids), oldest first."""
    return list(await reader.ask(ScoresOf(ids=tuple(subjects))))


async def manifest(reader: Reader, digest: str) -> Manifest | None:
    """A composition by its digest."""
    found = (await reader.ask(Manifests(digest=digest, limit=1))).items
    return msgspec.convert(found[0], Manifest) if found else None


async def incidents(reader: Reader, asked: Incidents) -> tuple[list[Incident], bool]:
    """One page of incidents in their latest state, newest first, and whether there are more."""
    found = list(await reader.ask(Whole(asked, Incident)))
    return found[:PAGE_ROWS], len(found) > PAGE_ROWS


async def open_incidents(reader: Reader) -> int:
    """How many incidents nobody has resolved."""
    return await reader.ask(key_figures.Unresolved())


async def incident(reader: Reader, incident_id: str) -> Incident | None:
    """An incident in its latest state."""
    found = await reader.ask(Whole(Incidents(incident_id=incident_id), Incident))
    return found[0] if found else None


async def findings(reader: Reader, finding_ids: Sequence[str]) -> list[Finding]:
    """Some findings, newest first."""
    return list(await reader.ask(FindingsOf(ids=tuple(finding_ids))))


async def cases_of(reader: Reader, origin: str) -> list[Case]:
    """The cases that were made from one origin, such as "incident:inc_..."."""
    return list(await reader.ask(Whole(Cases(origin=origin, limit=10_000), Case)))


async def sources_of(reader: Reader, trace_id: str) -> list[Source]:
    """The chunks that were retrieved for a trace, as the index has them; at most 200."""
    return list(await reader.ask(Whole(Sources(trace_id=trace_id, limit=200), Source)))


async def drops(reader: Reader, asked: Drops) -> list[dict[str, Any]]:
    """The drop ledger, the latest loss first."""
    return list((await reader.ask(asked)).items)


async def stopped(reader: Reader, since_ns: int) -> tuple[list[dict[str, Any]], int]:
    """The runs that were stopped since a time, the latest first, each with `resumed`: the act that let it go on since.

    At most `MAX_RUNS` of the latest `MAX_STOPS` rulings; and how many runs more there are.
    """
    rulings: list[dict[str, Any]] = []
    for verdict in STOPS:
        asked = Decisions(since=since_ns, verdict=verdict, mode="enforce", limit=MAX_STOPS)  # type: ignore[arg-type]
        rulings += (await reader.ask(asked)).items
    runs = stopped_runs(rulings)
    acts = (await reader.ask(Audits(since=since_ns, act=RESUMED, limit=MAX_STOPS))).items if runs else ()
    for run in runs[:MAX_RUNS]:
        run["resumed"] = next((act for act in acts if _lets_go_on(act, run)), None)
    return runs[:MAX_RUNS], max(len(runs) - MAX_RUNS, 0)


def _lets_go_on(act: dict[str, Any], run: dict[str, Any]) -> bool:
    """Whether an act let a run go on after it was stopped for the last time."""
    try:
        tenant = msgspec.json.decode(act["detail"] or b"{}").get("tenant")
    except (msgspec.DecodeError, AttributeError):
        tenant = None
    return bool(
        act["subject"] == f"run:{run['run'][:200]}" and tenant == run["tenant"] and act["at_ns"] >= run["at_ns"]
    )
