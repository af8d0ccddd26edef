"""Prepares the head of one trace's page: its name, status and facts, summed over its spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlencode

from watchkeeper.queries.filters import CALLS, SUMMARIES
from watchkeeper.records.record import Record
from watchkeeper.records.span import Span, Status
from watchkeeper.server.views.waterfall import asked_tools
from watchkeeper.server.views.wording import UNKNOWN, count, count_of, duration, middle_id, usd
from watchkeeper.server.visible import visible

FIELDS = ("session", "run", "user", "agent")
SHOWN_SHARES = 12


class TraceHead(Record):
    """The head of the page; `facts` are (name, value, link or empty)."""

    trace_id: str
    name: str
    status: str
    start_ns: int
    facts: tuple[tuple[str, str, str], ...]
    note: str = ""


class Share(Record):
    """What one agent with one model did in a trace; `asked` are the tools its replies asked for, with how often."""

    agent: str
    model: str
    calls: str
    asked: str
    tokens: str
    cost: str
    took: str


def head_of(spans: Sequence[Span]) -> TraceHead:
    """The head for a trace's spans, of which there is at least one, oldest first."""
    root = next((span for span in spans if span.parent_id is None), spans[0])
    ends = [span.end_ns for span in spans if span.end_ns is not None]
    start_ns = min(span.start_ns for span in spans)
    length = max(ends) - start_ns if ends and max(ends) >= start_ns else None
    calls = [span for span in spans if span.operation in CALLS and span.duplicate_of is None]
    # Agent and workflow spans repeat what the calls below them used, and some calls are told twice.
    own = [span for span in spans if span.operation not in SUMMARIES and span.duplicate_of is None]
    facts = [
        ("Duration", duration(length), ""),
        ("Spans", count(len(spans)), ""),
        ("Model calls", count(len(calls)), ""),
        ("Tokens", _tokens(own), ""),
        ("Cost", _cost(own), ""),
    ]
    failed = sum(1 for span in spans if span.status == Status.ERROR)
    if failed:
        facts.append(("Failed", count_of(failed, "span"), ""))
    return TraceHead(
        trace_id=root.trace_id,
        name=visible(root.name),
        status=_status(spans, root),
        start_ns=start_ns,
        facts=(*facts, *_people(spans)),
        note=_unfinished(sum(1 for span in spans if span.status == Status.OPEN)),
    )


def _status(spans: Sequence[Span], root: Span) -> str:
    """As the list has it: denied or open if a part is; failed if its root is, or a part of a trace without a root."""
    for status in (Status.DENIED, Status.OPEN):
        if any(span.status == status for span in spans):
            return status.value
    topmost = [span for span in spans if span.parent_id is None] or spans
    return Status.ERROR.value if any(span.status == Status.ERROR for span in topmost) else Status.OK.value


def _unfinished(number: int) -> str:
    if not number:
        return ""
    verb = "has" if number == 1 else "have"
    return f"{count_of(number, 'span')} {verb} not finished; what is still used there is not in these sums."


def shares_of(spans: Sequence[Span]) -> tuple[Share, ...]:
    """Who used what: the model calls by agent and model in the order of their first call; () for fewer than two."""
    groups: dict[tuple[str, str], list[Span]] = {}
    for span in spans:
        if span.operation in CALLS and span.duplicate_of is None:
            groups.setdefault((span.identity.agent or "", span.model or ""), []).append(span)
    if len(groups) < 2:
        return ()
    return tuple(_share(agent, model, mine) for (agent, model), mine in list(groups.items())[:SHOWN_SHARES])


def _share(agent: str, model: str, mine: Sequence[Span]) -> Share:
    asked = Counter(tool for span in mine for tool in asked_tools(span) if tool != "…")
    shown = [f"{name} ×{times}" for name, times in asked.most_common(3)]
    lengths = [span.duration_ns for span in mine if span.duration_ns is not None and span.duration_ns >= 0]
    tokens = [n for span in mine for n in (span.usage.input_tokens, span.usage.output_tokens) if n is not None]
    return Share(
        agent=visible(agent) or UNKNOWN,
        model=visible(model) or UNKNOWN,
        calls=count(len(mine)),
        asked=", ".join(shown) + (" …" if len(asked) > len(shown) else "") or UNKNOWN,
        tokens=count(sum(tokens) if tokens else None),
        cost=_cost(mine),
        took=duration(sum(lengths) if lengths else None),
    )


def _tokens(spans: Sequence[Span]) -> str:
    told = [span.usage.input_tokens for span in spans if span.usage.input_tokens is not None]
    said = [span.usage.output_tokens for span in spans if span.usage.output_tokens is not None]
    if not told and not said:
        return count(None)
    return f"{count(sum(told) if told else None)} in, {count(sum(said) if said else None)} out"


def _cost(spans: Sequence[Span]) -> str:
    known = [span.cost.usd for span in spans if span.cost is not None]
    if not known:
        return usd(None)
    unknown = sum(1 for span in spans if span.operation in CALLS and span.cost is None and span.status == Status.OK)
    return usd(sum(known)) + (f" and {count_of(unknown, 'call')} without a price" if unknown else "")


def _people(spans: Sequence[Span]) -> list[tuple[str, str, str]]:
    """Who and where; a session and a run of the same name stand once."""
    people = []
    found = {field: sorted({value for span in spans if (value := getattr(span.identity, field))}) for field in FIELDS}
    one = found["session"] == found["run"] and len(found["run"]) == 1
    for field, values in found.items():
        if one and field == "run":
            continue
        name = "Session and run" if one and field == "session" else field.capitalize()
        if len(values) == 1 and field != "agent":
            link = "/ui/traces?" + urlencode({field: values[0], "since": "all"})
            people.append((name, middle_id(values[0], 64), link))
        elif values:
            shown = ", ".join(visible(value) for value in values[:4]) + (" …" if len(values) > 4 else "")
            people.append((f"{name}s" if len(values) > 1 else name, shown, ""))
    return people
