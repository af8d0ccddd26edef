"""Lays the spans of one trace out as a waterfall: order, depth, offset, length, whatever clocks and parents say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from watchkeeper.queries.filters import CALLS
from watchkeeper.records.record import Record
from watchkeeper.records.span import Operation, Span, Status
from watchkeeper.server.views.wording import duration
from watchkeeper.server.visible import visible

MAX_ROWS = 5_000
SHOWN_TOOLS = 3
MAX_DEPTH = 10
MIN_WIDTH = 0.35
_CALLED = re.compile(r"(?:^|\}\),? )([A-Za-z_][\w.-]{0,63})\((?=[{)]|$)")
_BY_AGENTS = frozenset({*CALLS, Operation.TOOL.value})
_OPERATIONS = frozenset(each.value for each in Operation)
_STATUSES = frozenset(each.value for each in Status)
_SAID = {Status.ERROR.value: ", failed", Status.DENIED.value: ", denied", Status.OPEN.value: ", not finished"}


class Row(Record):
    """One line of the waterfall; `left`, `width` and `first_token` are percent of the trace's length.

    `agent` is who made the call, empty where the agent span above it says so already; `tools` what the reply asked for.
    """

    span_id: str
    name: str
    agent: str
    tools: str
    operation: str
    status: str
    depth: int
    left: float
    width: float
    took: str
    label: str
    orphan: bool = False
    first_token: float | None = None


Place = tuple[Span, int, bool]
"""A span, its depth in the tree, and whether its parent is missing."""


class Waterfall(Record):
    """The rows in reading order, the trace's bounds, and the labels of its ruler. `left_out` counts rows not shown."""

    rows: tuple[Row, ...]
    start_ns: int
    end_ns: int
    ticks: tuple[str, ...]
    operations: tuple[str, ...]
    left_out: int = 0


def lay_out(spans: Sequence[Span]) -> Waterfall:
    """Order spans as a tree by parent and start. Spans whose parent is not here stand at the root, marked as orphans.

    Parents that lead in a circle are cut where the circle was entered. A span that ends before it starts, or that is
    still open, is drawn up to the latest time known.
    """
    known = {span.span_id: span for span in spans}
    start_ns = min((span.start_ns for span in known.values()), default=0)
    end_ns = max((max(span.end_ns or 0, span.start_ns) for span in known.values()), default=0)
    ordered = list(_ordered(known))
    length = max(end_ns - start_ns, 1)
    agents = _agents_above(known, ordered[:MAX_ROWS])
    rows = tuple(_row(place, agents[place[0].span_id], start_ns, length) for place in ordered[:MAX_ROWS])
    present = {row.operation for row in rows}
    return Waterfall(
        rows=rows,
        start_ns=start_ns,
        end_ns=end_ns,
        ticks=tuple(duration(length * i / 4) if i else "0" for i in range(5)),
        operations=tuple(each.value for each in Operation if each.value in present),
        left_out=len(ordered) - len(rows),
    )


def _ordered(known: dict[str, Span]) -> Iterable[Place]:
    children: dict[str, list[Span]] = {}
    roots: list[tuple[Span, bool]] = []
    for span in sorted(known.values(), key=lambda each: (each.start_ns, each.span_id)):
        if span.parent_id is None or span.parent_id == span.span_id:
            roots.append((span, False))
        elif span.parent_id in known:
            children.setdefault(span.parent_id, []).append(span)
        else:
            roots.append((span, True))
    seen: set[str] = set()
    for root, orphan in roots:
        yield from _walk(root, orphan, children, seen)
    for span in sorted(known.values(), key=lambda each: (each.start_ns, each.span_id)):
        if span.span_id not in seen:
            yield from _walk(span, True, children, seen)


def _walk(root: Span, orphan: bool, children: dict[str, list[Span]], seen: set[str]) -> Iterable[Place]:
    stack = [(root, 0, orphan)]
    while stack:
        span, depth, marked = stack.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        yield span, depth, marked
        stack += [(child, depth + 1, False) for child in reversed(children.get(span.span_id, []))]


def _agents_above(known: dict[str, Span], ordered: Sequence[Place]) -> dict[str, str | None]:
    """For each span the name of the nearest agent span above it; parents come before their children."""
    above: dict[str, str | None] = {}
    for span, _, _ in ordered:
        parent = known.get(span.parent_id or "")
        if parent is None or parent.span_id not in above:
            above[span.span_id] = None
        elif parent.operation == Operation.AGENT:
            above[span.span_id] = parent.identity.agent or parent.name
        else:
            above[span.span_id] = above[parent.span_id]
    return above


def _row(place: Place, agent_above: str | None, start_ns: int, length: int) -> Row:
    span, depth, orphan = place
    end_ns = span.end_ns if span.end_ns is not None and span.end_ns >= span.start_ns else None
    left = 100 * (span.start_ns - start_ns) / length
    width = 100 * ((end_ns if end_ns is not None else start_ns + length) - span.start_ns) / length
    first = None
    if span.first_token_ns is not None and end_ns is not None and span.start_ns + span.first_token_ns <= end_ns:
        first = 100 * (span.start_ns + span.first_token_ns - start_ns) / length
    status = str(span.status) if span.status in _STATUSES else Status.UNSET.value
    took = duration(span.duration_ns) if end_ns is not None else "open" if span.end_ns is None else "clock?"
    took = "open" if status == Status.OPEN else took
    name, kind = title_of(span)
    known = span.operation in _BY_AGENTS and span.identity.agent not in (None, agent_above)
    agent = visible(span.identity.agent or "") if known else ""
    tools = ", ".join(asked_tools(span))
    lost = ", its parent is not in this trace" if orphan else ""
    by = (f" by {agent}" if agent else "") + (f", asks for {tools}" if tools else "")
    return Row(
        span_id=span.span_id,
        name=name,
        agent=agent,
        tools=tools,
        operation=span.operation if span.operation in _OPERATIONS else Operation.OTHER.value,
        status=status,
        depth=min(depth, MAX_DEPTH),
        left=round(min(left, 100 - MIN_WIDTH), 3),
        width=round(max(min(width, 100 - left), MIN_WIDTH), 3),
        took=took,
        label=f"{name} {kind}{by}, {took}{_SAID.get(status, '')}{lost}",
        orphan=orphan,
        first_token=None if first is None else round(first, 3),
    )


def asked_tools(span: Span) -> tuple[str, ...]:
    """The tools that a call's reply asked for, as far as its preview says; the first three, then "…".

    Cheap, since no body is read, and incomplete: a preview holds the tool calls only of a reply without text.
    """
    if "tool_calls" not in span.finish_reasons:
        return ()
    line = next((each for each in reversed(span.preview.splitlines()[1:]) if _CALLED.match(each)), "")
    names = list(dict.fromkeys(visible(name) for name in _CALLED.findall(line)))
    return tuple(names[:SHOWN_TOOLS] + ["…"] * (len(names) > SHOWN_TOOLS))


def title_of(span: Span) -> tuple[str, str]:
    """What to call a span in a line: its subject, and what stands beside it in grey."""
    if span.operation == Operation.TOOL and span.tool:
        return visible(span.tool), "tool"
    if span.operation == Operation.AGENT:
        return visible(span.identity.agent or span.name), "agent"
    if span.operation in CALLS and span.model:
        again = ", the same call told again" if span.duplicate_of is not None else ""
        return visible(span.model), str(span.operation).replace("_", " ") + again
    return visible(span.name), "" if span.operation in (Operation.OTHER, span.name) else str(span.operation)
