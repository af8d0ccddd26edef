"""Says what a policy would have stopped in recorded runs, what that would have saved, and which good work it would
have cost.

The calls of all runs are played again in the order in which they happened. A run's counterfactual ends at its first
intervention: what the agent would have done instead is not known, so nothing after it is counted as evidence, only
its cost as avoided. Meters are played along: a call that would have been stopped charges none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from watchkeeper.analysis.intervals import wilson
from watchkeeper.engines.decide.fold import RunFold, folded
from watchkeeper.engines.decide.link import Link, reads_of
from watchkeeper.kinds.facts import Activity, Contract, Fact, FactRequest, Facts, Meter, Missing, Reservation, Reserve
from watchkeeper.kinds.policy import Need
from watchkeeper.records.decision import Decision, Verdict
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.event import Bound, Event, Stage, ToolStep
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record
from watchkeeper.records.span import Usage

NANO = 1_000_000_000


class RecordedCall(Record):
    """One call of a recorded run: a model call (`stage` "request") or a tool call ("tool_call").

    `steps` of a model call are the tool calls in the history that it sent; of a tool call, the call itself with the
    result it came to have; `unread` says that they could not be read. Cost and usage are None where they are unknown.
    """

    at_ns: int
    stage: str = Stage.REQUEST
    span_id: str = ""
    model: str | None = None
    tool: str | None = None
    agent: str | None = None
    steps: tuple[ToolStep, ...] = ()
    unread: bool = False
    usage: Usage = Usage()
    cost_usd: float | None = None


class RecordedRun(Record):
    """One run as it was recorded: its calls in order of time, and whether it came to a good end (None: unknown)."""

    run_id: str
    calls: tuple[RecordedCall, ...]
    identity: Identity = Identity()
    success: bool | None = None


class Intervention(Record):
    """Where a run would have been stopped, why, and the known cost of the calls from there on.

    `unpriced_calls` counts the calls from there on whose cost is not known and is not in `avoided_usd`.
    """

    run_id: str
    at_ns: int
    call: int
    reason: str
    sentence: str
    success: bool | None
    avoided_calls: int
    avoided_usd: float
    unpriced_calls: int = 0


class BacktestResult(Record):
    """What a policy would have done to recorded runs.

    `wrongly` is the share of the runs with a good outcome that it would have stopped, `rightly` the share of those with
    a bad one. Runs without a known outcome are in neither and counted apart. `missing_facts` counts calls at which the
    policy could not be asked for want of a fact; at those the run went on. `spent_usd` is the known cost of all runs.
    `told` counts the runs in which the model would have been told something, of which `told_good` ended well; what it
    would have done then is not known, so such a run is played on as it was, and may be counted as stopped too.
    """

    policy: str
    version: str
    instance: str
    runs: int
    calls: int
    interventions: tuple[Intervention, ...]
    wrongly: Estimate
    rightly: Estimate
    unknown_outcomes: int
    unknown_outcomes_stopped: int
    missing_facts: int
    spent_usd: float
    avoided_usd: float
    unpriced_calls: int
    told: int = 0
    told_good: int = 0


def backtest(link: Link, runs: Iterable[RecordedRun]) -> BacktestResult:
    """Play recorded runs against a policy, as if it had been enforced.

    A call without a recorded bound is played with its real usage and cost in the place of the bound, so that a budget
    is played more leniently than it is enforced, by the unused part of each call's reservation.
    Limits: runs of one user or task are not independent, and the intervals are then too narrow.
    """
    played = tuple(runs)
    replay = _Replay(link)
    calls = sorted(
        ((call.at_ns, i, n) for i, run in enumerate(played) for n, call in enumerate(run.calls)),
    )
    for _, i, n in calls:
        replay.play(played[i], n)
    stopped = replay.stopped
    good = [run for run in played if run.success is True]
    bad = [run for run in played if run.success is False]
    unknown = [run for run in played if run.success is None]
    costs = [call.cost_usd for run in played for call in run.calls if call.stage == Stage.REQUEST]
    return BacktestResult(
        policy=link.policy.header.id,
        version=link.policy.header.version,
        instance=link.instance,
        runs=len(played),
        calls=len(calls),
        interventions=tuple(stopped.values()),
        wrongly=wilson(_count(good, stopped), len(good)),
        rightly=wilson(_count(bad, stopped), len(bad)),
        unknown_outcomes=len(unknown),
        unknown_outcomes_stopped=_count(unknown, stopped),
        missing_facts=replay.missing,
        spent_usd=sum(cost for cost in costs if cost is not None),
        avoided_usd=sum(each.avoided_usd for each in stopped.values()),
        unpriced_calls=sum(cost is None for cost in costs),
        told=len(replay.told),
        told_good=sum(run.run_id in replay.told for run in good),
    )


def sentences(result: BacktestResult) -> list[str]:
    """A backtest in the words of a person: what was stopped, what it would have saved, how often wrongly."""
    stopped, cost = len(result.interventions), f"${result.avoided_usd:,.4f} of ${result.spent_usd:,.4f}"
    said = [
        f"Policy {result.policy} {result.version} would have stopped {stopped} of {result.runs} runs "
        f"({result.calls} calls played), and their calls from there on cost {cost}.",
        f"Of the {result.wrongly.n} runs that ended well it would have stopped {_share(result.wrongly)}; "
        f"of the {result.rightly.n} that did not, {_share(result.rightly)}.",
    ]
    if result.told:
        runs = "1 run" if result.told == 1 else f"{result.told} runs"
        said.append(
            f"In {runs} it would have told the model to change its plan first ({result.told_good} of them ended well); "
            "what the model would have made of that is not known."
        )
    if result.unknown_outcomes:
        said.append(
            f"{result.unknown_outcomes} runs have no known outcome, and {result.unknown_outcomes_stopped} of them "
            "would have been stopped: report outcomes to learn whether that is right."
        )
    if result.missing_facts:
        said.append(
            f"At {result.missing_facts} calls a fact that the policy needs was not recorded, and they were let go on."
        )
    if result.unpriced_calls:
        said.append(f"{result.unpriced_calls} model calls have no known cost and are in none of these sums.")
    return said


def _share(rate: Estimate) -> str:
    if rate.n == 0:
        return "none that are known"
    return f"{round(rate.value * rate.n)} ({rate.value:.2%}, 95% interval {rate.low:.2%} to {rate.high:.2%})"


def _count(runs: list[RecordedRun], stopped: Mapping[str, Intervention]) -> int:
    return sum(run.run_id in stopped for run in runs)


class _Replay:
    """The state of the world that never was: meters, folds, and who was stopped."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._reads_steps = reads_of(link.policy).steps
        self._meters: dict[str, int] = {}
        self._folds: dict[tuple[str, str], RunFold] = {}
        self._done: dict[str, list[ToolStep]] = {}
        self.stopped: dict[str, Intervention] = {}
        self.told: set[str] = set()
        self.missing = 0

    def play(self, run: RecordedRun, number: int) -> None:
        """Play one call, unless its run was stopped before. A tool's result is news to the calls that follow."""
        call = run.calls[number]
        if run.run_id in self.stopped:
            return
        done = self._done.setdefault(run.run_id, [])
        if call.stage in self._link.policy.stages:
            self._rule(run, number, tuple(done))
        if call.stage == Stage.TOOL_CALL:
            done.extend(call.steps)

    def _rule(self, run: RecordedRun, number: int, done: tuple[ToolStep, ...]) -> None:
        try:
            if run.calls[number].unread and self._reads_steps:
                raise Missing("what was said in this call could not be read")
            decision, charges = self._ask(_event(run, number, done))
        except Missing:
            self.missing += 1
            return
        if decision is not None and decision.verdict in (Verdict.DENY, Verdict.HOLD):
            self.stopped[run.run_id] = _intervention(run, number, decision)
            return
        if decision is not None and decision.advice:
            self.told.add(run.run_id)
        for meter, amount in charges.items():
            self._meters[meter] = self._meters.get(meter, 0) + amount

    def _ask(self, event: Event) -> tuple[Decision | None, dict[str, int]]:
        policy = self._link.policy
        values: dict[str, Fact] = {}
        charges: dict[str, int] = {}
        requests = policy.needs(event)
        if len(requests) < len(policy.needs(msgspec.structs.replace(event, bound=_complete(event.bound)))):
            raise Missing("usage or price was not recorded")
        for _ in range(2):
            for request in requests:
                values[request.name] = self._fact(event, request)
                if isinstance(request, Reserve):
                    charges[request.meter] = max(charges.get(request.meter, 0), request.amount)
            outcome = policy.decide(event, Facts(values))
            if not isinstance(outcome, Need):
                return outcome, charges
            requests = outcome.requests
        raise Missing("the policy asked for facts more than twice")

    def _fact(self, event: Event, request: FactRequest) -> Fact:
        if isinstance(request, Activity):
            key = (event.identity.tenant, request.run)
            fold = folded(self._folds.get(key, RunFold()), event.steps, event.identity.session, event.at_ns)
            self._folds[key] = fold
            return fold.activity()
        if isinstance(request, Contract):
            raise Missing("what runs declare is not in the record")
        before = self._meters.get(request.meter, 0)
        if isinstance(request, Meter):
            return before
        granted = before + request.amount <= request.limit
        return Reservation(granted=granted, before=before, amount=request.amount, limit=request.limit)


