"""A run asks each case, records what it finds as it goes, and never turns a failure into a zero."""

import asyncio
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from watchkeeper.engines.experiments.results import Before, read_results, write_results
from watchkeeper.engines.experiments.runner import (
    Judge,
    Plan,
    Runner,
    composition,
    parameters_digest,
    summarise,
)
from watchkeeper.engines.experiments.targets import FunctionTarget
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.ports import Completion
from watchkeeper.kinds.scorer import Mark, Scores, Subject
from watchkeeper.records.case import Case
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score


class Same(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the output is the expected one; fails on the output "boom"."""

    header: ClassVar[Header] = Header(id="same", version="3", theme="quality", summary="Sameness.")
    strict: bool = True

    def score(self, subject: Subject) -> Scores:
        assert subject.case is not None
        if subject.output == "boom":
            raise RuntimeError("cannot read that")
        if subject.case.expected is None:
            return (Mark(name="same", explanation="not judged: nothing is expected"),)
        return Mark(name="same", value=float(subject.output == subject.case.expected)), Mark(
            name="same.seen", value=1.0
        )


class Length(msgspec.Struct, frozen=True, kw_only=True):
    """The length of the output; answers later, as a scorer that asks somebody does."""

    header: ClassVar[Header] = Header(id="length", version="1", theme="quality", summary="Length.")

    async def score(self, subject: Subject) -> Scores:
        await asyncio.sleep(0)
        return (Mark(name="length", value=float(len(subject.output or ""))),)


def ask(text: str, expected: str | None = "yes", **fields: Any) -> Case:
    messages = json.dumps([{"role": "user", "content": text}])
    return Case(case_id=f"d/{text}", dataset="d", messages=messages, expected=expected, **fields)


def plan(*cases: Case, **fields: Any) -> Plan:
    judges = fields.pop("judges", (Judge(scorer=Same()),))
    manifest = composition("function", {"model": "m"}, cases, 0)
    return Plan(suite="s", target="function", cases=cases, judges=judges, manifest=manifest, **fields)


class Clock:
    """Each look is a second later than the last."""

    def __init__(self) -> None:
        self.now = 1_000_000_000_000

    def __call__(self) -> int:
        self.now += 1_000_000_000
        return self.now


def echo(messages: list[Any]) -> str:
    text = messages[-1]["content"]
    if text.startswith("fail"):
        raise ValueError("no answer today")
    return str(text)


def kinds(kept: list[Record]) -> list[str]:
    return [type(record).__name__ for record in kept]


@pytest.mark.anyio
async def test_a_run_records_cases_scores_and_its_summary() -> None:
    kept: list[Record] = []
    outcome = await Runner(plan(ask("yes"), ask("no")), FunctionTarget(echo), kept.append, Clock()).run()
    assert kinds(kept) == ["Manifest", "Case", "Case", "Experiment", *["Score"] * 4, "Experiment"]
    first, last = (record for record in kept if isinstance(record, Experiment))
    assert (first.experiment_id, first.revision, first.end_ns) == (last.experiment_id, 0, None)
    assert (last.revision, last.cases, last.errors, last.spent_usd) == (1, 2, 0, None)
    assert last.end_ns is not None
    assert last.end_ns > last.at_ns
    estimate = last.summary["same"]
    assert (estimate.value, estimate.n, estimate.method) == (0.5, 2, "Wilson score")
    scores = [record for record in kept if isinstance(record, Score)]
    assert {(s.subject_kind, s.scorer, s.version, s.experiment_id, s.source) for s in scores} == {
        ("case", "same", "3", last.experiment_id, "experiment")
    }
    assert (outcome.planned, outcome.stopped, outcome.unscored) == (2, False, 0)
    assert isinstance(kept[0], Manifest)
    assert kept[0].digest == last.manifest


@pytest.mark.anyio
async def test_a_failed_call_is_counted_and_is_no_zero() -> None:
    kept: list[Record] = []
    outcome = await Runner(plan(ask("yes"), ask("fail")), FunctionTarget(echo), kept.append, Clock()).run()
    assert outcome.experiment.errors == 1
    assert (outcome.experiment.summary["same"].value, outcome.experiment.summary["same"].n) == (1.0, 1)
    (failed,) = [score for score in kept if isinstance(score, Score) and score.value is None]
    assert failed.explanation is not None
    assert "no answer today" in failed.explanation
    assert outcome.unscored == 1


@pytest.mark.anyio
async def test_a_scorer_that_fails_is_told_and_is_no_zero() -> None:
    outcome = await Runner(plan(ask("boom"), ask("yes")), FunctionTarget(echo), lambda _: None, Clock()).run()
    (score,) = next(r for r in outcome.results if r.case_id == "d/boom").scores
    assert (score.value, score.explanation) == (None, "not judged: the scorer failed: RuntimeError: cannot read that")
    assert outcome.experiment.summary["same"].n == 1
    assert outcome.experiment.errors == 0


@pytest.mark.anyio
async def test_what_cannot_be_judged_leaves_no_summary() -> None:
    outcome = await Runner(plan(ask("hm", None)), FunctionTarget(echo), lambda _: None, Clock()).run()
    assert outcome.experiment.summary == {}
    assert outcome.unscored == 1


@pytest.mark.anyio
async def test_a_judge_may_rename_its_scores() -> None:
    judges = (Judge(scorer=Same(), name="tone"), Judge(scorer=Length()))
    outcome = await Runner(plan(ask("yes"), judges=judges), FunctionTarget(echo), lambda _: None, Clock()).run()
    assert sorted(outcome.experiment.summary) == ["length", "tone", "tone.seen"]
    assert outcome.experiment.summary["length"].method == "Student t"


@pytest.mark.anyio
async def test_no_more_calls_are_under_way_than_allowed() -> None:
    under_way = most = 0

    async def slow(messages: list[Any]) -> str:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1
        return "yes"

    cases = [ask(str(number)) for number in range(40)]
    outcome = await Runner(plan(*cases, concurrency=5), FunctionTarget(slow), lambda _: None, Clock()).run()
    assert most == 5
    assert [result.case_id for result in outcome.results] == [case.case_id for case in cases]


@pytest.mark.anyio
async def test_a_run_that_is_stopped_keeps_its_part_and_says_so() -> None:
    kept: list[Record] = []
    stopping, asked = asyncio.Event(), 0

    async def slow(messages: list[Any]) -> str:
        nonlocal asked
        asked += 1
        if asked > 3:
            stopping.set()
            await asyncio.sleep(60)
        return "yes"

    runner = Runner(plan(*[ask(str(n)) for n in range(20)], concurrency=1), FunctionTarget(slow), kept.append, Clock())
    outcome = await asyncio.wait_for(runner.run(stopping), 10)
    assert (outcome.stopped, len(outcome.results), outcome.planned) == (True, 3, 20)
    last = kept[-1]
    assert isinstance(last, Experiment)
    assert (last.revision, last.summary["same"].n, last.cases) == (1, 3, 20)


@pytest.mark.anyio
async def test_a_run_that_is_cancelled_records_its_part() -> None:
    kept: list[Record] = []
    begun = asyncio.Event()

    async def slow(messages: list[Any]) -> str:
        if messages[-1]["content"] == "last":
            begun.set()
            await asyncio.sleep(60)
        return "yes"

    runner = Runner(plan(ask("yes"), ask("last"), concurrency=1), FunctionTarget(slow), kept.append, Clock())
    task = asyncio.create_task(runner.run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(kept[-1], Experiment)
    assert kept[-1].summary["same"].n == 1


@pytest.mark.anyio
async def test_a_record_that_cannot_be_kept_ends_the_run() -> None:
    def full(record: Record) -> None:
        if isinstance(record, Score):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await Runner(plan(ask("yes"), ask("no")), FunctionTarget(echo), full, Clock()).run()


@pytest.mark.anyio
async def test_the_case_is_the_unit_when_it_is_asked_again() -> None:
    cases = [ask("yes"), ask("no")]
    outcome = await Runner(plan(*cases, repeats=3), FunctionTarget(echo), lambda _: None, Clock()).run()
    estimate = outcome.experiment.summary["same"]
    assert (estimate.value, estimate.n) == (0.5, 2)
    assert [(r.case_id, r.repeat) for r in outcome.results][:3] == [("d/yes", 0), ("d/yes", 1), ("d/yes", 2)]


@pytest.mark.anyio
async def test_cases_of_one_cluster_are_one_fact() -> None:
    cases = [ask("yes", cluster="a"), ask("yes ", "yes ", cluster="a"), ask("no", cluster="b")]
    outcome = await Runner(plan(*cases), FunctionTarget(echo), lambda _: None, Clock()).run()
    estimate = outcome.experiment.summary["same"]
    assert (estimate.n, estimate.value) == (2, pytest.approx(2 / 3))


@pytest.mark.anyio
async def test_repeats_that_all_agree_do_not_claim_certainty() -> None:
    outcome = await Runner(plan(ask("yes"), repeats=5), FunctionTarget(echo), lambda _: None, Clock()).run()
    estimate = outcome.experiment.summary["same"]
    assert (estimate.value, estimate.n, estimate.high) == (1.0, 1, 1.0 if math.isfinite(estimate.high) else math.inf)
    assert estimate.low < 0.5


@pytest.mark.anyio
@pytest.mark.parametrize(("second", "spent"), [(0.5, 0.75), (None, None)])
async def test_money_is_known_only_when_every_price_is(second: float | None, spent: float | None) -> None:
    def price(answer: Completion) -> float | None:
        return 0.25 if answer.output == "yes" else second

    runner = Runner(plan(ask("yes"), ask("no")), FunctionTarget(echo), lambda _: None, Clock(), price=price)
    assert (await runner.run()).experiment.spent_usd == spent


@pytest.mark.anyio
async def test_results_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    outcome = await Runner(plan(ask("yes"), ask("fail")), FunctionTarget(echo), lambda _: None, Clock()).run()
    path = tmp_path / "out.jsonl"
    write_results(path, outcome.results)
    assert tuple(read_results(path)) == outcome.results
    assert [child.name for child in tmp_path.iterdir()] == ["out.jsonl"]


def test_nothing_scored_is_no_summary() -> None:
    assert summarise([]) == {}


def test_parameters_have_one_digest_however_they_are_written() -> None:
    assert parameters_digest(Same()) == parameters_digest(Same(strict=True))
    assert parameters_digest(Same()) != parameters_digest(Same(strict=False))


@pytest.mark.parametrize(
    "change", [{"model": "n"}, {"temperature": 1}, {"system": "Be rude."}, {"target": "http://elsewhere/v1"}]
)
def test_another_composition_has_another_digest(change: dict[str, Any]) -> None:
    def digest(fields: Mapping[str, Any]) -> str:
        messages = json.dumps([{"role": "system", "content": fields["system"]}, {"role": "user", "content": "x"}])
        case = Case(case_id="c", dataset="d", messages=messages)
        parameters = {"model": fields["model"], "temperature": fields["temperature"]}
        return composition(fields["target"], parameters, [case], 0).digest

    base = {"model": "m", "temperature": 0, "system": "Be kind.", "target": "http://here/v1"}
    assert digest(base) == digest(dict(reversed(base.items())))
    assert digest({**base, **change}) != digest(base)


class Odd(msgspec.Struct, frozen=True, kw_only=True):
    """Gives what is no number for some outputs."""

    header: ClassVar[Header] = Header(id="odd", version="1", theme="quality", summary="Oddness.")

    def score(self, subject: Subject) -> Scores:
        said = {"nan": math.nan, "inf": -math.inf, "word": "high"}.get(subject.output or "", 1.0)
        return (Mark(name="odd", value=said),)  # type: ignore[arg-type]


@pytest.mark.anyio
async def test_a_score_that_is_no_finite_number_is_no_value_and_in_no_mean() -> None:
    cases = [ask(text) for text in ("nan", "inf", "word", "fine")]
    outcome = await Runner(
        plan(*cases, judges=(Judge(scorer=Odd()),)), FunctionTarget(echo), lambda _: None, Clock()
    ).run()
    assert (outcome.experiment.summary["odd"].value, outcome.experiment.summary["odd"].n) == (1.0, 1)
    told = [score.explanation for result in outcome.results for score in result.scores]
    assert outcome.unscored == 3 and "the scorer gave nan, which is no finite number" in str(told[0])


@pytest.mark.anyio
async def test_a_run_goes_on_with_what_it_has_and_asks_the_rest() -> None:
    asked: list[str] = []

    def heard(messages: list[Any]) -> str:
        asked.append(messages[-1]["content"])
        return "yes"

    whole = plan(*(ask(str(number)) for number in range(6)), repeats=2)
    first = await Runner(whole, FunctionTarget(heard), lambda _: None, Clock()).run()
    failed = msgspec.structs.replace(first.results[4], error="HTTP 500")
    before = Before(experiment=first.experiment, results=(*first.results[:4], failed))
    asked.clear()
    kept: list[Record] = []
    came: list[str] = []
    again = Runner(
        whole,
        FunctionTarget(heard),
        kept.append,
        Clock(),
        before=before,
        keep=lambda result: came.append(result.case_id),
    )
    outcome = await again.run()
    assert outcome.experiment.experiment_id == first.experiment.experiment_id
    assert (len(asked), len(came), len(outcome.results), outcome.stopped) == (8, 8, 12, False)
    assert outcome.experiment.revision == first.experiment.revision + 2
    ids = {score.score_id for result in first.results for score in result.scores}
    assert {score.score_id for result in outcome.results for score in result.scores} == ids and len(ids) == 24


class Refusing:
    """A target that refuses calls from some number on, or up to it."""

    def __init__(self, status: int, good: int = 0) -> None:
        self.status, self.good, self.asked = status, good, 0

    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        self.asked += 1
        refused = self.asked > self.good
        return Completion(
            output=None if refused else "yes",
            calls=None,
            finish_reason=None,
            model=None,
            input_tokens=None,
            output_tokens=None,
            duration_ns=0,
            error=f"HTTP {self.status}: no" if refused else None,
            status=self.status if refused else 200,
        )


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "good", "asked", "ended_by"),
    [(401, 0, 20, "refused"), (404, 0, 20, "refused"), (500, 0, 100, "all"), (401, 1, 100, "all")],
)
async def test_a_target_that_refuses_everything_is_not_asked_on(
    status: int, good: int, asked: int, ended_by: str
) -> None:
    target = Refusing(status, good)
    cases = [ask(str(number)) for number in range(100)]
    outcome = await Runner(plan(*cases, concurrency=1), target, lambda _: None, Clock()).run()
    assert (target.asked, outcome.ended_by) == (asked, ended_by)
    assert outcome.why is None or f"HTTP {status}" in outcome.why
