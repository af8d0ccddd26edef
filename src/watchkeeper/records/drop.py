"""What could not be kept: a counted entry of the drop ledger."""

from __future__ import annotations

from watchkeeper.records.record import Record


class Drop(Record):
    """A loss that is stated: what (`what`: "span", "body", "frame"), why (`reason`, a code), how many, and when.

    `door` is where it was lost, `detail` one example. `drop_id` is given by whoever counted it, so that being told
    twice does no harm.
    """

    what: str
    reason: str
    count: int
    first_ns: int
    last_ns: int
    door: str = "otlp"
    detail: str | None = None
    drop_id: str = ""
