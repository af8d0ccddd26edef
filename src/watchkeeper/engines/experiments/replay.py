"""Takes recorded steps again, as they were or with one thing changed, and says how often the outcome differs.

A reply of a model is a draw: one of them proves nothing. So a step is taken k times, the outcome is a rate with its
interval, and a change is measured against the unchanged request taken as often by the same model today, not against
the one recording: what differs between those two is the change, and not chance or a model that moved meanwhile.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

from watchkeeper.analysis.intervals import mean, wilson
from watchkeeper.analysis.two_proportions import fisher_exact, newcombe
from watchkeeper.engines.experiments.steps import Call, Cassette, Turn, canonical, parameters_of
from watchkeeper.kinds.ports import Completion, ModelProvider
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

MOST_TURNS = 30
ALPHA = 0.05
SHOWN_ACTIONS = 12

Ended = Literal["answered", "unrecorded_call", "failed", "too_long"]
Price = Callable[[Completion], float | None]


class Change(Record, frozen=True, kw_only=True):
    """What a fork changes in a request: the model, the system prompt, or any other field; None leaves it."""

    model: str | None = None
    prompt: str | None = None
    fields: dict[str, Any] = {}

    def apply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request with the change made; a prompt takes the place of all system and developer messages."""
        changed = {**request, **self.fields}
        if self.model is not None:
            changed["model"] = self.model
        if self.prompt is not None:
            rest = [message for message in request["messages"] if message.get("role") not in ("system", "developer")]
            changed["messages"] = [{"role": "system", "content": self.prompt}, *rest]
        return changed


class Walk(Record, frozen=True, kw_only=True):
    """One walk from a step: the turns taken, how it ended, and the call or error at which it did."""

    turns: tuple[Turn, ...]
    ended: Ended
    at: str | None = None
    cost_usd: float | None = None

    @property
    def calls(self) -> tuple[Call, ...]:
        """All tool calls of the walk in order."""
        return tuple(call for turn in self.turns for call in turn.calls)


class Arm(Record, frozen=True, kw_only=True):
    """One side of an experiment: its walks, and how often each thing held that the recorded run did.

    Rates are over walks whose calls did not fail; `failed` counts those that did. `same_step` asks whether the first
    turn does the same (the same tools with the same arguments, or answers); `same_tools` compares their names only,
    `same_path` all tool calls to the end, `same_answer` the last text, character by character.
    """

    name: str
    walks: int
    failed: int
    first_error: str | None
    same_step: Estimate
    same_tools: Estimate
    same_path: Estimate
    same_answer: Estimate
    turns: Estimate
    output_tokens: Estimate
    cost_usd: float | None
    actions: dict[str, int]
    endings: dict[str, int]


class Difference(Record, frozen=True, kw_only=True):
    """How much more often something held with the change than without: B - A, with its interval and exact p-value.

    `verdict` is "changed" only when the p-value, adjusted for all that is asked of one fork (Holm), is below 0.05, and
    "not resolved" otherwise: too few samples to tell, never "the same".
    """

    what: str
    unchanged: Estimate
    changed: Estimate
    difference: Estimate
    p_value: float
    verdict: Literal["changed", "not resolved"]


class Replayed(Record, frozen=True, kw_only=True):
    """A step taken again k times."""

    step: int
    span_id: str
    recorded: Turn
    arm: Arm
    rebuilt: bool
    redactions: int


class Forked(Record, frozen=True, kw_only=True):
    """A step taken k times as it was and k times with a change."""

    step: int
    span_id: str
    recorded: Turn
    unchanged: Arm
    changed: Arm
    differences: tuple[Difference, ...]
    rebuilt: bool
    redactions: int


class Walker:
    """Takes steps again with one provider; at most `concurrency` walks at a time, `progress` is told of each."""

    def __init__(
        self,
        provider: ModelProvider,
        cassette: Cassette,
        *,
        forward: bool = True,
        concurrency: int = 4,
        price: Price | None = None,
        progress: Callable[[], object] | None = None,
    ) -> None:
        """With `forward` a walk goes on over recorded tool results until it answers; else it is one turn."""
        self._provider, self._cassette = provider, cassette
        self._most = MOST_TURNS if forward else 1
        self._room = asyncio.Semaphore(concurrency)
        self._price, self._progress = price, progress

    async def walks(self, requests: Sequence[Mapping[str, Any]], samples: int) -> list[list[Walk]]:
        """Take each request `samples` times, in turns, so that a model that moves meanwhile moves for all of them."""
        order = [request for _ in range(samples) for request in requests]
        walks = await asyncio.gather(*(self._in_turn(request) for request in order))
        return [list(walks[i :: len(requests)]) for i in range(len(requests))]

    async def _in_turn(self, request: Mapping[str, Any]) -> Walk:
        async with self._room:
            walk = await self._walk(request)
        if self._progress is not None:
            self._progress()
        return walk

    async def _walk(self, request: Mapping[str, Any]) -> Walk:
        messages = list(request["messages"])
        parameters = parameters_of(request)
        turns: list[Turn] = []
        costs: list[float | None] = []
        made: Counter[Call] = _made_in(messages)
        while True:
            answer = await self._provider.complete(json.dumps(messages), parameters)
            if answer.error is not None:
                return Walk(turns=tuple(turns), ended="failed", at=answer.error, cost_usd=_total(costs))
            costs.append(self._price(answer) if self._price is not None else None)
            turn = _turn(answer)
            turns.append(turn)
            if not turn.calls:
                return Walk(turns=tuple(turns), ended="answered", cost_usd=_total(costs))
            if len(turns) >= self._most:
                return Walk(turns=tuple(turns), ended="too_long", at=turn.action, cost_usd=_total(costs))
            asked: list[dict[str, Any]] = []
            messages.append({"role": "assistant", "content": answer.output, "tool_calls": asked})
            for call in turn.calls:
                result = self._cassette.result(call, made[call])
                if result is None:
                    cost = _total(costs)
                    return Walk(turns=tuple(turns), ended="unrecorded_call", at=str(call), cost_usd=cost)
                made[call] += 1
                call_id = f"call_replay_{len(messages)}_{made[call]}"
                function = {"name": call.tool, "arguments": call.arguments}
                asked.append({"id": call_id, "type": "function", "function": function})
                messages.append({"role": "tool", "tool_call_id": call_id, "content": result})


