"""Plays tasks whole and cut into turns, many times each, and holds aptitude and unreliability of both side by side.

Differences are sharded minus whole, paired by task. "Less apt" and "less reliable" are said only where the interval and
the test (sign flips over tasks) both say so. Runs are paired by their number: a run that got no answer, or no score, in
one form is left out of both, so that no percentile stands on fewer runs than the one that it is held against. Where
that is half of all runs there is no verdict. See `analysis/aptitude` for the figures and their limits.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from watchkeeper.analysis.aptitude import LEAST_RUNS, Aptitude, aptitude
from watchkeeper.analysis.paired import Comparison, compare
from watchkeeper.engines.experiments.runner import Asked, Judge, judged, renamed
from watchkeeper.engines.experiments.working import work_through
from watchkeeper.kinds.scorer import Mark, Subject
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Ruling = Literal["less reliable", "less apt", "less reliable and less apt", "not shown", "not resolved"]
Form = Literal["whole", "sharded"]
FORMS: tuple[Form, ...] = ("whole", "sharded")


class Stressed(Record):
    """Whole against sharded: differences are paired by task; what `failed` or is `unscored` is in no figure.

    `played` of `planned` runs came to their end; `ended_by` says why not all did.
    """

    whole: Aptitude
    sharded: Aptitude
    aptitude_change: Estimate
    unreliability_change: Estimate
    ruling: Ruling
    why: str
    tasks: int
    runs: int
    planned: int
    played: int
    failed: int
    unscored: int
    first_error: str | None = None
    ended_by: str | None = None
    stopped: bool = False


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of one task in one form, and its score; None with `error` where it got no answer, else unscored."""

    task: str
    form: Form
    number: int
    score: float | None = None
    error: str | None = None


class _Place(NamedTuple):
    case: Case
    task: str
    form: Form
    number: int


class Stress:
    """Asks each task `runs` times in each form. Turns are asked one after another, with the answers in between.

    `score` names the one of `judge` that counts, None its first. `progress` is told of each run.
    """

    def __init__(
        self,
        ask: Asked,
        parameters: Mapping[str, object],
        judge: Judge,
        *,
        score: str | None = None,
        concurrency: int = 8,
        progress: Callable[[object], object] | None = None,
    ) -> None:
        self._ask, self._parameters, self._judge, self._score = ask, parameters, judge, score
        self._concurrency, self._progress = concurrency, progress

    async def play(self, pairs: Sequence[tuple[Case, Case]], runs: int, stopping: asyncio.Event) -> Stressed:
        """Play pairs of (whole, sharded) cases; a stop or a cap ends it with what was played until then."""
        places = [
            _Place(case, whole.case_id, form, number)
            for number in range(runs)
            for whole, sharded in pairs
            for case, form in zip((whole, sharded), FORMS, strict=True)
        ]
        done = await work_through(places, self._run, self._concurrency, stopping)
        found = side_by_side(done.each, runs, len(places))
        return msgspec.structs.replace(found, ended_by=done.ended_by, stopped=done.stopped)

    async def _run(self, place: _Place) -> Run:
        answer, error = await self._conversation(place.case, f"stress-{place.number}")
        score = None
        if error is None:
            subject = Subject(kind="case", subject_id=place.case.case_id, output=answer, case=place.case)
            marks = await judged(self._judge, subject)
            score = next((mark.value for mark in marks if self._counts(mark)), None)
        run = Run(task=place.task, form=place.form, number=place.number, score=score, error=error)
        if self._progress is not None:
            self._progress(run)
        return run

    def _counts(self, mark: Mark) -> bool:
        return self._score is None or renamed(self._judge, mark.name) == self._score

    async def _conversation(self, case: Case, draw: str) -> tuple[str, str | None]:
        """The answer to the last turn, or why one turn got none."""
        said: list[Any] = []
        answer = ""
        for message in json.loads(case.messages):
            said.append(message)
            if message.get("role") != "user":
                continue
            done = await self._ask(json.dumps(said, ensure_ascii=False), self._parameters, draw)
            if done.error is not None:
                return "", done.error
            answer = done.output or ""
            said.append({"role": "assistant", "content": answer})
        return answer, None


def side_by_side(played: Sequence[Run], runs: int, planned: int) -> Stressed:
    """The figures and the ruling of what was played."""
    scores = {(run.task, run.form, run.number): run.score for run in played if run.score is not None}
    tasks = list(dict.fromkeys(run.task for run in played))
    both: dict[str, tuple[list[float], list[float]]] = {}
    for task in tasks:
        paired = [
            (scores[task, "whole", number], scores[task, "sharded", number])
            for number in range(runs)
            if (task, "whole", number) in scores and (task, "sharded", number) in scores
        ]
        both[task] = [a for a, _ in paired], [b for _, b in paired]
    used = {task: pair for task, pair in both.items() if len(pair[0]) >= LEAST_RUNS}
    each = {task: (aptitude([a]), aptitude([b])) for task, (a, b) in used.items()}
    apt, unreliable = (
        compare(
            {task: getattr(a, name).value for task, (a, _) in each.items()},
            {task: getattr(b, name).value for task, (_, b) in each.items()},
        )
        for name in ("aptitude", "unreliability")
    )
    failed = [run for run in played if run.error is not None]
    counted = 2 * sum(len(a) for a, _ in used.values())
    ruling, why = _ruling(apt, unreliable, counted, len(played))
    return Stressed(
        whole=aptitude([a for a, _ in both.values()]), sharded=aptitude([b for _, b in both.values()]),
        aptitude_change=apt.difference, unreliability_change=unreliable.difference, ruling=ruling, why=why,
        tasks=len(used), runs=runs, planned=planned, played=len(played), failed=len(failed),
        unscored=sum(run.score is None and run.error is None for run in played),
        first_error=failed[0].error if failed else None,
    )  # fmt: skip


def _ruling(apt: Comparison, unreliable: Comparison, counted: int, played: int) -> tuple[Ruling, str]:
    if not counted or counted * 2 <= played:
        return "not resolved", f"{counted} of {played} runs have a score in both forms"
    said = [
        word for word, shown in (
            ("less reliable", unreliable.verdict == "better"),  # more of it
            ("less apt", apt.verdict == "worse"),
        ) if shown
    ]  # fmt: skip
    if said:
        return " and ".join(said), "the interval and the test over tasks both say so"  # type: ignore[return-value]
    return "not shown", "neither difference is told from none"
