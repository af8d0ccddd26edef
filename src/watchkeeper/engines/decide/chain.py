"""Runs a chain of policies over one event: fetches the facts they ask for, lets them rule, records every decision.

The order of the chain is the owner's list. Policies are compiled to a tuple for each stage when the chain is built, so
a stage without policies costs a look-up and a policy without an opinion two calls.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from watchkeeper.engines.decide.caps import Caps
from watchkeeper.engines.decide.contracts import Contracts
from watchkeeper.engines.decide.fetch import NOT_SENT_YET, Fetch, Sources
from watchkeeper.engines.decide.link import NO_RULING, Link, Outcome, Ruling, reads_of, ruling_of
from watchkeeper.engines.decide.reservations import NOTHING_RESERVED, Ledger, Settlement
from watchkeeper.engines.decide.runs import Runs
from watchkeeper.engines.decide.slices import Slices
from watchkeeper.engines.decide.timing import Timing
from watchkeeper.kinds.facts import NO_FACTS, Allowance, FactRequest, Facts, Missing
from watchkeeper.kinds.policy import Need
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.decision import Decision
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.ids import new_id
from watchkeeper.records.span import Cost, Usage

DEADLINE_S = 1.0
"""How long all facts of one ruling may take together."""

ROUNDS = 2
"""How often a policy may ask for facts."""

NO_LIMIT = Allowance()
Asked = tuple[FactRequest, ...]
Needs = Callable[[Event], Asked]
Rule = Callable[[Event, Facts], Outcome]


class Chain:
    """The policies of a house in order, with the meters and runs that they read.

    `counts` tells what went another way than planned: facts that were missing or late, policies that failed,
    reservations that stayed charged. Used from one event loop; a span id is one attempt at one call. `features` are the
    names of what calls declare that a policy reads, `diverts` the models that a policy may have asked instead: policies
    say so by properties of these names.
    """

    def __init__(
        self,
        links: Sequence[Link],
        cells: Cells | None,
        record: Callable[[Decision], None],
        clock_ns: Callable[[], int],
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.links = tuple(links)
        self.counts: Counter[str] = Counter()
        self._ledger = None if cells is None else Ledger(cells)
        self._background: set[asyncio.Future[Any]] = set()
        self._sources = Sources(cells, self._ledger, Runs(cells), self.counts, self._background, deadline_s)
        if cells is not None:
            self._slices = Slices(cells, clock_ns, self._sources.start)
            self._sources = self._sources._replace(caps=Caps(cells), slices=self._slices, contracts=Contracts(cells))
        self._record = record
        self._clock_ns = clock_ns
        self._asked: set[str] = set()
        self.timings = {link.instance: Timing() for link in self.links}
        self._decides = {link.instance: self.timings[link.instance].around(link.policy.decide) for link in self.links}
        self._stages: dict[str, tuple[Link, ...]] = {}
        self._compiled: dict[str, tuple[tuple[Needs, ...], tuple[Rule, ...]]] = {}
        for stage in Stage:
            if seated := tuple(link for link in self.links if stage in link.policy.stages):
                self._stages[stage.value] = seated
                policies = [link.policy for link in seated]
                if not all(getattr(policy, "only_under_limits", False) for policy in policies):
                    self._asked.add(stage.value)
                self._compiled[stage.value] = (
                    tuple(p.needs for p in policies),
                    tuple(self._decides[link.instance] for link in seated),
                )
        self._allowances: list[Callable[[Event], Allowance]] = [
            link.policy.allowance for link in self.links if link.mode == "enforce" and hasattr(link.policy, "allowance")
        ]
        reads = [reads_of(link.policy) for link in self.links]
        self.reserves = any(
            each.reserves and not getattr(link.policy, "only_under_limits", False)
            for each, link in zip(reads, self.links, strict=True)
        )
        self.wants_steps = any(each.steps for each in reads)
        self.advises = any(getattr(link.policy, "advises", False) for link in self.links)
        self.features = _named(self.links, "features")
        self.diverts = _named(self.links, "diverts")

    def wants(self, stage: Stage) -> bool:
        """Whether any policy is asked at this stage about every call, not only about those under a key's limits."""
        return stage in self._asked

    async def decide(self, event: Event) -> Ruling:
        """Rule on an event and record every decision; see `rule`."""
        ruling = await self.rule(event)
        try:
            for decision in ruling.decisions:
                self._record(decision)
        except BaseException:
            if self._ledger is not None and event.stage in NOT_SENT_YET:
                self._sources.start(self.release(event))
            raise
        return ruling

    async def rule(self, event: Event) -> Ruling:
        """Rule on an event, for a caller that records the decisions itself.

        When the call is stopped, what was reserved for it is given back before this returns.
        """
        links = self._stages.get(event.stage)
        if links is None:
            return NO_RULING
        needs, decides = self._compiled[event.stage]
        try:
            asked = [need(event) for need in needs]
            if not any(asked):
                for rule in decides:
                    if rule(event, NO_FACTS) is not None:
                        break
                else:
                    return NO_RULING
        except Exception:  # noqa: BLE001  the careful way below asks again and says which policy it was
            return await self._rule_carefully(event, links)
        return await self._rule_on_facts(event, links, asked, {})

    async def _rule_carefully(self, event: Event, links: tuple[Link, ...]) -> Ruling:
        asked: list[Asked] = []
        broken: dict[int, Outcome] = {}
        for link in links:
            try:
                requests = link.policy.needs(event)
            except Exception as error:  # noqa: BLE001  somebody else's policy may raise anything; on_error decides
                broken[len(asked)] = self._failed(link, error)
                requests = ()
            asked.append(requests)
        return await self._rule_on_facts(event, links, asked, broken)

    def settle(self, event: Event, usage: Usage, cost: Cost | None) -> Awaitable[Settlement]:
        """After the call: correct what was reserved to what was used. It is begun at once, waited for or not.

        Unknown usage or cost leaves the reservation charged, and so do cells out of reach; the answer's note says so.
        """
        settled: asyncio.Future[Settlement] | None = None
        if self._ledger is not None and (self.reserves or event.limits):
            now_ns = self._clock_ns()
            if self._slices.holds(event.span_id):
                settled = _done(self._slices.settle(event.span_id, usage, cost, now_ns))
                settled.add_done_callback(self._settled)
                if not self._ledger.holds(event.span_id):
                    return settled
            try:
                settled = self._ledger.settling(event.span_id, usage, cost, now_ns, self._unsettled)
            except Exception as error:  # noqa: BLE001  a store may fail in any way; the charge stands and is counted
                return _done(self._unsettled(error))
            if settled is None:
                settled = asyncio.get_running_loop().create_task(self._settle(self._ledger, event, usage, cost, now_ns))
            settled.add_done_callback(self._settled)
            return self._sources.follow(settled)
        return _done(NOTHING_RESERVED)

    async def _settle(self, ledger: Ledger, event: Event, usage: Usage, cost: Cost | None, now_ns: int) -> Settlement:
        try:
            return await ledger.settle(event.span_id, usage, cost, now_ns)
        except Exception as error:  # noqa: BLE001  a store may fail in any way; the charge stands and is counted
            return self._unsettled(error)

    def _settled(self, settled: asyncio.Future[Settlement]) -> None:
        if not settled.cancelled() and settled.exception() is None and settled.result().kept:
            self.counts["reservation kept: usage unknown"] += 1

    def _unsettled(self, error: BaseException) -> Settlement:
        return self._unbooked("settle", error)

    async def release(self, event: Event) -> Settlement:
        """The call was certainly not sent: give its reservation back."""
        if self._ledger is None or not (self.reserves or event.limits):
            return NOTHING_RESERVED
        if self._slices.holds(event.span_id):
            released = self._slices.release(event.span_id)
            if not self._ledger.holds(event.span_id):
                return released
        try:
            return await self._ledger.release(event.span_id)
        except Exception as error:  # noqa: BLE001  as above
            return self._unbooked("release", error)

    def waiting(self) -> int:
        """How many late answers and settlements are under way behind replies."""
        return len(self._background)

    def allowance(self, event: Event) -> Allowance:
        """What the policies in force have reserved for a call, each unit by the one that reserves least."""
        if not self._allowances:
            return NO_LIMIT
        allowed = [each(event) for each in self._allowances]
        return Allowance(
            min((each.output_tokens for each in allowed if each.output_tokens is not None), default=None),
            min((each.wall_ms for each in allowed if each.wall_ms is not None), default=None),
        )

    async def close(self) -> None:
        """Give back what is left of slices; a store out of reach leaves them charged, which is counted."""
        await self.idle()
        if self._ledger is not None:
            try:
                await self._slices.close()
            except Exception as error:  # noqa: BLE001  a store may fail in any way; the charge stands and is counted
                self._unbooked("return of a slice", error)

    async def idle(self) -> None:
        """Return when no late answer is waited for any more."""
        while self._background:
            await asyncio.wait(set(self._background))

    def _unbooked(self, act: str, error: BaseException) -> Settlement:
        self.counts[f"{act} failed"] += 1
        return Settlement(note=f"the reservation stays charged: {act} failed with {type(error).__name__}")

    async def _rule_on_facts(
        self,
        event: Event,
        links: tuple[Link, ...],
        asked: list[Asked],
        broken: dict[int, Outcome],
    ) -> Ruling:
        fetch = Fetch(self._sources, event, links)
        try:
            outcomes = await self._round(event, links, asked, broken, fetch)
            for _ in range(ROUNDS - 1):
                if not any(isinstance(outcome, Need) for outcome in outcomes):
                    break
                asked = [each.requests if isinstance(each, Need) else () for each in outcomes]
                outcomes = await self._round(event, links, asked, broken, fetch)
            ruling = ruling_of(self._decisions(event, links, outcomes, fetch))
        except BaseException:
            fetch.give_back_later()
            raise
        if ruling.stop is not None:
            await fetch.give_back()
            if self.wants_steps and (run := event.identity.run or event.identity.session):
                self._sources.runs.doubt(event, run)
        return ruling

    async def _round(
        self, event: Event, links: tuple[Link, ...], asked: list[Asked], broken: dict[int, Outcome], fetch: Fetch
    ) -> list[Outcome]:
        """Fetch and rule; a refused reservation that stops nothing is made all the same, for its policy let it pass."""
        waived: frozenset[str] = frozenset()
        while True:
            refused = await fetch.round(asked, waived)
            outcomes = [
                broken[place] if place in broken else self._rule(link, event, facts)
                for place, (link, facts) in enumerate(zip(links, fetch.facts, strict=True))
            ]
            if refused is None or any(_stops(link, each) for link, each in zip(links, outcomes, strict=True)):
                return outcomes
            waived |= {refused}

    def _rule(self, link: Link, event: Event, facts: Facts) -> Outcome:
        try:
            return self._decides[link.instance](event, facts)
        except Missing as missing:
            self.counts["facts missing"] += 1
            return link.failed("facts_unavailable", f"not to be had in time: {missing.args[0][:120]}")
        except Exception as error:  # noqa: BLE001  a policy of somebody else may raise anything; on_error decides
            return self._failed(link, error)

    def _failed(self, link: Link, error: Exception) -> Decision:
        self.counts[f"policy failed: {link.instance}"] += 1
        return link.failed("policy_failed", f"it raised {type(error).__name__}")

    def _decisions(
        self, event: Event, links: tuple[Link, ...], outcomes: list[Outcome], fetch: Fetch
    ) -> list[Decision]:
        now = self._clock_ns()
        made = []
        for i, (link, outcome) in enumerate(zip(links, outcomes, strict=True)):
            if isinstance(outcome, Need):
                self.counts[f"policy failed: {link.instance}"] += 1
                outcome = link.failed("policy_failed", f"it asked for facts more than {ROUNDS} times")
            if outcome is None:
                continue
            header = link.policy.header
            made.append(
                msgspec.structs.replace(
                    outcome,
                    decision_id=new_id("dec", now),
                    policy=header.id,
                    version=header.version,
                    instance=link.instance,
                    mode=link.mode,
                    stage=str(event.stage),
                    at_ns=now,
                    trace_id=event.trace_id,
                    span_id=event.span_id,
                    identity=event.identity,
                    model=event.model,
                    tool=event.tool,
                    facts={**outcome.facts, **fetch.facts[i].record()},
                )
            )
        return made


def _done(settlement: Settlement) -> asyncio.Future[Settlement]:
    done: asyncio.Future[Settlement] = asyncio.get_running_loop().create_future()
    done.set_result(settlement)
    return done


def _named(links: Sequence[Link], name: str) -> frozenset[str]:
    """The names that the policies give under an attribute."""
    return frozenset(each for link in links for each in getattr(link.policy, name, ()))


def _stops(link: Link, outcome: Outcome) -> bool:
    return isinstance(outcome, Decision) and link.mode == "enforce" and outcome.verdict in ("deny", "hold")
