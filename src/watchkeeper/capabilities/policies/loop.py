"""Notices a run that repeats itself, exactly or nearly: tells the model, tells it again, then stops the run.

Problem
    Two agents hand work back and forth, or one asks the same question for ever. Every call succeeds, no error is
    raised, no alert comes, and the bill arrives at the end of the month. The dear variant is the soft loop: each call
    is a little different (a time, a request id, the words of a search in another order) and none brings anything new.

Method
    A tool call together with its result is news when the run has not seen that agent, tool, arguments and result
    before. Only what comes after the last news can be a loop, so a crawl over new pages and a poll whose answer changes
    never trip. In that stale tail two things are looked for: one call with the same result `repeats` times
    (`loop_repeat`), and a round of 2 to `max_period` calls, by whichever agents of the run, `cycles` times over
    (`loop_cycle`). The soft loop is looked for in the same way after calls have been made equal whose arguments are
    nearly the same (`analysis/sketch.py`) and whose results differ at most in times and ids (`loop_soft`):
    `soft_repeats` times one call, or half as many rounds. With `barren` above 0, that many calls of one tool in a row
    which bring back only what was seen before are a loop whatever their arguments (`loop_barren`); jobs that write a
    record at a time look like this too, so it is off.

    What follows is `action`. "escalate": the first time the model is told, in a last message of its conversation, that
    it repeats itself and must change its plan; when the loop has grown by as much again it is told again; at the third
    time the run is stopped. "warn" only records, "replan" always tells, "hold" stops until a person lets the run go on,
    "stop" stops at once. A tool call that would go on with the loop is refused from the first time on, whatever the
    action but "warn": a refusal is how a model is told at that place, nothing is done once more, and a different call
    may be the way out. A stopped run goes on after `watchkeeper runs resume RUN`, or under another run id.

    The defaults were chosen before anything was measured. Client libraries commonly try three times again after a first
    failure, so four equal answers are within good manners. For a single call one more is allowed, because models
    emit the same call twice in one message: the fifth equal answer is a loop. A round of several calls is no
    accident of one message, and after a first round and three more with the same answers it is a loop at the fourth.
    A round longer than six calls is left to the budget. What is only nearly equal needs twice the evidence. Three times
    is the rule by which people are warned.

Limits
    A synonym is a new word and a new short name is a new object, so a soft loop that walks over names, dates or numbers
    is not seen; a budget is the guard against it. A poll whose answer stays the same looks like a loop: raise `repeats`
    for runs that wait long. A call whose result was never reported is no evidence. The window is what the engine keeps
    of a run (128 calls); a loop that fills it is stopped whatever its count. Agents that work at the same time shuffle
    a cycle, so that only the repeats are found. Calls are told apart by what the caller says: one that names a new run,
    agent or tool each time, or sends no history and gives every call the same id, shows no loop. A budget on its key
    holds all the same. Measured on recorded runs and planted loops: `benchmarks/loop_false_trips.py` and
    docs/measured.md.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Annotated, ClassVar, Literal, NamedTuple

import msgspec

from watchkeeper.analysis.loops import Loop as Found
from watchkeeper.analysis.loops import cycle, likened, repeated
from watchkeeper.analysis.sketch import near
from watchkeeper.kinds.facts import Activity, FactRequest, Facts, RunActivity
from watchkeeper.kinds.header import Header
from watchkeeper.records.decision import Decision, advise, allow, deny, hold
from watchkeeper.records.event import Event, Stage, ToolStep

STRIKES = 3


class _Seen(NamedTuple):
    """A loop that was found: why it is one, its rounds, how many times over it makes a loop, and of which calls."""

    reason: str
    found: Found
    strikes: int
    members: tuple[ToolStep, ...]


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """Repeats, rounds and soft loops of tool calls over all agents of a run; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="loop",
        version="2",
        theme="agents",
        summary="Notices a run whose tool calls repeat and bring nothing new: tells the model, then stops the run.",
    )
    stages: ClassVar[frozenset[Stage]] = frozenset({Stage.REQUEST, Stage.TOOL_CALL})
    on_error: ClassVar[Literal["open", "closed"]] = "open"

    repeats: Annotated[
        int, msgspec.Meta(ge=2, le=50, description="Equal calls with equal results that make a loop.")
    ] = 5
    cycles: Annotated[int, msgspec.Meta(ge=2, le=50, description="Equal rounds of several calls that make a loop.")] = 4
    max_period: Annotated[
        int, msgspec.Meta(ge=2, le=20, description="The longest round, in calls, that is looked for.")
    ] = 6
    soft_repeats: Annotated[
        int,
        msgspec.Meta(
            ge=0,
            le=100,
            description="Nearly equal calls with the same result that make a soft loop; 0: not looked for.",
        ),
    ] = 10
    barren: Annotated[
        int,
        msgspec.Meta(
            ge=0, le=100, description="Calls of one tool in a row that bring nothing new and make a loop; 0: off."
        ),
    ] = 0
    action: Annotated[
        Literal["escalate", "warn", "replan", "hold", "stop"],
        msgspec.Meta(description="What follows: tell the model twice and then stop, or always one of the others."),
    ] = "escalate"

    @property
    def advises(self) -> bool:
        """Whether the model may be told something, for which a call needs room."""
        return self.action in ("escalate", "replan")

    def needs(self, event: Event) -> tuple[FactRequest, ...]:
        """What the run has done so far; the session stands in for a run that has no name."""
        run = event.identity.run or event.identity.session
        return (Activity(run=run),) if run else ()

    def decide(self, event: Event, facts: Facts) -> Decision | None:
        """Rule on the call when the run is in a loop and this call would go on with it."""
        run = event.identity.run or event.identity.session
        if not run:
            return None
        activity = facts.activity(Activity(run=run))
        steps = tuple(step for step in activity.steps if step.result is not None)
        seen = self._look(steps)
        if seen is None or _leaves(event, seen.members):
            return None
        if _fills(seen.found, steps, activity):
            seen = seen._replace(strikes=STRIKES)
        return self._rule(event, run, seen)

    def _look(self, steps: tuple[ToolStep, ...]) -> _Seen | None:
        """The loop that the steps end in, the surest kind first."""
        if not _recurs(steps):
            return None
        exact = [(step.agent, step.tool, step.arguments, step.result) for step in steps]
        if seen := self._found(steps, exact, self.repeats, self.cycles):
            return seen
        if self.soft_repeats:
            keys = [(step.agent, step.tool, _gist(step)) for step in steps]
            alike = likened(keys, [step.sketch or f"={step.arguments}" for step in steps], near)
            if seen := self._found(steps, alike, self.soft_repeats, max(2, self.soft_repeats // 2)):
                return seen._replace(reason="loop_soft")
        if self.barren:
            barren = repeated([(step.agent, step.tool, _gist(step)) for step in steps], self.barren)
            if barren is not None:
                return _seen("loop_barren", barren, self.barren, steps)
        return None

    def _found(
        self, steps: tuple[ToolStep, ...], events: Sequence[Hashable], repeats: int, cycles: int
    ) -> _Seen | None:
        found = repeated(events, repeats)
        if found is not None:
            return _seen("loop_repeat", found, repeats, steps)
        found = cycle(events, self.max_period, cycles)
        return None if found is None else _seen("loop_cycle", found, cycles, steps)

    def _rule(self, event: Event, run: str, seen: _Seen) -> Decision | None:
        """What the owner's choice of action makes of a loop."""
        what = _what(run, seen)
        action = self.action
        if action == "escalate":
            action = "stop" if seen.strikes >= STRIKES else "replan"
        if action == "warn":
            return allow(seen.reason, what)
        if action == "replan" and event.stage == Stage.TOOL_CALL:
            return deny(seen.reason, f"{what} This call would go on with it. Try another way.")
        if action == "replan":
            last = self.action == "escalate" and seen.strikes == STRIKES - 1
            return advise(seen.reason, f"{what} The model is told to change its plan.", _advice(seen, last))
        way = "Let it go on with `watchkeeper runs resume`, or change the plan and go on under a new run id."
        if action == "hold":
            return hold(seen.reason, f"{what} It waits for a person. {way}")
        return deny(seen.reason, f"{what} {way}")


def _seen(reason: str, found: Found, enough: int, steps: tuple[ToolStep, ...]) -> _Seen:
    return _Seen(reason, found, found.times // enough, tuple(steps[position] for position in found.members))


def _gist(step: ToolStep) -> str | None:
    return step.gist or step.result


def _recurs(steps: tuple[ToolStep, ...]) -> bool:
    """Whether the latest step's tool told the same before; if not it is news, and there is no loop to look for."""
    last = steps[-1] if steps else None
    return last is not None and any(
        step.tool == last.tool and _gist(step) == _gist(last) and step.agent == last.agent for step in steps[:-1]
    )


def _fills(found: Found, steps: tuple[ToolStep, ...], activity: RunActivity) -> bool:
    """Whether the loop is as long as what is kept of the run, so that its count cannot grow any more."""
    return activity.total > len(activity.steps) and (found.times + 1) * found.period >= len(steps)


def _leaves(event: Event, members: tuple[ToolStep, ...]) -> bool:
    """Whether the pending tool call of an event is none of the calls that the loop is made of, nor nearly one."""
    if event.stage != Stage.TOOL_CALL or not event.steps:
        return False
    pending = event.steps[-1]
    return not any(
        step.tool == pending.tool
        and (
            step.arguments == pending.arguments
            or (step.sketch and pending.sketch and near(step.sketch, pending.sketch))
        )
        for step in members
    )


def _what(run: str, seen: _Seen) -> str:
    """The loop in a sentence for a person."""
    found, who = seen.found, f"Run {run[:80]!r}"
    names = " -> ".join(_name(step) for step in seen.members)
    if seen.reason == "loop_barren":
        return f"{who} called {names} {found.times} times in a row and got back only what it had seen before."
    nearly = "nearly " if seen.reason == "loop_soft" else ""
    if found.period == 1:
        return (
            f"{who} called {names} {found.times} times with {nearly}the same arguments and {nearly}the same result, "
            "and learnt nothing new in between."
        )
    return (
        f"{who} went {found.times} times through {nearly}the same {found.period} tool calls ({names}) with {nearly}the "
        "same results."
    )


def _advice(seen: _Seen, last: bool) -> str:
    """The loop as the model is told of it."""
    names = ", ".join(sorted({repr(step.tool[:60]) for step in seen.members}))
    warning = " If it goes on like this, the run will be stopped." if last else ""
    return (
        f"[Notice from the operator of this system] You have called {names[:160]} {seen.found.times} times with the "
        "same results. Do not repeat these calls: use what you have, try another way, or say what is missing and end."
        f"{warning}"
    )


def _name(step: ToolStep) -> str:
    tool = repr(step.tool[:60])
    return tool if step.agent is None else f"{tool} by {step.agent[:60]!r}"
