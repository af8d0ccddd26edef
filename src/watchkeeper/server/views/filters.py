"""Reads the filter form of a list page from its address into a question's parameters, and shows it as it was filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar
from urllib.parse import urlencode

import msgspec

from watchkeeper.queries.timespan import DAY_NS, parse_span
from watchkeeper.records.record import Record
from watchkeeper.server.visible import visible

Q = TypeVar("Q")
RANGES = (
    ("15m", "Last 15 minutes"),
    ("1h", "Last hour"),
    ("24h", "Last 24 hours"),
    ("7d", "Last 7 days"),
    ("30d", "Last 30 days"),
    ("all", "All time"),
)
DEFAULT_RANGE = "7d"
PAGE_ROWS = 50
MAX_PAGE = 2_000
MAX_TEXT_CHARS = 300
AHEAD_NS = DAY_NS
"""How far past now a list reaches: a clock that runs fast still shows."""


class Control(Record):
    """How one parameter of a question is shown: its label, an example, its width, or its choices as (value, text)."""

    name: str
    label: str
    hint: str = ""
    size: str = ""
    options: tuple[tuple[str, str], ...] = ()


class Field(Record):
    """One control as it was filled in; `changed` marks what narrows the list."""

    name: str
    label: str
    value: str = ""
    hint: str = ""
    size: str = ""
    options: tuple[tuple[str, str], ...] = ()
    changed: bool = False


class Form(Record):
    """A filled-in form: its controls, the time range, the parameters it stands for, and the page of the list."""

    fields: tuple[Field, ...]
    since_ns: int
    until_ns: int
    values: dict[str, str]
    page: int
    query: str

    @property
    def active(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.query)

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters for one page of a question, and one row more to see whether there is another page."""
        skipped = (self.page - 1) * PAGE_ROWS
        return {**self.whole, "limit": PAGE_ROWS + 1, "cursor": skipped}

    @property
    def whole(self) -> dict[str, object]:
        """The parameters without paging."""
        return {**self.values, "since": self.since_ns, "until": self.until_ns}

    def link(self, page: int) -> str:
        """The query string of another page of the same list."""
        return f"?{self.query}{'&' if self.query else ''}page={page}"


def read_form(
    controls: Sequence[Control], asked: Mapping[str, str], now_ns: int, default_range: str = DEFAULT_RANGE
) -> Form:
    """The form for an address's parameters; parameters that are no control of the form are left out."""
    known = dict(RANGES)
    chosen = asked.get("since", default_range)
    chosen = chosen if chosen in known else default_range
    values = {each.name: asked.get(each.name, "").strip()[:MAX_TEXT_CHARS] for each in controls}
    values = {name: value for name, value in values.items() if value}
    active = {**values, "since": chosen} if chosen != default_range else values
    times = Field(name="since", label="Time", value=chosen, options=RANGES, changed=chosen != default_range)
    return Form(
        fields=(times, *(_field(each, values.get(each.name, "")) for each in controls)),
        since_ns=0 if chosen == "all" else now_ns - parse_span(chosen),
        until_ns=now_ns + AHEAD_NS,
        values=values,
        page=_page(asked.get("page", "")),
        query=urlencode(active),
    )


def asked_of(kind: type[Q], form: Form) -> tuple[Q, str]:
    """The question that a form stands for; values that it cannot take are left out, and the page says so."""
    try:
        return msgspec.convert(form.parameters, kind), ""
    except msgspec.ValidationError as error:
        kept = {name: form.parameters[name] for name in ("since", "until", "limit", "cursor")}
        return msgspec.convert(kept, kind), f"{error}. The filters were left out."


def _field(control: Control, value: str) -> Field:
    return Field(
        name=control.name,
        label=control.label,
        value=visible(value),
        hint=control.hint,
        size=control.size,
        options=control.options,
        changed=bool(value),
    )


def _page(text: str) -> int:
    return min(max(int(text), 1), MAX_PAGE) if text.isascii() and text.isdigit() and len(text) < 7 else 1


def _choices(*names: str) -> tuple[tuple[str, str], ...]:
    return (("", "any"), *((name, name) for name in names))


TRACE_CONTROLS = (
    Control(name="text", label="Text", hint="in prompts, replies, errors", size="wide"),
    Control(name="model", label="Model", hint="gpt-5.2-mini"),
    Control(name="status", label="Status", options=_choices("ok", "error", "denied", "open", "unset")),
    Control(name="session", label="Session", hint="id"),
    Control(name="run", label="Run", hint="id"),
    Control(name="user", label="User", hint="id"),
    Control(name="attribute", label="Attribute", hint="name=value", size="mid"),
)
DECISION_CONTROLS = (
    Control(name="verdict", label="Verdict", options=_choices("deny", "allow", "amend", "hold", "retry")),
    Control(name="mode", label="Mode", options=_choices("enforce", "shadow")),
    Control(name="policy", label="Policy", hint="budget"),
    Control(name="reason", label="Reason", hint="code", size="mid"),
    Control(name="session", label="Session", hint="id"),
    Control(name="run", label="Run", hint="id"),
    Control(name="user", label="User", hint="id"),
)
INCIDENT_CONTROLS = (
    Control(name="status", label="Status", options=_choices("open", "acknowledged", "resolved")),
    Control(name="severity", label="Severity", options=_choices("page", "ticket", "note")),
    Control(name="subject", label="Subject", hint="slo:answers", size="mid"),
)
