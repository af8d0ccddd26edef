"""Runs a suite: asks each case, judges each answer, records scores as they come and a summary with intervals.

A case whose call failed, or whose scorer failed, is counted and left out of the means: it is never a 0. A run that is
stopped keeps what it has and says that it is a part, and why: somebody stopped it, a cap in money was reached, its
verdict was known early, or the target refused all of the first calls, as with a wrong key or an unknown model.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Any

import msgspec

from watchkeeper.analysis import intervals
from watchkeeper.engines.experiments.asking import Asker, CapReached, draws
from watchkeeper.engines.experiments.results import Before, EndedBy, Outcome, Result, completion_of
from watchkeeper.engines.experiments.stopping import InOrder
from watchkeeper.kinds.ports import Completion, ModelProvider
from watchkeeper.kinds.scorer import Mark, Scorer, Subject
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.ids import digest, new_id
from watchkeeper.records.manifest import Manifest, compose_manifest
from watchkeeper.records.record import Record, Scalar, as_json
from watchkeeper.records.score import Score

MAX_CONCURRENCY = 256
KEPT_OUTPUT = 500
"""So many characters of an answer stand with its scores; the whole of it is among the kept answers."""
_AT_ONCE = 500
_REFUSALS = frozenset({401, 403, 404})
_HOPELESS = 20
"""A target that refuses so many calls, and has answered none, refuses the others as well."""
Asked = Callable[[str, Mapping[str, object], str], Awaitable[Completion]]


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """A scorer at work in a suite; `name` renames its scores, None keeps the scorer's own names."""

    scorer: Scorer
    name: str | None = None

    @property
    def parameters(self) -> str:
        """The digest of the scorer's parameters, part of what identifies its scores."""
        return parameters_digest(self.scorer)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to run: cases, judges, whom to ask (`target` in words), with which parameters, and how.

    Plans with different `draw` ask equal questions anew instead of sharing answers.
    """

    suite: str
    target: str
    cases: tuple[Case, ...]
    judges: tuple[Judge, ...]
    manifest: Manifest
    parameters: dict[str, Any] = {}
    repeats: int = 1
    concurrency: int = 8
    margin: float | None = None
    draw: str = ""


def parameters_digest(scorer: object) -> str:
    """The digest of a capability's fields, independent of their order and of defaults left out."""
    fields: Mapping[str, Any] = msgspec.to_builtins(scorer)
    return digest(msgspec.json.encode({k: v for k, v in fields.items() if k != "type"}, order="sorted"))


