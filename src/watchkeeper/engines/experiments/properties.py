"""Looks for answers that break a property, makes counterexamples small, and gives a violation rate with an interval.

The system that is asked is random, so one broken answer proves little and one good answer proves nothing. For each
property:

1. the inputs are the suite's cases and what a generator makes of them; each is asked once (a pair: both questions);
2. the violation *rate* is over all of them, a case and its children being one cluster. The verdict is about `allowed`:
   "broken" where the interval lies above it, "holds" where it lies below, else "not resolved". An input that got no
   answer is neither: there is a verdict only where it would be the same had all of those broken, and had none;
3. where a question and a changed one are compared, the same question is asked twice as well: how often *those* answers
   differ is the noise. `cause` is "sensitive" where changed questions break more often than repeated ones (paired by
   case, interval above zero), else "flaky" where repeated ones break at all;
4. a violation is confirmed, shrunk and then asked `reruns` more times, on draws that nothing was chosen by. A rerun
   without an answer is counted apart and is in no rate.

Limits: generated inputs are not a sample of traffic, so the rate is about them. An answer that the scorer gives no
value to (`unjudged`: a reply without any name says nothing about how names are written) is left out of the rate, which
is then about the others.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any, Literal

import msgspec

from watchkeeper.analysis.asked import asked_text, child, with_text
from watchkeeper.analysis.intervals import clustered, clustered_rate, wilson
from watchkeeper.engines.experiments.asking import CapReached
from watchkeeper.engines.experiments.property_spec import Property
from watchkeeper.engines.experiments.runner import Asked
from watchkeeper.engines.experiments.shrinking import shrink
from watchkeeper.engines.experiments.working import work_through
from watchkeeper.kinds.generator import Generator
from watchkeeper.kinds.scorer import Scorer, Subject
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Ruling = Literal["holds", "broken", "not resolved"]
Cause = Literal["sensitive", "flaky"]
CONFIRMED_BY = 2
"""How many answers in a row must break before a smaller counterexample is believed."""


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What looking may take, for each property: `inputs` at most, `tries` to shrink, `reruns` of what was found."""

    inputs: int = 500
    tries: int = 150
    reruns: int = 10
    shown: int = 1
    concurrency: int = 8


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A property ready to be looked at: with the generator and the scorer that it names."""

    property: Property
    generator: Generator | None = None
    scorer: Scorer | None = None


class Counterexample(Record):
    """The smallest input, or pair of them, found to break; `rate` is how often it broke when asked again.

    `unanswered` reruns got no answer, or none that can be judged, and are not in the rate.
    """

    case_id: str
    transformation: str | None
    messages: str
    changed: str | None
    why: str
    rate: Estimate
    unanswered: int = 0


class Found(Record):
    """What came of one property. Rates are over `inputs`; `noise` and `excess` are None where nothing is compared.

    `unanswered` inputs got no answer (`first_error` is the first reason), `unjudged` ones an answer that the scorer
    gave no value to. `unconfirmed` violations did not break again, and `unanswered_again` counts the questions about
    them that had no answer, or none that can be judged.
    """

    name: str
    holds: str
    ruling: Ruling
    why: str
    allowed: float
    violations: int
    inputs: int
    unanswered: int
    unjudged: int
    rate: Estimate
    noise: Estimate | None = None
    excess: Estimate | None = None
    cause: Cause | None = None
    counterexamples: tuple[Counterexample, ...] = ()
    unconfirmed: int = 0
    unanswered_again: int = 0
    first_error: str | None = None
    stopped: str | None = None


class _Trial(msgspec.Struct):
    """One input and what came of it: why it broke (`why`), whether its repeated question broke too, or why it is open.

    With `error` it got no answer, with `unjudged` one that cannot be judged.
    """

    base: Case
    made: Case | None
    why: str | None = None
    noisy: bool | None = None
    error: str | None = None
    unjudged: str | None = None


class Properties:
    """Looks at claims one after another. `parameters` go with every question; `seed` decides what is generated.

    `progress` is told of each input that was tried.
    """

    def __init__(
        self,
        ask: Asked,
        parameters: Mapping[str, object],
        budget: Budget,
        seed: int = 0,
        progress: Callable[[object], object] | None = None,
    ) -> None:
        self._ask, self._parameters, self._budget, self._seed = ask, parameters, budget, seed
        self._progress = progress
        self._unanswered_again = 0

    async def look(self, claim: Claim, cases: tuple[Case, ...], stopping: asyncio.Event) -> Found:
        """Find, shrink and measure violations of one property; ends early, and says so, at a cap or when stopped."""
        trials = _trials(claim, cases, Random(f"{self._seed}/{claim.property.name}"), self._budget.inputs)
        tried = await work_through(trials, partial(self._try, claim), self._budget.concurrency, stopping)
        found = summary(claim.property, tried.each, tried.ended_by)
        shown: list[Counterexample] = []
        unconfirmed, self._unanswered_again = 0, 0
        for trial in [each for each in tried.each if each.why is not None][: self._budget.shown * 3]:
            if found.stopped is not None or len(shown) == self._budget.shown:
                break
            smallest = await work_through([trial], partial(self._smallest, claim), 1, stopping)
            found = msgspec.structs.replace(found, stopped=smallest.ended_by)
            shown += [each for each in smallest.each if each is not None]
            unconfirmed += smallest.each == [None]
        return msgspec.structs.replace(
            found,
            counterexamples=tuple(shown),
            unconfirmed=unconfirmed,
            unanswered_again=self._unanswered_again,
        )

    async def _try(self, claim: Claim, trial: _Trial) -> _Trial:
        """Ask one input, and its question twice where two questions are compared."""
        try:
            changed = None if trial.made is None or not claim.property.paired else trial.made.messages
            asked = trial.base if claim.property.paired or trial.made is None else trial.made
            trial.why = await self._broken(claim, asked, asked.messages, changed, "0")
            if claim.property.holds == "same":
                trial.noisy = await self._noisy(claim, asked)
        except _Unanswered as error:
            trial.error = str(error)
        except _Unjudged as error:
            trial.unjudged = str(error)
        if self._progress is not None:
            self._progress(trial)
        return trial

    async def _noisy(self, claim: Claim, asked: Case) -> bool | None:
        """Whether a question's two answers differ; None where the second one did not come."""
        try:
            return await self._broken(claim, asked, asked.messages, asked.messages, "0") is not None
        except _Unanswered:
            return None

    async def _broken(self, claim: Claim, case: Case, messages: str, changed: str | None, draw: str) -> str | None:
        """Why an input breaks the property on one draw; None where it holds. Raises `_Unanswered` and `_Unjudged`."""
        known = claim.property
        answer = await self._answer(messages, draw)
        if known.paired:
            assert changed is not None
            # A repeated question needs a draw of its own, or it would be answered with the first one's answer.
            return known.broken_by(answer, await self._answer(changed, f"{draw}:changed"))
        if known.holds == "idempotent":
            return known.broken_by(answer, await self._answer(with_text(messages, answer), draw))
        if claim.scorer is not None:
            return await _scored(claim, case, messages, answer)
        return known.broken_alone(messages, answer)

    async def _answer(self, messages: str, draw: str) -> str:
        done = await self._ask(messages, self._parameters, draw)
        if done.error is not None:
            raise _Unanswered(done.error)
        return done.output or ""

    async def _smallest(self, claim: Claim, trial: _Trial) -> Counterexample | None:
        """The smallest input made of one that broke; None where it does not break again often enough to be shrunk."""
        paired = claim.property.paired
        case = trial.base if paired or trial.made is None else trial.made
        frame, text = case.messages, asked_text(case.messages)
        other = asked_text(trial.made.messages) if paired and trial.made is not None else None
        if text is None or (
            trial.made is not None and other is not None and trial.made.messages != with_text(frame, other)
        ):
            return None  # more than one text differs

        async def broken(one: str, two: str | None) -> bool:
            for number in range(CONFIRMED_BY):
                if not await self._again(claim, case, (frame, one, two), f"shrink-{number}"):
                    return False
            return True

        if not await broken(text, other):
            return None
        one, two = await shrink(text, other, broken, self._budget.tries)
        whys = await self._reruns(claim, case, (frame, one, two))
        said = [why for why in whys if why is not None]
        broke = [why for why in said if why]
        return Counterexample(
            case_id=case.case_id,
            transformation=None if trial.made is None else str(trial.made.attributes.get("transformation")),
            messages=with_text(frame, one),
            changed=None if two is None else with_text(frame, two),
            why=broke[0] if broke else trial.why or "",
            rate=wilson(len(broke), len(said)),
            unanswered=len(whys) - len(said),
        )

    async def _reruns(self, claim: Claim, case: Case, texts: tuple[str, str, str | None]) -> list[str | None]:
        """What came of asking again and again: see `_again`. Raises `CapReached`."""
        draws = [f"rerun-{number}" for number in range(self._budget.reruns)]
        again = partial(self._again, claim, case, texts)
        done = await work_through(draws, again, self._budget.concurrency, asyncio.Event())
        if done.ended_by is not None:
            raise CapReached(done.ended_by)
        return done.each

    async def _again(self, claim: Claim, case: Case, texts: tuple[str, str, str | None], draw: str) -> str | None:
        """The same as `_broken`, for texts put into a case's messages: why it broke, "" where it holds, None for no
        answer, which is neither."""
        frame, one, two = texts
        changed = None if two is None else with_text(frame, two)
        try:
            return await self._broken(claim, case, with_text(frame, one), changed, draw) or ""
        except (_Unanswered, _Unjudged):
            self._unanswered_again += 1
            return None


