"""Grades eval suites by planted defects: what they notice, minus what they call broken and is not.

A suite *alarms* at a mutant when a score's mean is below its floor or a property is broken. Its kills are the share of
mutants at which it alarms, its false alarms the share of controls; the credit is the one minus the other, so that a
suite which always fails gets nothing. Each has an interval over mutants (Wilson; Newcombe for the credit). Two suites
are graded on the same mutants of the same target, and their difference is paired (Tango; exact McNemar).

Limits: planted defects are not the defects of your future, and the intervals are about other defects of these kinds on
these answers. A mutant whose defect fits no answer of the target (no unit in any, no date) is `inert` and counts
nowhere, and neither does one at which most questions got no answer (`void`). One that shows only where a suite never
asks is no such case: it counts, and is missed.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import msgspec

from watchkeeper.analysis.intervals import wilson
from watchkeeper.analysis.mcnemar import mcnemar_exact, score_interval
from watchkeeper.analysis.two_proportions import apart, newcombe
from watchkeeper.engines.experiments.arms import Bench, Unfinished
from watchkeeper.engines.experiments.asking import CapReached
from watchkeeper.engines.experiments.mutants import DEFECTS, WHERE, Mutant, MutantProvider, question_of
from watchkeeper.engines.experiments.properties import Budget, Claim, Properties
from watchkeeper.engines.experiments.runner import Asked, Judge
from watchkeeper.engines.experiments.working import Done, work_through
from watchkeeper.kinds.ports import Completion
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Part = Literal["scorers", "properties", "all"]
PARTS: tuple[Part, ...] = ("scorers", "properties", "all")
Verdict = Literal["better", "worse", "not resolved"]


class Graded(msgspec.Struct, frozen=True, kw_only=True):
    """A suite ready to be graded: what it asks, and how it judges. `floor` is what a score's mean must reach."""

    name: str
    cases: tuple[Case, ...]
    judges: tuple[Judge, ...] = ()
    claims: tuple[Claim, ...] = ()
    floor: float = 0.9


class Trial(Record):
    """One mutant before one suite: whether its scorers and its properties alarmed, and how many answers had changed.

    `applies` counts the answers that the defect would have changed wherever it showed. `void` says that most questions
    got no answer, so that nothing is known.
    """

    mutant: Mutant
    by_scorers: bool
    by_properties: bool
    changed: int
    applies: int
    unanswered: int = 0
    void: bool = False

    def alarmed(self, part: Part = "all") -> bool:
        """Whether a part of the suite noticed."""
        return (part != "properties" and self.by_scorers) or (part != "scorers" and self.by_properties)


class Marks(Record):
    """What a suite, or a part of it, is worth."""

    part: Part
    kills: Estimate
    false_alarms: Estimate
    credit: Estimate


class Grade(Record):
    """A suite's marks by part; `gain` is what its properties kill beyond its scorers, over the same mutants.

    `by_defect` and `by_where` are the kills of the whole suite.
    """

    name: str
    mutants: int
    caught: int
    controls: int
    false_alarms: int
    inert: int
    void: int
    parts: tuple[Marks, ...]
    gain: Estimate
    by_defect: dict[str, Estimate]
    by_where: dict[str, Estimate]

    @property
    def credit(self) -> Estimate:
        """The credit of the whole suite."""
        return self.parts[-1].credit


class Contest(Record):
    """Suite B minus suite A over the same mutants: kills, false alarms, and the credit, which the verdict is about.

    `only_a` and `only_b` count mutants that one of them alone kills.
    """

    kills: Estimate
    p_value: float
    only_a: int
    only_b: int
    false_alarms: Estimate
    credit: Estimate
    verdict: Verdict


