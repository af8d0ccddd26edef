"""The parameters that questions share, each with the line that flags, forms and API pages show."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

TIME = {"reads": "time"}
LENGTH = {"reads": "length"}

Since = Annotated[int, Meta(description="From this moment on: an age (1h, 7d), an ISO date, or unix ns.", extra=TIME)]
Until = Annotated[int, Meta(description="Before this moment: an age (1h, 7d), an ISO date, or unix ns.", extra=TIME)]
Width = Annotated[int, Meta(gt=0, description="Width of a time bucket: 1m, 1h, 1d.", extra=LENGTH)]
Limit = Annotated[int, Meta(ge=0, le=100_000, description="At most this many rows.")]
Cursor = Annotated[
    int, Meta(ge=0, le=10**12, description="Leave out this many rows, to read on where the last page ended.")
]

ByModel = Annotated[str | None, Meta(description="Only this model: as the reply named it, else as it was asked for.")]
ByStatus = Annotated[
    Literal["open", "ok", "error", "denied", "unset"] | None, Meta(description="Only spans that ended like this.")
]
BySession = Annotated[str | None, Meta(description="Only this session.")]
ByRun = Annotated[str | None, Meta(description="Only this run.")]
ByUser = Annotated[str | None, Meta(description="Only this user.")]
ByAgent = Annotated[str | None, Meta(description="Only this agent.")]
ByKey = Annotated[str | None, Meta(description="Only this key id.")]
ByService = Annotated[str | None, Meta(description="Only this service.")]
ByTool = Annotated[str | None, Meta(description="Only this tool.")]
ByOperation = Annotated[str | None, Meta(description="Only this operation: chat, execute_tool, invoke_agent, ...")]
ByTrace = Annotated[str | None, Meta(description="Only this trace (32 hex digits).")]
BySpan = Annotated[str | None, Meta(description="Only this span (16 hex digits).")]
ByAttribute = Annotated[
    str | None, Meta(description="An attribute as key=value; !=, <, <=, > and >= work too, numbers as numbers.")
]
ByText = Annotated[str | None, Meta(description="Only where preview, message or name contain this, letter case aside.")]
MinCost = Annotated[float | None, Meta(description="Only what cost at least this many US dollars.")]
MinDuration = Annotated[
    int | None, Meta(description="Only with a span of at least this length: 500ms, 2s.", extra=LENGTH)
]
Good = Annotated[float, Meta(description="A score of at least this much is good.")]
