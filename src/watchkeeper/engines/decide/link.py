"""One place in a policy chain, and what the chain ruled about one event."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from watchkeeper.kinds.facts import Activity, FactRequest, Reserve
from watchkeeper.kinds.policy import Need, Policy
from watchkeeper.records.decision import Decision, Verdict, allow, deny
from watchkeeper.records.event import Bound, Event, Stage
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record

Outcome = Decision | Need | None


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A policy at its place in the chain: its instance name, whether it is enforced or in shadow, and its owner."""

    policy: Policy
    instance: str
    mode: Literal["shadow", "enforce"] = "enforce"
    owner: str = ""

    def failed(self, reason: str, what: str) -> Decision:
        """The ruling of a policy that could not rule: its `on_error` decides."""
        asked = f" Ask {self.owner}, who owns this policy." if self.owner else ""
        if self.policy.on_error == "open":
            return allow(
                reason, f"Policy {self.instance!r} could not decide ({what}) and then lets calls go on.{asked}"
            )
        return deny(
            reason,
            f"Policy {self.instance!r} could not decide ({what}) and then lets no call go on. "
            f"Try again in a moment, and look at /healthz if it stays so.{asked}",
        )


class Ruling(Record):
    """What a chain ruled: every decision in order, the one that stops the call, the bytes to send instead.

    `advice` is what the model is to be told with this call, in the order of the chain; `diverted` is the decision
    that has another model asked instead.
    """

    decisions: tuple[Decision, ...] = ()
    stop: Decision | None = None
    amendment: bytes | None = None
    advice: tuple[str, ...] = ()
    diverted: Decision | None = None

    @property
    def instead(self) -> str | None:
        """The model that is to be asked instead."""
        return None if self.diverted is None else self.diverted.instead


NO_RULING = Ruling()


def ruling_of(decisions: list[Decision]) -> Ruling:
    """The first decision that stops the call wins; of two enforced amendments neither would hold, so they stop it."""
    if not decisions:
        return NO_RULING
    stop: Decision | None = None
    amending: list[Decision] = []
    advice: list[str] = []
    diverting: list[Decision] = []
    for decision in decisions:
        if decision.verdict == Verdict.ALLOW:
            continue
        if stop is None and decision.stops:
            stop = decision
        elif decision.mode == "enforce" and decision.verdict == Verdict.AMEND:
            if decision.advice:
                advice.append(decision.advice)
            if decision.instead and all(each.instead != decision.instead for each in diverting):
                diverting.append(decision)
            if decision.amendment is not None or not (decision.advice or decision.instead):
                amending.append(decision)
    conflict = amending if len(amending) > 1 else diverting if len(diverting) > 1 else None
    if stop is None and conflict is not None:
        names = " and ".join(repr(each.instance) for each in conflict)
        second = conflict[1]
        stop = msgspec.structs.replace(
            second,
            verdict=Verdict.DENY,
            reason="amendment_conflict",
            sentence=f"Policies {names} both want to change this call, and the later change would undo the earlier. "
            "Set one of them to shadow.",
            amendment=None,
            instead=None,
        )
        decisions = [stop if each is second else each for each in decisions]
    amendment = amending[0].amendment if amending and stop is None else None
    told = tuple(advice) if stop is None else ()
    diverted = diverting[0] if diverting and stop is None else None
    return Ruling(decisions=tuple(decisions), stop=stop, amendment=amendment, advice=told, diverted=diverted)


class Reads(NamedTuple):
    """What a policy may ask for: reservations, and the steps of runs."""

    reserves: bool
    steps: bool


def reads_of(policy: Policy) -> Reads:
    """Ask a policy about a made-up event of each of its stages that names everything; it is pure, so this is safe.

    A policy that fails on such an event is taken to read everything; one that reserves for some tools only says so by
    an attribute `reserves`.
    """
    wanted: list[FactRequest] = []
    for stage in policy.stages:
        try:
            wanted += policy.needs(_probe(stage))
        except Exception:  # noqa: BLE001  somebody else's policy may raise anything; what it reads is then unknown
            return Reads(True, True)
    reserves = getattr(policy, "reserves", False) or any(isinstance(x, Reserve) for x in wanted)
    return Reads(reserves, any(isinstance(x, Activity) for x in wanted))


def _probe(stage: Stage) -> Event:
    names = ("tenant", "key", "user", "session", "run", "agent", "team")
    every: dict[str, Any] = dict.fromkeys(names, "probe")
    return Event(
        stage=stage,
        at_ns=0,
        trace_id="0" * 31 + "1",
        span_id="0" * 15 + "1",
        identity=Identity(**every),
        model="probe",
        tool="probe",
        bound=Bound(input_tokens=1, output_tokens=1, nano_usd=1, price_source="probe", wall_ms=1),
    )
