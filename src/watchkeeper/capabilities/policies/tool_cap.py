"""Lets a tool be called at most so often per run, session, user, agent, key or team, counted before each call.

Problem
    A loop that sends mail does it to new people each time, so nothing repeats and nothing is dear: a loop detector and
    a budget both see honest work. Fourteen thousand mails later somebody looks.

Method
    Before a tool call a place is reserved on a meter for each tool of the list; it runs only while the meter is below
    the cap, so exactly the cap is allowed. All reservations of a chain are made in one transaction, so that calls at
    once cannot share the last place. A call that is granted counts, whether the tool then succeeds or not; one that any
    policy stops is given back. `tools` are names, or patterns as for files (`send_*`). Calls that name no session (run,
    user, agent) are counted together on the meter of their key, without a key on the tenant's.

Limits
    The gateway never sees a tool run: it holds where tools are asked for, in the SDK (`@watchkeeper.tool`) or through
    `POST /api/v1/decide`. A program that reaches the mailer past its own tool is not capped. Session, run, agent and
    unbound user are what the caller says they are; put a cap per key beside. Windows are UTC clock windows.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated, ClassVar, Literal

import msgspec

from watchkeeper.kinds.facts import FactRequest, Facts, Reserve
from watchkeeper.kinds.header import Header
from watchkeeper.records.decision import Decision, allow, deny
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.ids import digest
from watchkeeper.records.window import A, Window, window_start


class ToolCap(msgspec.Struct, frozen=True, kw_only=True):
    """A cap on how often tools are called; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="tool_cap",
        version="1",
        theme="agents",
        summary="Lets a tool be called at most so often per run, session, user, agent or key.",
    )
    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.TOOL_CALL})
    on_error: ClassVar[Literal["open", "closed"]] = "closed"
    reserves: ClassVar[bool] = True

    tools: Annotated[
        tuple[str, ...], msgspec.Meta(min_length=1, description="The tools it is about; `*` and `?` match.")
    ]
    calls: Annotated[int, msgspec.Meta(ge=0, lt=1 << 53, description="How often all of them may be called together.")]
    per: Annotated[
        Literal["run", "session", "user", "agent", "key", "team", "organisation"],
        msgspec.Meta(description="Whose calls are counted together."),
    ] = "run"
    window: Annotated[Window, msgspec.Meta(description="All time, or a UTC month, day, hour or minute.")] = "total"

    def needs(self, event: Event) -> tuple[FactRequest, ...]:
        """One place on the meter, when the call is about one of the tools."""
        return (self._place(event),) if self._meant(event) else ()

    def decide(self, event: Event, facts: Facts) -> Decision | None:
        """Allow the call when its place was granted."""
        if not self._meant(event):
            return None
        fact = facts.reservation(self._place(event))
        cap = f"{self.calls:,} calls{A[self.window]} of {', '.join(self.tools)} for each {self.per}"
        if fact.granted:
            return allow("within_cap", f"Call {fact.before + 1:,} under the cap of {cap}.")
        return deny(
            "tool_cap_reached",
            f"{event.tool!r} is capped at {cap}, and {fact.before:,} were made. Stop calling it, or have a person look "
            "at what was done so far and raise the cap.",
        )

    def _meant(self, event: Event) -> bool:
        return event.tool is not None and any(fnmatchcase(event.tool, pattern) for pattern in self.tools)

    def _place(self, event: Event) -> Reserve:
        identity = event.identity
        name: str | None = identity.tenant if self.per == "organisation" else getattr(identity, self.per)
        start = window_start(self.window, event.at_ns)
        whose = f"unattributed={identity.key}" if name is None else f"={name}"
        book = digest("\x00".join((*self.tools, self.per, identity.tenant, whose)).encode())
        return Reserve(meter=f"meter/tool_cap/{self.per}/{book}/{start}", unit="calls", amount=1, limit=self.calls)
