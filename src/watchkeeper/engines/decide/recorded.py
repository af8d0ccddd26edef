"""Reads recorded runs back from the log for a backtest: their calls in order, what they were told, how they ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from watchkeeper.engines.decide.backtest import RecordedCall, RecordedRun
from watchkeeper.engines.decide.fold import BY_SPAN, steps_of
from watchkeeper.queries.filters import CALLS, FIRST
from watchkeeper.queries.question import Reader
from watchkeeper.queries.select import Among, And, Column, Compare, Order, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.event import Stage, ToolStep
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Operation, Origin, Span, Status, Usage

PAGE = 10_000
_COLUMNS = (
    "trace_id", "span_id", "start_ns", "operation", "status", "tool", "tool_call_id", "model", "input_tokens",
    "output_tokens", "cost_usd", "tenant", "key", "user", "session", "run", "agent",
    "origin_writer", "origin_segment", "origin_offset", "origin_item",
)  # fmt: skip
_OUTCOME = ("subject_kind", "subject_id", "at_ns", "value")

StepsOf = Callable[[Span], Awaitable[tuple[ToolStep, ...] | None]]
"""What a span tells of tool calls: a model call its history, a tool call itself; None when it cannot be read."""


class SaidCall(Protocol):
    """A tool call in a message, whatever the provider's form was."""

    @property
    def name(self) -> str:
        """The tool."""
        ...

    @property
    def arguments(self) -> str:
        """Its arguments as text."""
        ...

    @property
    def call_id(self) -> str | None:
        """The provider's id of the call."""
        ...


class Said(Protocol):
    """A message, whatever the provider's form was."""

    @property
    def role(self) -> str:
        """Who speaks."""
        ...

    @property
    def text(self) -> str:
        """What is said."""
        ...

    @property
    def tool_call_id(self) -> str | None:
        """The call that a tool's message answers."""
        ...

    @property
    def tool_calls(self) -> Sequence[SaidCall]:
        """The tools that it asks for."""
        ...


def steps_said(messages: Iterable[Said], agent: str | None = None) -> tuple[ToolStep, ...]:
    """The tool calls in messages of the neutral form; see `fold.steps_of`."""
    chat: list[dict[str, Any]] = [
        {
            "role": message.role,
            "content": message.text,
            "tool_call_id": message.tool_call_id,
            "tool_calls": [
                {"id": call.call_id, "function": {"name": call.name, "arguments": call.arguments}}
                for call in message.tool_calls
            ],
        }
        for message in messages
    ]
    return steps_of(chat, agent)


async def load_runs(reader: Reader, since_ns: int, until_ns: int, steps: StepsOf) -> list[RecordedRun]:
    """Every run with a call in [`since_ns`, `until_ns`); a call without run and session is a run by its trace.

    The outcome is the latest score "outcome" of the run, else of its session, else of its trace: at least 0.5 is a
    success. Limits: a run that began before `since_ns` is read from there on only.
    """
    grouped: dict[tuple[str, str], list[dict[str, object]]] = {}
    offset = 0
    while True:
        rows = await reader.select(_calls(since_ns, until_ns, offset))
        for row in rows.dicts():
            grouped.setdefault(_whose(row), []).append(row)
        offset += PAGE
        if len(rows.rows) < PAGE:
            break
    outcomes = await _outcomes(reader, since_ns)
    return [await _run(name, rows_of, steps, outcomes) for (_, name), rows_of in grouped.items()]


def _calls(since_ns: int, until_ns: int, offset: int) -> Select:
    return Select(
        table="spans",
        since_ns=since_ns,
        until_ns=until_ns,
        columns=tuple(Column(name=name) for name in _COLUMNS),
        where=And(all=(Among(column="operation", values=(Operation.TOOL.value, *CALLS)), FIRST)),
        order=(Order(by="start_ns"), Order(by="trace_id"), Order(by="span_id")),
        limit=PAGE,
        offset=offset,
    )


async def _outcomes(reader: Reader, since_ns: int) -> dict[tuple[str, str], bool]:
    query = Select(
        table="scores",
        since_ns=since_ns,
        until_ns=FAR_NS,
        columns=tuple(Column(name=name) for name in _OUTCOME),
        where=Compare(column="name", op="=", value="outcome"),
        latest_by=("score_id",),
        order=(Order(by="at_ns"),),
    )
    rows = (await reader.select(query)).dicts()
    return {
        (str(row["subject_kind"]), str(row["subject_id"])): float(str(row["value"])) >= 0.5
        for row in rows
        if row["value"] is not None
    }


def _whose(row: Mapping[str, object]) -> tuple[str, str]:
    tenant = str(row["tenant"] or "default")
    return tenant, str(row["run"] or row["session"] or row["trace_id"])


async def _run(
    name: str, rows: list[dict[str, object]], steps: StepsOf, outcomes: Mapping[tuple[str, str], bool]
) -> RecordedRun:
    first = rows[0]
    places = [("run", first["run"]), ("session", first["session"]), *(("trace", row["trace_id"]) for row in rows)]
    known = (outcomes.get((kind, str(value))) for kind, value in places if value is not None)
    return RecordedRun(
        run_id=name,
        calls=tuple([await _call(row, steps) for row in rows]),
        identity=_identity(first),
        success=next((outcome for outcome in known if outcome is not None), None),
    )


async def _call(row: Mapping[str, object], steps: StepsOf) -> RecordedCall:
    span = _span(row)
    told = await steps(span)
    is_tool = span.operation == Operation.TOOL
    if is_tool and told:
        told = (told[-1],) if told[-1].call_id.strip("~0") else (_by_span(told[-1], span),)
    return RecordedCall(
        at_ns=span.start_ns,
        stage=Stage.TOOL_CALL if is_tool else Stage.REQUEST,
        span_id=span.span_id,
        model=span.request_model,
        tool=span.tool,
        agent=span.identity.agent,
        steps=told or (),
        unread=told is None or (is_tool and not told),
        usage=span.usage,
        cost_usd=0.0 if row["status"] == Status.DENIED else _real(row["cost_usd"]),
    )


def _by_span(step: ToolStep, span: Span) -> ToolStep:
    """A tool call whose provider's id is not known is known by its span."""
    name = span.tool_call_id or f"{BY_SPAN}{span.span_id}"
    return ToolStep(agent=step.agent, tool=step.tool, arguments=step.arguments, result=step.result, call_id=name)


def _span(row: Mapping[str, object]) -> Span:
    origin = [row[f"origin_{part}"] for part in ("writer", "segment", "offset", "item")]
    return Span(
        trace_id=str(row["trace_id"]),
        span_id=str(row["span_id"]),
        start_ns=_whole(row["start_ns"]) or 0,
        name=str(row["tool"] or row["model"] or row["operation"]),
        operation=str(row["operation"]),
        identity=_identity(row),
        request_model=_text(row["model"]),
        usage=Usage(input_tokens=_whole(row["input_tokens"]), output_tokens=_whole(row["output_tokens"])),
        tool=_text(row["tool"]),
        tool_call_id=_text(row["tool_call_id"]),
        origin=Origin(
            writer=str(origin[0] or ""),
            segment=_whole(origin[1]) or 0,
            offset=_whole(origin[2]) or 0,
            item=_whole(origin[3]) or 0,
        ),
    )


def _identity(row: Mapping[str, object]) -> Identity:
    return Identity(
        tenant=str(row["tenant"] or "default"),
        key=_text(row["key"]),
        user=_text(row["user"]),
        session=_text(row["session"]),
        run=_text(row["run"]),
        agent=_text(row["agent"]),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _real(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
