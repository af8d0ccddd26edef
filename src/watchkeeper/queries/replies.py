"""The replies of a version in recorded traffic, with the steps that followed each of them in its trace."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from watchkeeper.analysis.behaviour import Told
from watchkeeper.analysis.consumers import Step
from watchkeeper.analysis.shape_features import Reply
from watchkeeper.queries.explorer import TRACE_MARGIN_NS, Spans
from watchkeeper.queries.filters import CALLS, FIRST, SUMMARIES, all_of, columns
from watchkeeper.queries.question import Reader
from watchkeeper.queries.select import Among, Not, Order, Select
from watchkeeper.queries.versions import Version
from watchkeeper.queries.whole import Whole
from watchkeeper.records.record import Record
from watchkeeper.records.span import Operation, Span, Status

_MOST_STEPS = 100_000
_AT_ONCE = 200
_STEPS = Not(inner=Among(column="operation", values=SUMMARIES))
_ANSWERED = (Status.OK.value, Status.UNSET.value)
_ENDED = (*_ANSWERED, Status.ERROR.value)


class Said(Record):
    """What a model said in one call: its text, and the names of the tools that it asked for."""

    text: str
    tools: tuple[str, ...] = ()


@runtime_checkable
class ReplyReader(Protocol):
    """A reader that can also fetch what was said in a call."""

    async def said(self, span: Span) -> Said | None:
        """What the model said; None where that is not kept."""
        ...


class Replied(NamedTuple):
    """A call, what was said in it (None: not kept), and what followed."""

    span: Span
    said: Said | None
    steps: tuple[Step, ...]


async def replied(reader: Reader, version: Version, since_ns: int, until_ns: int, limit: int) -> tuple[Replied, ...]:
    """The last answered chat calls of a version in a time, oldest first; calls that are told twice count once."""
    asked = Spans(
        since=since_ns,
        until=until_ns,
        operation=Operation.CHAT.value,
        manifest=version.manifest,
        model=version.model,
        attribute=version.attribute,
        limit=limit,
    )
    calls = await reader.ask(Whole(asked, Span))
    spans = [each for each in reversed(calls) if each.duplicate_of is None and each.status in _ANSWERED]
    traces = await _traces(reader, spans)
    found = []
    for span in spans:
        said = await reader.said(span) if isinstance(reader, ReplyReader) else None
        found.append(Replied(span, said, followed(span.span_id, traces[span.trace_id])))
    return tuple(found)


def told_of(each: Replied) -> Told | None:
    """A call as a reply to compare; None where it is not kept. One user (else session, else trace) counts once."""
    span = each.span
    if each.said is None:
        return None
    whose = span.identity.user or span.identity.session
    return Told(
        reply=Reply(
            text=each.said.text,
            tools=each.said.tools,
            output_tokens=span.usage.output_tokens,
            duration_ns=span.duration_ns,
            first_token_ns=span.first_token_ns,
        ),
        user=span.identity.user,
        cluster=f"{span.identity.tenant} {whose}" if whose else span.trace_id,
        at_ns=span.start_ns,
        steps=each.steps,
    )


def followed(span_id: str, trace: Sequence[Mapping[str, Any]]) -> tuple[Step, ...]:
    """What came after a call in the rows of its trace, which are in the order of time."""
    place = next((n for n, row in enumerate(trace) if row["span_id"] == span_id), len(trace))
    found = []
    for row in trace[place + 1 :]:
        if row["operation"] in CALLS:
            break
        if row["operation"] not in SUMMARIES and row["status"] in _ENDED:
            found.append(Step(name=_name(row), failed=row["status"] == Status.ERROR))
    return tuple(found)


def _name(row: Mapping[str, Any]) -> str:
    name = str(row["tool"] or row["name"])
    return f"{row['service']}: {name}" if row.get("service") else name


async def _traces(reader: Reader, spans: Iterable[Span]) -> Mapping[str, list[dict[str, Any]]]:
    """The rows of the traces of some spans, as far as they began within an hour of them; of 200 traces 100,000 rows."""
    times: dict[str, list[int]] = defaultdict(list)
    for each in spans:
        times[each.trace_id].append(each.start_ns)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    names = list(times)
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        starts = [at for name in some for at in times[name]]
        rows = await reader.select(
            Select(
                table="spans",
                since_ns=max(0, min(starts) - TRACE_MARGIN_NS),
                until_ns=max(starts) + TRACE_MARGIN_NS,
                columns=columns("trace_id", "span_id", "start_ns", "operation", "status", "tool", "name", "service"),
                where=all_of([Among(column="trace_id", values=tuple(some)), _STEPS, FIRST]),
                order=(Order(by="start_ns"), Order(by="span_id")),
                limit=_MOST_STEPS,
            )
        )
        for row in rows.dicts():
            found[str(row["trace_id"])].append(row)
    return found