class Runner:
    """Runs one plan. `record` keeps each record; `progress` is told of each result; `price` says what a call cost.

    `provider` is asked as it is, or through an `Asker` with its cache, pace, retries and cap. `done` is told of each
    result as well, in the order of the plan, and says why the run may end early, None while it may not. `keep` is given
    each result before its scores are recorded; `records` keeps several records at once. `before` is what the same run
    has come to already: it goes on as another revision, and asks what has no answer yet.
    """

    def __init__(
        self,
        plan: Plan,
        provider: ModelProvider,
        record: Callable[[Record], object],
        clock_ns: Callable[[], int],
        *,
        progress: Callable[[Result], object] | None = None,
        price: Callable[[Completion], float | None] | None = None,
        done: Callable[[Result], str | None] | None = None,
        keep: Callable[[Result], object] | None = None,
        records: Callable[[Sequence[Record]], object] | None = None,
        before: Before | None = None,
    ) -> None:
        self._plan = plan
        self._keep, self._before = keep, before
        # Whoever can be called is asked by draws, as an `Asker` is.
        self._ask: Asked | None = provider if callable(provider) else None
        self._provider = provider
        # What may end early asks a case's reruns together; else every case is asked once before any is asked again.
        self._places = _places(len(plan.cases), plan.repeats, together=done is not None)
        self._done = None if done is None else InOrder(done, self._places)
        self._why: str | None = None
        self._ended_by: EndedBy = "all"
        self._refused, self._answered = 0, False
        number = draws()
        self._draws = tuple(number(case.messages) for case in plan.cases)
        self._record = record
        self._records = records or (lambda several: [record(each) for each in several])
        self._clock_ns = clock_ns
        self._progress = progress
        self._price = price
        self._results: dict[tuple[int, int], Result] = {}
        self._costs: list[float | None] = []
        self.experiment = self._begun() if before is None else _again(before.experiment)

    def _begun(self) -> Experiment:
        plan, started = self._plan, self._clock_ns()
        return Experiment(
            experiment_id=new_id("exp", started),
            suite=plan.suite,
            target=plan.target,
            at_ns=started,
            manifest=plan.manifest.digest,
            cases=len(plan.cases),
        )

    async def run(self, stopping: asyncio.Event | None = None) -> Outcome:
        """Run the plan to its end, or until `stopping` is set or this task is cancelled; then keep what there is."""
        plan = self._plan
        self._record(plan.manifest)
        for start in range(0, len(plan.cases), _AT_ONCE):
            self._records(plan.cases[start : start + _AT_ONCE])
        self._record(self.experiment)
        if self._before is not None:
            self._take_up(self._before.results)
        work = iter([place for place in self._places if place not in self._results])
        width = max(1, min(plan.concurrency, MAX_CONCURRENCY))
        workers = [asyncio.create_task(self._work(work)) for _ in range(width)]
        stop = asyncio.create_task((stopping or asyncio.Event()).wait())
        ended = asyncio.ensure_future(asyncio.gather(*workers))
        try:
            waiting: list[asyncio.Future[Any]] = [ended, stop]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
            elif self._ended_by == "all":
                self._ended_by = "stopped"
        finally:
            for task in (*workers, stop):
                task.cancel()
            await asyncio.gather(*workers, stop, ended, return_exceptions=True)
            outcome = self._finish()
        return outcome

    def _take_up(self, results: Sequence[Result]) -> None:
        """Count what was answered before; the last of it may have died between its file and the record."""
        if results:
            self._records(results[-1].scores)
        index = {case.case_id: number for number, case in enumerate(self._plan.cases)}
        for result in results:
            if result.error is None and result.case_id in index:
                self._answered = True
                self._results[index[result.case_id], result.repeat] = result
                if self._price is not None:
                    self._costs.append(self._price(completion_of(result)))
        for place in self._places:
            known = self._results.get(place)
            if known is not None and self._done is not None and (why := self._done(place, known)) is not None:
                self._end("verdict", why)
                return

    async def _work(self, work: Any) -> None:
        for index, repeat in work:
            if self._why is not None:
                return
            try:
                result = await self._one(index, repeat)
            except CapReached as reached:
                self._end("cap", str(reached))
                return
            self._results[index, repeat] = result
            if self._keep is not None:
                self._keep(result)
            self._records(result.scores)
            if self._progress is not None:
                self._progress(result)
            if self._done is not None and (why := self._done((index, repeat), result)) is not None:
                self._end("verdict", why)

    def _mind(self, answer: Completion) -> None:
        """End a run whose target refuses everything: nothing is gained by asking on."""
        refused = answer.error is not None and answer.status in _REFUSALS
        if not refused or any(result.error is None for result in self._results.values()):
            return
        self._refused += 1
        if self._refused == _HOPELESS:
            self._end(
                "refused", f"All of the first {_HOPELESS} calls were refused, so no more are made: {answer.error}"
            )

    def _end(self, by: EndedBy, why: str) -> None:
        self._ended_by, self._why = by, why

    async def _answer(self, index: int, repeat: int) -> Completion:
        messages, parameters = self._plan.cases[index].messages, self._plan.parameters
        if self._ask is None:
            return await self._provider.complete(messages, parameters)
        return await self._ask(messages, parameters, self._draw(index, repeat))

    def _draw(self, index: int, repeat: int) -> str:
        return f"{self._plan.draw}{self._draws[index]}.{repeat}"

    def _kept_as(self, index: int, repeat: int, answer: Completion) -> str | None:
        """Where the answer is kept and what it says, so that another one in its place is noticed; None: not kept."""
        if answer.error is not None or not isinstance(self._ask, Asker) or not self._ask.keeps:
            return None
        key = self._ask.key(self._plan.cases[index].messages, self._plan.parameters, self._draw(index, repeat))
        return f"{key}:{said_in(answer)}"

    async def _one(self, index: int, repeat: int) -> Result:
        case = self._plan.cases[index]
        answer = await self._answer(index, repeat)
        if self._price is not None:
            self._costs.append(self._price(answer))
        result = Result(
            experiment_id=self.experiment.experiment_id,
            suite=self._plan.suite,
            case_id=case.case_id,
            repeat=repeat,
            cluster=case.cluster,
            margin=self._plan.margin,
            output=answer.output,
            calls=answer.calls,
            finish_reason=answer.finish_reason,
            model=answer.model,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            duration_ns=answer.duration_ns,
            error=answer.error,
            composition=answer.composition,
            kept_as=self._kept_as(index, repeat, answer),
            attributes=case.attributes,
            masked=answer.masked,
        )
        self._mind(answer)
        if answer.error is not None:
            unjudged = [(judge, (_unjudged(judge, f"the call failed: {answer.error}"),)) for judge in self._plan.judges]
            return self._scored(result, unjudged)
        subject = Subject(
            kind="case",
            subject_id=case.case_id,
            output=answer.output,
            calls=answer.calls,
            case=case,
            finish_reason=answer.finish_reason,
        )
        return self._scored(result, [(judge, await judged(judge, subject)) for judge in self._plan.judges])

    def _scored(self, result: Result, judged: Sequence[tuple[Judge, Sequence[Mark]]]) -> Result:
        now = self._clock_ns()
        said = None if result.output is None else result.output[:KEPT_OUTPUT]
        named: dict[str, Scalar] = {
            "cluster": result.cluster,
            "margin": result.margin,
            "model": result.model,
            "error": result.error,
            "output": said,
            "kept_as": result.kept_as,
        }
        noted: dict[str, Scalar] = {name: value for name, value in named.items() if value is not None}
        noted["repeat"] = result.repeat
        scores = tuple(
            Score(
                score_id=_score_id(result, number, place),
                subject_kind="case",
                subject_id=result.case_id,
                name=renamed(judge, mark.name),
                at_ns=now,
                event_ns=now,
                value=mark.value,
                label=mark.label,
                explanation=mark.explanation,
                scorer=judge.scorer.header.id,
                version=judge.scorer.header.version,
                parameters=judge.parameters,
                source="experiment",
                experiment_id=result.experiment_id,
                attributes=noted,
            )
            for number, (judge, marks) in enumerate(judged)
            for place, mark in enumerate(marks)
        )
        return msgspec.structs.replace(result, scores=scores)

    def _finish(self) -> Outcome:
        results = tuple(self._results[key] for key in sorted(self._results))
        planned = len(self._plan.cases) * self._plan.repeats
        experiment = msgspec.structs.replace(
            self.experiment,
            end_ns=self._clock_ns(),
            errors=sum(result.error is not None for result in results),
            summary=summarise(results),
            spent_usd=_total(self._costs),
            compositions=dict(Counter(r.composition for r in results if r.composition is not None)),
            revision=self.experiment.revision + 1,
        )
        self._record(experiment)
        return Outcome(
            experiment=experiment,
            results=results,
            planned=planned,
            stopped=len(results) < planned,
            ended_by="all" if len(results) == planned else self._ended_by,
            why=self._why,
            unscored=sum(score.value is None and score.label is None for r in results for score in r.scores),
        )