class _Unanswered(Exception):
    """The target gave no answer; the message is its error."""


class _Unjudged(Exception):
    """There is an answer, and the scorer gave it no value; the message is its reason."""


def summary(known: Property, tried: list[_Trial], stopped: str | None) -> Found:
    """The rate, the noise and the ruling of what was tried."""
    good = [each for each in tried if each.error is None and each.unjudged is None]
    lost = [each for each in tried if each.error is not None]
    clusters = [each.base.cluster or each.base.case_id for each in good]
    broke = [float(each.why is not None) for each in good]
    rate = clustered_rate(broke, clusters) if good else wilson(0, 0)
    ruling, why = _ruling(known, broke, clusters, lost)
    noise = excess = None
    cause: Cause | None = None
    twice = [
        (float(each.noisy), b, c) for each, b, c in zip(good, broke, clusters, strict=True) if each.noisy is not None
    ]
    if known.holds == "same" and twice:
        noisy, groups = [each[0] for each in twice], [each[2] for each in twice]
        noise = clustered_rate(noisy, groups)
        excess = clustered([b - n for n, b, _ in twice], groups)
        cause = "sensitive" if sum(broke) and excess.low > 0 else "flaky" if sum(noisy) else None
    return Found(
        name=known.name, holds=known.holds, ruling=ruling, why=why, allowed=known.allowed, violations=int(sum(broke)),
        inputs=len(good), unanswered=len(lost), unjudged=len(tried) - len(good) - len(lost), rate=rate, noise=noise,
        excess=excess, cause=cause, first_error=lost[0].error if lost else None, stopped=stopped,
    )  # fmt: skip


