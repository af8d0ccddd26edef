"""What a policy ruled about a call in flight, and the facts it read."""

from __future__ import annotations

from enum import StrEnum

from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, Scalar


class Verdict(StrEnum):
    """The closed set of rulings."""

    ALLOW = "allow"
    AMEND = "amend"
    DENY = "deny"
    HOLD = "hold"
    RETRY = "retry"


class Decision(Record):
    """A ruling. A policy fills in the first block; the decide engine the second.

    `reason` is a stable machine-readable code (`budget_exceeded`), `sentence` is for a person. `amendment` holds the
    bytes to send instead when the verdict is AMEND; or `advice` is what the model is to be told then, as a last message
    of its conversation; or `instead` is the model that is asked instead (at the stage ROUTE). In `shadow` mode a ruling
    is recorded and not acted upon. A policy may name in `facts` what it read of its own parameters.
    """

    verdict: str
    reason: str
    sentence: str
    amendment: bytes | None = None
    advice: str | None = None
    instead: str | None = None

    decision_id: str = ""
    policy: str = ""
    version: str = ""
    instance: str = ""
    mode: str = "enforce"
    stage: str = ""
    at_ns: int = 0
    trace_id: str | None = None
    span_id: str | None = None
    identity: Identity = Identity()
    model: str | None = None
    tool: str | None = None
    facts: dict[str, Scalar] = {}

    @property
    def stops(self) -> bool:
        """Whether the call may not go on: an enforced deny or hold."""
        return self.mode == "enforce" and self.verdict in (Verdict.DENY, Verdict.HOLD)


def allow(reason: str, sentence: str) -> Decision:
    """The call may go on."""
    return Decision(verdict=Verdict.ALLOW, reason=reason, sentence=sentence)


def deny(reason: str, sentence: str) -> Decision:
    """The call may not go on; `sentence` says what to do instead."""
    return Decision(verdict=Verdict.DENY, reason=reason, sentence=sentence)


def advise(reason: str, sentence: str, advice: str) -> Decision:
    """The call may go on, and the model is told something: `advice` becomes the last message of its conversation."""
    return Decision(verdict=Verdict.AMEND, reason=reason, sentence=sentence, advice=advice)


def divert(reason: str, sentence: str, instead: str) -> Decision:
    """The call may go on, but another model answers it: `instead`, by a name that callers may use."""
    return Decision(verdict=Verdict.AMEND, reason=reason, sentence=sentence, instead=instead)


def hold(reason: str, sentence: str) -> Decision:
    """The call may not go on until a person has said so; `sentence` says how to."""
    return Decision(verdict=Verdict.HOLD, reason=reason, sentence=sentence)