def summarise(results: Sequence[Result]) -> dict[str, Estimate]:
    """The mean of each score that has values.

    Scores that are all 0 or 1 get Wilson's interval, others Student's t; where cases were repeated or hang together in
    clusters, a cluster-robust t interval over what is independent. Items without a value are left out; `n` shows it.
    """
    values: dict[str, list[float]] = defaultdict(list)
    groups: dict[str, list[Hashable]] = defaultdict(list)
    for result in results:
        for score in result.scores:
            if score.value is not None:
                values[score.name].append(score.value)
                groups[score.name].append(result.cluster or result.case_id)
    return {name: _mean(values[name], groups[name]) for name in sorted(values)}


def _mean(values: list[float], groups: list[Hashable]) -> Estimate:
    if len(set(groups)) < len(groups):
        estimate = intervals.clustered(values, groups)
        if estimate.high > estimate.low or not set(values) <= {0.0, 1.0}:
            return estimate
        # Clusters that are all alike leave no spread; Wilson over clusters is then the honest width.
        return intervals.wilson(estimate.value * estimate.n, estimate.n)
    if set(values) <= {0.0, 1.0}:
        return intervals.wilson(sum(values), len(values))
    return intervals.mean(values)


def _places(cases: int, repeats: int, together: bool) -> list[tuple[int, int]]:
    if together:
        return [(index, repeat) for index in range(cases) for repeat in range(repeats)]
    return [(index, repeat) for repeat in range(repeats) for index in range(cases)]