def _ruling(
    known: Property, broke: Sequence[float], clusters: Sequence[str], lost: Sequence[_Trial]
) -> tuple[Ruling, str]:
    """The verdict and its reason. What got no answer is taken as holding and as breaking: both must say the same."""
    if not broke:
        return "not resolved", "no input could be judged"
    every = [*clusters, *(each.base.cluster or each.base.case_id for each in lost)]
    least = clustered_rate([*broke, *[0.0] * len(lost)], every)
    most = clustered_rate([*broke, *[1.0] * len(lost)], every)
    if least.low > known.allowed:
        return "broken", "the interval of the rate lies above what is allowed"
    if most.high <= known.allowed:
        return "holds", "the interval of the rate lies within what is allowed"
    rate = clustered_rate(broke, clusters)
    if lost and (rate.low > known.allowed or rate.high <= known.allowed):
        return (
            "not resolved",
            f"{len(lost)} inputs got no answer, and what they would have shown could turn the verdict",
        )
    return "not resolved", "the interval of the rate holds what is allowed: more inputs would tell"


def _trials(claim: Claim, cases: tuple[Case, ...], rng: Random, most: int) -> list[_Trial]:
    """The inputs of a property: the cases alone where one answer is judged, and what is made of them."""
    trials = [] if claim.property.paired else [_Trial(base=case, made=None) for case in cases]
    known = {case.case_id: case for case in cases}
    trials.extend(_Trial(base=known[str(made.attributes["parent"])], made=made) for made in _made(claim, cases, rng))
    rng.shuffle(trials)
    return trials[:most]


def _made(claim: Claim, cases: tuple[Case, ...], rng: Random) -> Iterable[Case]:
    if claim.generator is not None:
        return claim.generator.generate(cases, rng)
    return _rewritten(claim.property, cases) if claim.property.rewrite is not None else ()


def _rewritten(known: Property, cases: tuple[Case, ...]) -> Iterable[Case]:
    assert known.rewrite is not None
    for case in cases:
        text = asked_text(case.messages)
        changed = text if text is None else re.sub(known.rewrite.pattern, known.rewrite.by, text)
        if changed is not None and changed != text:
            yield child(case, with_text(case.messages, changed), "rewrite", known.name, 0)


async def _scored(claim: Claim, case: Case, messages: str, answer: str) -> str | None:
    assert claim.scorer is not None
    asked = msgspec.structs.replace(case, messages=messages)
    marks: Any = claim.scorer.score(Subject(kind="case", subject_id=case.case_id, output=answer, case=asked))
    first = (marks if isinstance(marks, tuple) else await marks)[0]
    if first.value is None:
        raise _Unjudged(f"the scorer could not judge it: {first.explanation}")
    if first.value >= claim.property.bar:
        return None
    return f"{first.name} is {first.value:g}" + (f" ({first.label or ''}: {first.explanation or ''})")


def cases_from(found: Iterable[Found], cases: Iterable[Case], named: Callable[[str], str]) -> list[Case]:
    """Counterexamples as cases to keep: the changed question, expecting what the case expects where answers must agree.

    `named` gives a new case its id from the words that identify it.
    """
    known = {case.case_id: case for case in cases}
    kept = []
    for each in found:
        for example in each.counterexamples:
            parent = known.get(example.case_id)
            kept.append(
                Case(
                    case_id=named(f"{each.name}/{example.changed or example.messages}"),
                    dataset="counterexamples",
                    messages=example.changed or example.messages,
                    expected=parent.expected if parent is not None and each.holds == "same" else None,
                    cluster=None if parent is None else parent.cluster or parent.case_id,
                    origin=f"property:{each.name}:{example.case_id}",
                    attributes={"parent": example.case_id, "property": each.name, "why": example.why[:500]},
                )
            )
    return kept
