"""Gathers what stands behind a finding: the worst subjects in its window, their traces, and what changed meanwhile."""

from __future__ import annotations

from watchkeeper.queries.exemplars import Exemplar, Exemplars, ManifestsRun, TracesOf
from watchkeeper.queries.operations import Manifests
from watchkeeper.queries.question import Reader
from watchkeeper.queries.timespan import DAY_NS
from watchkeeper.records.finding import Finding
from watchkeeper.records.incident import Entry
from watchkeeper.records.record import Record

MAX_EXEMPLARS = 20
MAX_CHANGES = 10
_QUOTED = 160


class Evidence(Record):
    """What was gathered: lines for the timeline and the traces to look at, the worst first."""

    entries: tuple[Entry, ...] = ()
    traces: tuple[str, ...] = ()


async def gather(finding: Finding, reader: Reader) -> Evidence:
    """The exemplars and changes in a finding's window; a finding that names no signal has no exemplars."""
    changes = await _changes(finding, reader)
    signal, good = finding.evidence.get("signal"), finding.evidence.get("good_at_least")
    if not isinstance(signal, str) or not isinstance(good, int | float):
        named = finding.evidence.get("traces")
        return Evidence(entries=changes, traces=tuple(named.split(",")) if isinstance(named, str) and named else ())
    worst = await reader.ask(
        Exemplars(
            score=signal,
            good=float(good),
            since=finding.window_start_ns,
            until=finding.window_end_ns,
            journey=_text(finding.evidence.get("journey")),
            session=_text(finding.evidence.get("session")),
            limit=MAX_EXEMPLARS,
        )
    )
    known = await traces_of(worst, reader)
    entries = [_entry(each, known.get((each.subject_kind, each.subject_id)), signal) for each in worst]
    traces = dict.fromkeys(trace for each in worst if (trace := known.get((each.subject_kind, each.subject_id))))
    return Evidence(entries=(*changes, *entries), traces=tuple(traces))


async def traces_of(worst: tuple[Exemplar, ...], reader: Reader) -> dict[tuple[str, str], str]:
    """The trace of each exemplar by (subject kind, subject id): as its score names it, else by its span or session.

    Of several traces of a session it is the last.
    """
    found = {(each.subject_kind, each.subject_id): each.trace_id for each in worst if each.trace_id is not None}
    rest = [each for each in worst if (each.subject_kind, each.subject_id) not in found]
    if not rest:
        return found
    since = max(0, min(each.event_ns for each in rest) - DAY_NS)
    until = max(each.event_ns for each in rest) + DAY_NS
    spans = {each.subject_id: each for each in rest if each.subject_kind == "span"}
    sessions = {each.session: each for each in rest if each.session is not None and each.subject_kind != "span"}
    for by, wanted in (("span_id", spans), ("session", sessions)):
        if not wanted:
            continue
        ids = tuple(sorted(wanted))
        traces = await reader.ask(TracesOf(by=by, ids=ids, since=since, until=until))  # type: ignore[arg-type]
        for trace in reversed(traces):
            each = wanted[trace.key]
            found[each.subject_kind, each.subject_id] = trace.trace_id
    return found


async def _changes(finding: Finding, reader: Reader) -> tuple[Entry, ...]:
    """Compositions that were run in the window and first seen in it: the marks of a deploy."""
    since, until = finding.window_start_ns, finding.window_end_ns
    run = await reader.ask(ManifestsRun(since=since, until=until))
    if not run:
        return ()
    seen = (await reader.ask(Manifests(limit=1000))).items
    new = [each for each in seen if each["digest"] in run and since <= each["first_seen_ns"] < until]
    entries = [
        Entry(
            at_ns=each["first_seen_ns"],
            kind="manifest",
            text=f"New composition {each['digest'][:8]}: {_layers(each['components'])}; {run[each['digest']]:,} calls.",
            ref=f"manifest:{each['digest']}",
        )
        for each in sorted(new, key=lambda each: -run[each["digest"]])[:MAX_CHANGES]
    ]
    if len(new) > MAX_CHANGES:
        text = f"{len(new) - MAX_CHANGES:,} more new compositions with fewer calls are not listed."
        entries.append(Entry(at_ns=until, kind="manifest", text=text))
    return tuple(entries)


def _layers(components: dict[str, str] | None) -> str:
    """The layers that people name first."""
    named = [
        f"{layer} {components[layer][:40]}" for layer in ("model", "upstream") if components and layer in components
    ]
    return ", ".join(named) or "no layers named"


def _entry(each: Exemplar, trace: str | None, signal: str) -> Entry:
    said = each.label or each.explanation
    quoted = f" ({said[:_QUOTED]})" if said else ""
    return Entry(
        at_ns=each.event_ns,
        kind="trace" if trace else each.subject_kind,
        text=f"{each.subject_kind} {each.subject_id[:64]}: {signal} {each.value:g}{quoted}",
        ref=f"trace:{trace}" if trace else f"{each.subject_kind}:{each.subject_id}",
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