async def judged(judge: Judge, subject: Subject) -> tuple[Mark, ...]:
    """What a judge says of a subject; a scorer that fails gives no value and the reason."""
    try:
        marks = judge.scorer.score(subject)
        return tuple(_sound(mark) for mark in (await marks if inspect.isawaitable(marks) else marks))
    except Exception as error:  # noqa: BLE001  somebody else's scorer may raise anything
        return (_unjudged(judge, f"the scorer failed: {type(error).__name__}: {error}"[:300]),)


def _sound(mark: Mark) -> Mark:
    """A mark whose value can be counted: what is no finite number is no value, and says so."""
    value: Any = mark.value
    if value is None or (isinstance(value, int | float) and math.isfinite(value)):
        return mark
    return Mark(name=mark.name, explanation=f"not judged: the scorer gave {value!r}, which is no finite number"[:300])


def _unjudged(judge: Judge, reason: str) -> Mark:
    return Mark(name=judge.scorer.header.id, explanation=f"not judged: {reason}")


def renamed(judge: Judge, name: str) -> str:
    """A score's name under its judge's name; what follows a dot stays ("schema.repair" to "ticket.repair")."""
    if judge.name is None:
        return name
    return judge.name + name.removeprefix(judge.scorer.header.id) if name.startswith(judge.scorer.header.id) else name


def said_in(answer: Completion) -> str:
    """The digest of what an answer says and which tools it asks for."""
    return digest("\0".join((answer.output or "", answer.calls or "")).encode("utf-8", "replace"))


def _score_id(result: Result, judge: int, mark: int) -> str:
    """An id that is the same whenever this judgment is given again, so that it becomes a revision and no second one."""
    named = f"{result.experiment_id}\0{result.case_id}\0{result.repeat}\0{judge}\0{mark}"
    return f"scr_{result.experiment_id[4:16]}{digest(named.encode('utf-8', 'replace'))[:16]}"


def _again(experiment: Experiment) -> Experiment:
    """An experiment that goes on: not ended, in its next revision."""
    return msgspec.structs.replace(
        experiment, end_ns=None, errors=0, summary={}, spent_usd=None, compositions={}, revision=experiment.revision + 1
    )


def _total(costs: Sequence[float | None]) -> float | None:
    """What all calls cost; None as soon as one is unknown."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known and len(known) == len(costs) else None


def composition(target: str, parameters: Mapping[str, Any], cases: Sequence[Case], at_ns: int) -> Manifest:
    """What shapes the answers of a run: whom it asks, the parameters, and the system messages of its cases."""
    systems = set()
    for case in cases:
        for message in msgspec.json.decode(case.messages):
            if isinstance(message, dict) and message.get("role") in ("system", "developer"):
                systems.add(str(message.get("content")))
    model = parameters.get("model")
    rest = {name: value for name, value in parameters.items() if name != "model"}
    components = {
        "upstream": target,
        "model": "unknown" if model is None else str(model),
        "parameters": digest(msgspec.json.encode(rest, order="sorted")),
        "system": digest(as_json(sorted(systems))) if systems else "none",
    }
    return compose_manifest(components, at_ns)