def arm_of(name: str, walks: Sequence[Walk], recorded: Sequence[Turn]) -> Arm:
    """Sum up walks beside the recorded turns, the first of which is the step itself."""
    fit = [walk for walk in walks if walk.turns and walk.ended != "failed"]
    n = len(fit)
    first = recorded[0]
    path = tuple(call for turn in recorded for call in turn.calls)
    failed = [walk for walk in walks if walk not in fit]
    answered = recorded[-1].text if not recorded[-1].calls else None

    def rate(held: Callable[[Walk], bool]) -> Estimate:
        return wilson(sum(held(walk) for walk in fit), n)

    costs = [walk.cost_usd for walk in fit]
    known = [cost for cost in costs if cost is not None]
    counted = [walk for walk in fit if all(turn.output_tokens is not None for turn in walk.turns)]
    tokens = [sum(turn.output_tokens or 0 for turn in walk.turns) for walk in counted]
    return Arm(
        name=name,
        walks=len(walks),
        failed=len(failed),
        first_error=failed[0].at if failed else None,
        same_step=rate(lambda walk: walk.turns[0].action == first.action),
        same_tools=rate(lambda walk: _tools(walk.turns[0]) == _tools(first)),
        same_path=rate(lambda walk: walk.calls == path and walk.ended == "answered"),
        same_answer=rate(lambda walk: answered is not None and walk.turns[-1].text == answered),
        turns=mean([len(walk.turns) for walk in fit]),
        output_tokens=mean(tokens, unit="tokens"),
        cost_usd=fmean(known) if known and len(known) == n else None,
        actions=dict(Counter(walk.turns[0].action for walk in fit).most_common(SHOWN_ACTIONS)),
        endings=dict(Counter(walk.ended for walk in walks).most_common()),
    )


def differences(a: Sequence[Walk], b: Sequence[Walk], recorded: Sequence[Turn]) -> tuple[Difference, ...]:
    """What a change changed: each first action, and whether the walk ends in an answer, most telling first.

    Actions that fewer than two walks took on both sides together are summed up as "something else".
    """
    sides = [[walk for walk in walks if walk.turns and walk.ended != "failed"] for walks in (a, b)]
    taken = Counter(walk.turns[0].action for walks in sides for walk in walks)
    named = [action for action, count in taken.most_common(SHOWN_ACTIONS) if count > 1 or action == recorded[0].action]
    rows = [_difference(f"first does {action}", sides, _does(action)) for action in named]
    if len(named) < len(taken):
        rows.append(_difference("first does something else", sides, lambda w: w.turns[0].action not in named))
    rows.append(_difference("ends in an answer", sides, lambda w: w.ended == "answered"))
    return tuple(sorted(_holm(rows), key=lambda row: row.p_value))


def _does(action: str) -> Callable[[Walk], bool]:
    return lambda walk: walk.turns[0].action == action


def _difference(what: str, sides: Sequence[Sequence[Walk]], held: Callable[[Walk], bool]) -> Difference:
    (a, n_a), (b, n_b) = ((sum(held(walk) for walk in walks), len(walks)) for walks in sides)
    return Difference(
        what=what,
        unchanged=wilson(a, n_a),
        changed=wilson(b, n_b),
        difference=newcombe(a, n_a, b, n_b),
        p_value=fisher_exact(a, n_a, b, n_b) if n_a and n_b else 1.0,
        verdict="not resolved",
    )


def _holm(rows: Sequence[Difference]) -> list[Difference]:
    """The same with p-values adjusted for their number (Holm, 1979) and verdicts by them."""
    import msgspec

    ordered = sorted(range(len(rows)), key=lambda i: rows[i].p_value)
    adjusted = list(rows)
    running = 0.0
    for rank, i in enumerate(ordered):
        running = max(running, min(1.0, rows[i].p_value * (len(rows) - rank)))
        verdict: Literal["changed", "not resolved"] = "changed" if running < ALPHA else "not resolved"
        adjusted[i] = msgspec.structs.replace(rows[i], p_value=running, verdict=verdict)
    return adjusted


def _turn(answer: Completion) -> Turn:
    made = json.loads(answer.calls) if answer.calls else []
    return Turn(
        text=answer.output,
        calls=tuple(Call(tool=str(each["name"]), arguments=canonical(each.get("arguments") or "{}")) for each in made),
        finish_reason=answer.finish_reason,
        model=answer.model,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
    )


def _made_in(messages: Sequence[Mapping[str, Any]]) -> Counter[Call]:
    """The calls that a history has made already, so that the next one of a kind gets the next result."""
    made: Counter[Call] = Counter()
    for message in messages:
        for each in message.get("tool_calls") or ():
            function = each.get("function") or {}
            made[Call(tool=str(function.get("name")), arguments=canonical(function.get("arguments") or "{}"))] += 1
    return made


def _tools(turn: Turn) -> tuple[str, ...]:
    return tuple(call.tool for call in turn.calls)


def _total(costs: Sequence[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if costs and len(known) == len(costs) else None
