"""Writes down a side effect before it is carried out, and what came of it afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, overload

from watchkeeper.records.ids import new_id
from watchkeeper.sdk import tracing
from watchkeeper.sdk.client import current_client
from watchkeeper.sdk.connection import NotAccepted, Unreachable
from watchkeeper.sdk.guard import Denied
from watchkeeper.sdk.identity import current
from watchkeeper.sdk.once import ClaimedEffect, Named, claimed
from watchkeeper.sdk.once import once as do_once

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


@overload
def effect(
    tool: str,
    key: str,
    *,
    target: str | None = None,
    count: int = 1,
    amount_usd: float | None = None,
    reversible: bool | None = None,
    required: bool = False,
) -> AbstractContextManager[OpenEffect]:
    """Written down before and after."""


@overload
def effect(
    tool: str,
    *,
    run: str,
    step: str,
    object: str,
    count: int = 1,
    amount_usd: float | None = None,
    reversible: bool | None = None,
    lease_s: float = 300.0,
    wait_s: float = 30.0,
) -> AbstractContextManager[ClaimedEffect]:
    """Claimed, so that it is done once."""


def effect(
    tool: str,
    key: str | None = None,
    *,
    target: str | None = None,
    count: int = 1,
    amount_usd: float | None = None,
    reversible: bool | None = None,
    required: bool = False,
    run: str | None = None,
    step: str | None = None,
    object: str | None = None,
    lease_s: float = 300.0,
    wait_s: float = 30.0,
) -> Any:
    """Carry out a side effect within the block: written down before, and what came of it after.

    With `run`, `step` and `object` it is claimed in the server's ledger, so that it is done once whoever asks again:

        with watchkeeper.effect("refund", run=run, step="refund", object=order, amount_usd=12.5) as act:
            if act.first:
                act.done(payments.refund(order, idempotency_key=act.key))
        print(act.receipt)  # the first one's, for everybody

    A block that raises leaves it unknown, because an exception says nothing of what the other side did, and so does a
    process that dies inside, once `lease_s` is over. Raises `Denied` (a cancelled run, no server), `EffectUnknown`, and
    `TimeoutError` when another is at it for longer than `wait_s`. See also `once`.

    With `key` alone it is only written down, as planned before, as done or failed after:

        with watchkeeper.effect("refund", key=f"{run}/{order}", target=order, amount_usd=12.5, reversible=False):
            payments.refund(order)

    The plan is posted before the block runs; where the server does not take it, it is sent later and the block runs, or
    with `required` `Denied` is raised and nothing happens. A process that dies inside leaves the effect planned.
    """
    if run is not None and step is not None and object is not None and key is None:
        named: dict[str, Any] = {"count": count, "amount_usd": amount_usd, "reversible": reversible}
        return claimed(Named(tool, run, step, object, named), lease_s, wait_s)
    if key is None or run is not None or step is not None or object is not None:
        raise TypeError("effect() takes either key=, or all of run=, step= and object=.")
    said = {"target": target, "count": count, "amount_usd": amount_usd, "reversible": reversible}
    return _written(tool, key, said, required)


def once(
    do: Callable[[], Any],
    *,
    tool: str,
    run: str,
    step: str,
    object: str,
    status: Callable[[str], Any] | None = None,
    amount_usd: float | None = None,
    reversible: bool | None = None,
    lease_s: float = 300.0,
    wait_s: float = 30.0,
) -> Any:
    """Do something once and return its receipt: `do()` for the first who asks, the first one's for everybody else.

    `status` is called with the effect's key when nobody knows what became of an earlier try: it returns the receipt of
    what happened, or None when it certainly did not, and then it is done now. Raises as `effect` does.
    """
    named = Named(tool, run, step, object, {"amount_usd": amount_usd, "reversible": reversible})
    return do_once(do, named, lease_s, wait_s, status)


@contextmanager
def _written(tool: str, key: str, said: dict[str, Any], required: bool) -> Iterator[OpenEffect]:
    """An effect that is written down before and after, and claimed by nobody."""
    at_hand = tracing.current_span()
    fields: dict[str, Any] = {
        **said,
        "id": new_id("eff"),
        "key": key,
        "tool": tool,
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
