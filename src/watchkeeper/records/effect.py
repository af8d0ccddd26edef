"""What an agent did to the world: a side effect with its idempotency key."""

from __future__ import annotations

from enum import StrEnum

from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record


class Progress(StrEnum):
    """How far an effect has come. PLANNED is written first; an effect that stays there may have happened or not."""

    PLANNED = "planned"
    DONE = "done"
    FAILED = "failed"
    UNDONE = "undone"


class Effect(Record):
    """A side effect, keyed by run, planned step, tool and business object; written before it is carried out.

    `key` is the idempotency key, `target` what it was done to (an address, an account, a record; a digest where that is
    private), `count` how many of it at once. Revision 0 is the plan, revision 1 what came of it at `settled_ns`.
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