class Grading:
    """Puts mutants of a bench's target before suites. `rehearsed` are the cases that the target is known by.

    Together no more than `concurrency` questions are under way. With `share` every question is asked once for all
    trials, without it anew for each.
    """

    def __init__(
        self,
        bench: Bench,
        ask: Asked,
        rehearsed: Sequence[Case],
        *,
        inputs: int,
        concurrency: int,
        stopping: asyncio.Event,
        share: bool = True,
        progress: Callable[[object], object] | None = None,
    ) -> None:
        self._bench, self._stopping, self._progress = bench, stopping, progress
        self._answers: dict[tuple[str, str], asyncio.Task[Completion]] = {}
        self._share = share
        self._rehearsed = frozenset(question_of(case.messages) for case in rehearsed)
        self._budget = Budget(inputs=inputs, shown=0, concurrency=concurrency)
        self._ask, self._gate = ask, asyncio.Semaphore(concurrency)

    async def play(self, suites: Sequence[Graded], mutants: Sequence[Mutant]) -> Done[tuple[Trial, ...]]:
        """A trial of each mutant for each suite; what was done before a stop or a cap is handed back."""
        return await work_through(mutants, partial(self._against, suites), self._budget.concurrency, self._stopping)

    async def _against(self, suites: Sequence[Graded], mutant: Mutant) -> tuple[Trial, ...]:
        trials = tuple([await self._trial(suite, mutant) for suite in suites])
        if self._progress is not None:
            self._progress(mutant)
        return trials

    async def _trial(self, suite: Graded, mutant: Mutant) -> Trial:
        provider = MutantProvider(self._shared if self._share else self._gated, mutant, self._rehearsed)
        asked = unanswered = 0
        failing = False
        if suite.judges:
            try:
                answers = await self._bench(mutant.name, ask=provider, cases=suite.cases, judges=suite.judges)
            except Unfinished as unfinished:
                raise CapReached(str(unfinished)) from unfinished
            asked, unanswered = len(answers.results), answers.errors
            names = {score.name for result in answers.results for score in result.scores}
            values = [[v for each in answers.values(name).values() for v in each] for name in names]
            failing = any(each and math.fsum(each) / len(each) < suite.floor for each in values)
        look = Properties(provider, self._bench.plan.parameters, self._budget, 0)
        broken = False
        for claim in suite.claims:
            found = await look.look(claim, suite.cases, self._stopping)
            if found.stopped is not None:
                raise CapReached(found.stopped)
            broken = broken or found.ruling == "broken"
            asked, unanswered = asked + found.inputs + found.unanswered, unanswered + found.unanswered
        return Trial(
            mutant=mutant, by_scorers=failing, by_properties=broken, changed=provider.changed,
            applies=provider.applies, unanswered=unanswered, void=unanswered * 2 > asked,
        )  # fmt: skip

    async def _shared(self, messages: str, parameters: Mapping[str, object], draw: str) -> Completion:
        """The answer that another trial got, or a new one; a failure is not shared with those who ask later."""
        key = messages, draw
        task = self._answers.get(key)
        if task is None:
            task = self._answers[key] = asyncio.create_task(self._gated(messages, parameters, draw))
        try:
            answer = await asyncio.shield(task)
        except CapReached:
            self._answers.pop(key, None)
            raise
        if answer.error is not None:
            self._answers.pop(key, None)
        return answer

    async def _gated(self, messages: str, parameters: Mapping[str, object], draw: str) -> Completion:
        async with self._gate:
            return await self._ask(messages, parameters, draw)


def grade(name: str, trials: Sequence[Trial], inert: frozenset[str] | None = None) -> Grade:
    """The grade of a suite over its trials. `inert` names the mutants that count nowhere, as `inert_in` does."""
    still = inert if inert is not None else inert_in(trials)
    live = [each for each in trials if not each.void and each.mutant.name not in still]
    planted = [each for each in live if each.mutant.defect != "control"]
    controls = [each for each in live if each.mutant.defect == "control"]
    caught, false = (sum(each.alarmed() for each in group) for group in (planted, controls))
    added = sum(each.alarmed() and not each.alarmed("scorers") for each in planted)
    return Grade(
        name=name, mutants=len(planted), caught=caught, controls=len(controls), false_alarms=false,
        inert=sum(not each.void and each.mutant.name in still for each in trials),
        void=sum(each.void for each in trials),
        parts=tuple(_marks(part, planted, controls) for part in PARTS),
        gain=score_interval(0, added, len(planted)),
        by_defect={name: _kills([each for each in planted if each.mutant.defect == name]) for name in DEFECTS},
        by_where={name: _kills([each for each in planted if each.mutant.where == name]) for name in WHERE},
    )  # fmt: skip


def inert_in(*sides: Sequence[Trial]) -> frozenset[str]:
    """The mutants, by name, whose defect fits no answer that any of some suites got."""
    fits: Counter[str] = Counter()
    for trial in (each for side in sides for each in side):
        fits[trial.mutant.name] += trial.applies
    return frozenset(name for name, count in fits.items() if count == 0)


def contest(a: Sequence[Trial], b: Sequence[Trial]) -> Contest:
    """Two suites over the same mutants, in the same order; a mutant that is void for one of them counts for none."""
    inert = inert_in(a, b)
    pairs = [
        (one, other)
        for one, other in zip(a, b, strict=True)
        if not one.void and not other.void and one.mutant.name not in inert
    ]
    planted = [pair for pair in pairs if pair[0].mutant.defect != "control"]
    controls = [pair for pair in pairs if pair[0].mutant.defect == "control"]
    only_a, only_b = _discordant(planted)
    kills, false = score_interval(only_a, only_b, len(planted)), score_interval(*_discordant(controls), len(controls))
    credit = apart(false, kills)
    verdict: Verdict = "better" if credit.low > 0 else "worse" if credit.high < 0 else "not resolved"
    return Contest(
        kills=kills, p_value=mcnemar_exact(only_a, only_b), only_a=only_a, only_b=only_b, false_alarms=false,
        credit=credit, verdict=verdict,
    )  # fmt: skip


def _discordant(pairs: Sequence[tuple[Trial, Trial]]) -> tuple[int, int]:
    alarms = [(one.alarmed(), other.alarmed()) for one, other in pairs]
    return alarms.count((True, False)), alarms.count((False, True))


def _marks(part: Part, planted: Sequence[Trial], controls: Sequence[Trial]) -> Marks:
    kills, false = (sum(each.alarmed(part) for each in group) for group in (planted, controls))
    return Marks(
        part=part,
        kills=wilson(kills, len(planted)),
        false_alarms=wilson(false, len(controls)),
        credit=newcombe(false, len(controls), kills, len(planted)),
    )


def _kills(trials: Sequence[Trial]) -> Estimate:
    return wilson(sum(each.alarmed() for each in trials), len(trials))