def _event(run: RecordedRun, number: int, done: tuple[ToolStep, ...]) -> Event:
    call = run.calls[number]
    steps = call.steps
    if call.stage == Stage.TOOL_CALL:
        steps = tuple(msgspec.structs.replace(step, result=None) for step in steps)
    identity = Identity(
        tenant=run.identity.tenant,
        key=run.identity.key,
        user=run.identity.user,
        session=run.identity.session,
        run=run.identity.run or run.run_id,
        agent=call.agent or run.identity.agent,
    )
    return Event(
        stage=call.stage,
        at_ns=call.at_ns,
        trace_id="",
        span_id=call.span_id or f"{run.run_id}:{number}",
        identity=identity,
        model=call.model,
        tool=call.tool,
        steps=done + steps,
        bound=_bound(call),
    )


def _bound(call: RecordedCall) -> Bound | None:
    """The real usage in the place of the bound; None, and so a missing fact, where it was not recorded."""
    usage = call.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    nano = None if call.cost_usd is None else round(call.cost_usd * NANO)
    return Bound(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, nano_usd=nano)


def _complete(bound: Bound | None) -> Bound:
    known = bound or Bound(input_tokens=0, output_tokens=0)
    if known.nano_usd is None:
        known = msgspec.structs.replace(known, nano_usd=0)
    return known if known.wall_ms is not None else msgspec.structs.replace(known, wall_ms=0)


def _intervention(run: RecordedRun, number: int, decision: Decision) -> Intervention:
    rest = [call for call in run.calls[number:] if call.stage == Stage.REQUEST]
    known = [call.cost_usd for call in rest if call.cost_usd is not None]
    return Intervention(
        run_id=run.run_id,
        at_ns=run.calls[number].at_ns,
        call=number,
        reason=decision.reason,
        sentence=decision.sentence,
        success=run.success,
        avoided_calls=len(rest),
        avoided_usd=sum(known),
        unpriced_calls=len(rest) - len(known),
    )
