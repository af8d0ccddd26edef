"""What an agent did to the world: a side effect with its idempotency key."""

from __future__ import annotations

from enum import StrEnum

from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record


class Progress(StrEnum):
    """How far an effect has come. PLANNED is written first; an effect that stays there may have happened or not.

    UNKNOWN is one of which somebody said so, or whose claim ran out: a person or a reconciler settles it.
    """

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"
    UNKNOWN = "unknown"


class Effect(Record):
    """A side effect, keyed by run, planned step, tool and business object; written before it is carried out.

    `key` is the idempotency key, `target` what it was done to (an address, an account, a record; a digest where that is
    private), `count` how many of it at once. Revision 0 is the plan, later ones what came of it at `settled_ns`. `step`
    is the planned step of the run, `receipt` what the other side gave for it, `attempt` counts claims of the same key,
    `settled_by` says who settled it.
    """

    effect_id: str
    key: str
    tool: str
    at_ns: int
    status: str
    identity: Identity = Identity()
    trace_id: str | None = None
    span_id: str | None = None
    reversible: bool | None = None
    amount_usd: float | None = None
    revision: int = 0
    settled_ns: int | None = None
    target: str | None = None
    count: int = 1
    detail: str | None = None
    door: str = "api"
    step: str | None = None
    receipt: str | None = None
    attempt: int = 1
    settled_by: str | None = None
