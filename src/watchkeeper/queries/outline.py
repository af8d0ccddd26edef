"""What a page shows of all spans of a trace: spans without their attributes, built in one step."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from watchkeeper.queries.explorer import TraceId
from watchkeeper.queries.filters import all_of, columns, equal
from watchkeeper.queries.select import Order, Rows, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record
from watchkeeper.records.span import Cost, Span, Usage

_COLUMNS = (
    "span_id", "parent_id", "start_ns", "end_ns", "name", "operation", "status", "service", "session", "run", "user",
    "agent", "request_model", "response_model", "finish_reasons", "input_tokens", "output_tokens", "cost_usd",
    "cost_source", "first_token_ns", "tool", "preview", "duplicate_of",
)  # fmt: skip


class Outline(Record):
    """All spans of one trace, oldest first, as the waterfall draws them: no attributes, no origin, no events.

    A trace of thousands of spans is a page of one line for each; reading all their columns takes far longer.
    """

    name: ClassVar[str] = "outline"
    trace_id: TraceId
    limit: int = 20_000

    def select(self) -> Select:
        """Plan the query."""
        return Select(
            table="spans",
            since_ns=0,
            until_ns=FAR_NS,
            columns=columns(*_COLUMNS),
            where=all_of(equal(trace_id=self.trace_id)),
            order=(Order(by="start_ns"), Order(by="span_id")),
            limit=self.limit,
        )

    def answer(self, rows: Rows) -> tuple[Span, ...]:
        """The spans."""
        return tuple(_span(self.trace_id, *row) for row in rows.rows)  # type: ignore[arg-type]


def _span(
    trace_id: str, span_id: str, parent_id: str | None, start_ns: int, end_ns: int | None, name: str, operation: str,
    status: str, service: str | None, session: str | None, run: str | None, user: str | None, agent: str | None,
    request_model: str | None, response_model: str | None, finish_reasons: str | None, told: int | None,
    said: int | None, cost_usd: float | None, cost_source: str | None, first_token_ns: int | None, tool: str | None,
    preview: str | None, duplicate_of: str | None,
) -> Span:  # fmt: skip
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=parent_id,
        start_ns=start_ns,
        end_ns=end_ns,
        name=name,
        operation=operation,
        status=status,
        service=service,
        identity=Identity(session=session, run=run, user=user, agent=agent),
        request_model=request_model,
        response_model=response_model,
        finish_reasons=msgspec.json.decode(finish_reasons, type=tuple[str, ...]) if finish_reasons else (),
        usage=Usage(input_tokens=told, output_tokens=said),
        cost=None if cost_usd is None else Cost(usd=cost_usd, source=cost_source or "unknown"),
        first_token_ns=first_token_ns,
        tool=tool,
        preview=preview or "",
        duplicate_of=duplicate_of,
    )
