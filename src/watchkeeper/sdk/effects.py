"""Writes down a side effect before it is carried out, and what came of it afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from watchkeeper.records.ids import new_id
from watchkeeper.sdk import tracing
from watchkeeper.sdk.client import current_client
from watchkeeper.sdk.connection import NotAccepted, Unreachable
from watchkeeper.sdk.guard import Denied
from watchkeeper.sdk.identity import current

PATH = "/api/v1/effects"


class OpenEffect:
    """An effect under way; `undone` says that it was taken back, `detail` adds a line."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields

    @property
    def effect_id(self) -> str:
        """Its id in the record."""
        return str(self.fields["id"])

    def detail(self, text: str) -> None:
        """Say what came of it in a line."""
        self.fields["detail"] = text[:2000]

    def undone(self) -> None:
        """It was taken back afterwards (a refund, a recall)."""
        self.settle("undone")

    def settle(self, status: str) -> None:
        """Say how it ended: done, failed or undone."""
        current_client().send(PATH, {**self.fields, "status": status, "settled_at": time.time_ns()})


@contextmanager
def effect(
    tool: str,
    key: str,
    *,
    target: str | None = None,
    count: int = 1,
    amount_usd: float | None = None,
    reversible: bool | None = None,
    required: bool = False,
) -> Iterator[OpenEffect]:
    """Carry out a side effect within the block: written down as planned before, as done or failed after.

        with watchkeeper.effect("refund", key=f"{run}/{order}", target=order, amount_usd=12.5, reversible=False):
            payments.refund(order)

    `key` is the idempotency key. The plan is posted before the block runs; where the server does not take it, it is
    sent later and the block runs, or with `required` `Denied` is raised and nothing happens. A process that dies
    inside leaves the effect planned: it may have happened or not, and the record says so.
    """
    at_hand = tracing.current_span()
    fields: dict[str, Any] = {
        "id": new_id("eff"),
        "key": key,
        "tool": tool,
        "target": target,
        "count": count,
        "amount_usd": amount_usd,
        "reversible": reversible,
        "trace_id": at_hand[0] if at_hand else None,
        "span_id": at_hand[1] if at_hand else None,
        "identity": dict(current().items()),
        "door": "sdk",
        "at": time.time_ns(),
    }
    client = current_client()
    planned = {name: each for name, each in fields.items() if each is not None}
    try:
        client.connection.post(PATH, {**planned, "status": "planned"})
    except (Unreachable, NotAccepted) as error:
        if required:
            raise Denied(
                "effect_unrecorded", f"The effect {tool!r} could not be written down before: {error}"
            ) from error
        client.send(PATH, {**planned, "status": "planned"})
    opened = OpenEffect(planned)
    try:
        yield opened
    except BaseException as error:
        opened.fields.setdefault("detail", type(error).__qualname__)
        opened.settle("failed")
        raise
    opened.settle("done")
