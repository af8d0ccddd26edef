"""Asks the same cases in several ways and sets the answers side by side, case by case.

An *arm* is one way to ask: another system prompt, other parameters, or nothing new at all. Every arm asks every case,
so that two arms differ by what was changed and by chance, and never by which cases they were given. An arm that changes
nothing is the control: what chance alone does.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from watchkeeper.analysis.paired import Comparison, compare
from watchkeeper.engines.experiments.asking import Asker
from watchkeeper.engines.experiments.dataset import SuiteError
from watchkeeper.engines.experiments.results import Result
from watchkeeper.engines.experiments.runner import Judge, Plan, Runner, composition
from watchkeeper.kinds.ports import Completion, ModelProvider
from watchkeeper.records.case import Case
from watchkeeper.records.record import Record

Progress = Callable[[Result], object]
Change = Callable[[Case], Case]


class Unfinished(Exception):
    """Not every question of an arm was asked, so there is nothing to compare; what was answered is kept."""

    def __init__(self, why: str, stopped: bool) -> None:
        super().__init__(why)
        self.stopped = stopped


class Answers(Record):
    """What one arm was answered: a result for each case and repeat."""

    name: str
    results: tuple[Result, ...]

    def values(self, score: str) -> dict[str, list[float]]:
        """The values of a score by case; a case that got none is not in it."""
        found: dict[str, list[float]] = defaultdict(list)
        for result in self.results:
            for each in result.scores:
                if each.name == score and each.value is not None:
                    found[result.case_id].append(each.value)
        return dict(found)

    def measured(self, of: Callable[[Result], float | None]) -> dict[str, list[float]]:
        """What a function says of each answer, by case; None leaves an answer out."""
        found: dict[str, list[float]] = defaultdict(list)
        for result in self.results:
            value = of(result)
            if value is not None:
                found[result.case_id].append(float(value))
        return dict(found)

    @property
    def clusters(self) -> dict[str, str]:
        """Each case's cluster; a case without one is its own."""
        return {result.case_id: result.cluster or result.case_id for result in self.results}

    @property
    def errors(self) -> int:
        """How many questions got no answer."""
        return sum(result.error is not None for result in self.results)

    @property
    def input_tokens(self) -> float | None:
        """The mean of the billed input tokens; None where an answer has none."""
        billed = [result.input_tokens for result in self.results if result.error is None]
        known = [tokens for tokens in billed if tokens is not None]
        return sum(known) / len(known) if known and len(known) == len(billed) else None


def against(
    a: Mapping[str, Sequence[float]],
    b: Mapping[str, Sequence[float]],
    clusters: Mapping[str, str],
    margin: float | None = None,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two arms by cases that both have; cases of one cluster count together."""
    both = a.keys() & b.keys()
    grouped = len({clusters.get(case, case) for case in both}) < len(both)
    groups = {case: clusters.get(case, case) for case in both} if grouped else None
    return compare(a, b, margin, confidence, clusters=groups)


class Bench:
    """Asks arms. `record` keeps the runs of arms that are to be kept; `progress` is told of each answer."""

    def __init__(
        self,
        plan: Plan,
        ask: ModelProvider,
        *,
        progress: Progress | None = None,
        record: Callable[[Record], object] | None = None,
        price: Callable[[Completion], float | None] | None = None,
        stopping: asyncio.Event | None = None,
    ) -> None:
        self.plan = plan
        self._ask, self._progress, self._record, self._stopping = ask, progress, record, stopping
        self._price = price

    @property
    def ask(self) -> ModelProvider:
        """Whom the arms ask."""
        return self._ask

    @property
    def kept(self) -> int:
        """How many answers so far were kept from before."""
        return self._ask.told.kept if isinstance(self._ask, Asker) else 0

    async def __call__(
        self,
        name: str,
        change: Change | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        cases: Sequence[Case] | None = None,
        draw: str = "",
        keep: bool = False,
        ask: ModelProvider | None = None,
        judges: tuple[Judge, ...] | None = None,
    ) -> Answers:
        """Ask one arm; raises `Unfinished` where a cap or a person ended it before every case was asked.

        Arms that ask the same with the same `draw` share their answers. With `keep` the arm is recorded as a run. `ask`
        and `judges` take the place of the bench's own.
        """
        plan = self.plan
        asked = tuple(cases if cases is not None else plan.cases)
        changed = tuple(map(change, asked)) if change is not None else asked
        given = dict(plan.parameters if parameters is None else parameters)
        record = self._record if keep and self._record is not None else _forget
        arm = msgspec.structs.replace(
            plan,
            suite=f"{plan.suite}: {name}" if name else plan.suite,
            cases=changed,
            parameters=given,
            draw=draw,
            judges=plan.judges if judges is None else judges,
            manifest=composition(plan.target, given, changed, time.time_ns()),
        )
        runner = Runner(arm, ask or self._ask, record, time.time_ns, progress=self._progress, price=self._price)
        outcome = await runner.run(self._stopping)
        if outcome.stopped:
            why = outcome.why or "It was stopped."
            raise Unfinished(
                f"{why} {len(outcome.results)} of {outcome.planned} questions of {name!r} were answered, and answers "
                "are kept: the same command again goes on from there.",
                outcome.ended_by == "stopped",
            )
        return Answers(name=name, results=outcome.results)


async def together(*arms: Awaitable[Answers]) -> list[Answers]:
    """Ask several arms at the same time, so that a slow hour is slow for all; raises what the first of them raised."""
    done = await asyncio.gather(*arms, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return [each for each in done if isinstance(each, Answers)]


def score_of(plan: Plan, wanted: str | None) -> str:
    """The name of the score to judge by: the wanted one, or that of the first scorer; raises `SuiteError`."""
    names = [judge.name or judge.scorer.header.id for judge in plan.judges]
    if not names:
        raise SuiteError(f"{plan.suite!r} has no scorers, and this compares scores. Add some under `scorers`.")
    if wanted is None:
        return names[0]
    if wanted.split(".")[0] not in names:
        raise SuiteError(f"No scorer gives {wanted!r}; there are: {', '.join(names)}. Name one with --score.")
    return wanted


def prompt_of(cases: Sequence[Case]) -> str:
    """The one system prompt that all cases have; raises `SuiteError` where there is none, or several."""
    found = {_system(case) for case in cases}
    if found == {None}:
        raise SuiteError("The cases have no system message. Name the prompt with --prompt FILE: it is put before them.")
    if len(found) > 1:
        raise SuiteError(
            f"The cases have {len(found)} different system messages, and clauses are of one prompt. Name the one that "
            "is meant with --prompt FILE: it replaces them."
        )
    return str(found.pop())


def with_prompt(prompt: str) -> Change:
    """A change that sets the system prompt of a case; an empty prompt takes the message out."""

    def change(case: Case) -> Case:
        messages = msgspec.json.decode(case.messages)
        role = "system"
        rest = []
        for message in messages:
            if isinstance(message, dict) and message.get("role") in ("system", "developer"):
                role = message["role"]
            else:
                rest.append(message)
        if prompt.strip():
            rest.insert(0, {"role": role, "content": prompt})
        return msgspec.structs.replace(case, messages=msgspec.json.encode(rest).decode())

    return change


def _system(case: Case) -> str | None:
    for message in msgspec.json.decode(case.messages):
        if isinstance(message, dict) and message.get("role") in ("system", "developer"):
            content = message.get("content")
            return content if isinstance(content, str) else msgspec.json.encode(content).decode()
    return None


def _forget(_: Record) -> None:
    """Keeps nothing: the answers themselves are kept by the asker."""
