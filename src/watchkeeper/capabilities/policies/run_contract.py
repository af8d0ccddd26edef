"""Lets a run begin only when it says what it is done at and how many steps it may take, and stops it at that ceiling.

Problem
    Two agents handed work back and forth for eleven days. Nobody had said when they would be done, so nothing could see
    that they were not getting there, and no number of steps was too many.

Method
    The first call of a run carries `X-Watchkeeper-Run` (its name), `X-Watchkeeper-Run-Done` (what it is done at, in
    words) and `X-Watchkeeper-Run-Steps` (how many model calls it may make), or `POST /api/v1/runs` declares them
    before. The first declaration holds for the run; later calls need the name alone. Each model call reserves a step
    on the run's meter, in one transaction with its budgets, so a ceiling of n lets exactly n calls go on. A call
    without a run is stopped with `run_unnamed`, one whose run declared nothing with `run_undeclared`, a declaration
    above `most_steps` with `run_ceiling_too_high`, and the call after the last step with `run_steps_spent`. `keys` says
    whose calls this is about, by the ids of their keys.

Limits
    The completion condition is recorded and not checked: whether the work is done is for a scorer or a job's
    postconditions. A caller that takes a new name for each call begins a new run each time; a budget per key stands
    beside this. A step is a model call: tools that an agent runs between two of them are counted by `tool_cap`.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

import msgspec

from watchkeeper.kinds.facts import Contract, FactRequest, Facts, Reserve
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.policy import Need
from watchkeeper.records.decision import Decision, allow, deny
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.ids import digest

_SEND = (
    "Send these headers with the first call of a run: X-Watchkeeper-Run (its name), X-Watchkeeper-Run-Done (what it is "
    "done at, in words) and X-Watchkeeper-Run-Steps (how many model calls it may make, at most {most:,})."
)


class RunContract(msgspec.Struct, frozen=True, kw_only=True):
    """A completion condition and a ceiling of steps for each run; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="run_contract",
        version="1",
        theme="agents",
        summary="Lets a run begin only with a completion condition and a ceiling of steps.",
    )
    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.REQUEST})
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    reserves: ClassVar[bool] = True

    most_steps: Annotated[int, msgspec.Meta(ge=1, lt=1 << 31, description="The highest ceiling a run may declare.")] = (
        1000
    )
    keys: Annotated[
        tuple[str, ...],
        msgspec.Meta(min_length=1, description="The ids of the keys it is about; `*` matches all, also no key."),
    ] = ("*",)

    def needs(self, event: Event) -> tuple[FactRequest, ...]:
        """What the run has declared, where this is about its key."""
        contract = self._contract(event)
        return () if contract is None else (contract,)

    def decide(self, event: Event, facts: Facts) -> Decision | Need | None:
        """Allow a step of a run that has declared itself, up to its ceiling."""
        if not self._meant(event):
            return None
        asked = self._contract(event)
        if asked is None:
            return deny("run_unnamed", f"This key makes calls of named runs only. {self._send()}")
        declared = event.attributes.get("run.steps")
        if isinstance(declared, int) and declared > self.most_steps:
            return deny(
                "run_ceiling_too_high",
                f"Run {asked.run[:80]!r} declares {declared:,} steps, and {self.most_steps:,} are the most here. "
                "Declare fewer, or have the owner raise most_steps.",
            )
        contract = facts.contract(asked)
        if contract.steps is None:
            return deny(
                "run_undeclared",
                f"Run {asked.run[:80]!r} has not declared when it is done and how many steps it may take. "
                f"{self._send()}",
            )
        step = self._step(event, asked.run, contract.steps)
        if not facts.knows(step):
            return Need(requests=(step,))
        fact = facts.reservation(step)
        if fact.granted:
            return allow(
                "within_steps", f"Step {fact.before + 1:,} of {fact.limit:,}; done at: {contract.done[:200]!r}."
            )
        return deny(
            "run_steps_spent",
            f"Run {asked.run[:80]!r} may take {fact.limit:,} steps and has taken them. It was to be done at: "
            f"{contract.done[:200]!r}. Look at what it did; begin another run to go on.",
        )

    def _meant(self, event: Event) -> bool:
        key = event.identity.key
        return any(pattern == "*" or (key is not None and fnmatchcase(key, pattern)) for pattern in self.keys)

    def _contract(self, event: Event) -> Contract | None:
        run = event.identity.run
        if run is None or not self._meant(event):
            return None
        done, steps = event.attributes.get("run.done"), event.attributes.get("run.steps")
        if isinstance(done, str) and isinstance(steps, int) and 1 <= steps <= self.most_steps:
            return Contract(tenant=event.identity.tenant, run=run, done=done, steps=steps)
        return Contract(tenant=event.identity.tenant, run=run)

    def _step(self, event: Event, run: str, steps: int) -> Reserve:
        owner = digest("\x00".join((event.identity.tenant, run)).encode())
        return Reserve(meter=f"meter/run_contract/steps/{owner}/total", unit="calls", amount=1, limit=steps)

    def _send(self) -> str:
        return _SEND.format(most=self.most_steps)
