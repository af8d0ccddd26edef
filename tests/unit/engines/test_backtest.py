"""What a policy would have done to recorded runs, and what is not known of it."""

from __future__ import annotations

import pytest

from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.capabilities.policies.loop import Loop
from watchkeeper.engines.decide.backtest import BacktestResult, RecordedCall, RecordedRun, backtest, sentences
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.decide.recorded import load_runs, steps_said
from watchkeeper.kinds.policy import Policy
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.question import Question, T
from watchkeeper.queries.select import Rows, Select
from watchkeeper.records.event import ToolStep
from watchkeeper.records.identity import Identity
from watchkeeper.records.score import Score
from watchkeeper.records.span import Cost, Span, Usage

SECOND_NS = 1_000_000_000


def step(number: int, result: str = "same", prefix: str = "c") -> ToolStep:
    return ToolStep(agent=None, tool="f", arguments="x", result=result, call_id=f"{prefix}{number}")


def looping(run_id: str, turns: int, success: bool | None, cost_usd: float | None = 0.01) -> RecordedRun:
    """A run that asks the same thing in every turn: its nth model call has n equal steps behind it."""
    calls = [
        RecordedCall(
            at_ns=n * SECOND_NS,
            steps=tuple(step(i) for i in range(n)),
            usage=Usage(input_tokens=10, output_tokens=10),
            cost_usd=cost_usd,
        )
        for n in range(turns)
    ]
    return RecordedRun(run_id=run_id, calls=tuple(calls), success=success, identity=Identity(key="k1"))


def play(policy: Policy, *runs: RecordedRun) -> BacktestResult:
    return backtest(Link(policy=policy, instance="tried", mode="shadow"), runs)


def test_a_run_ends_at_its_first_intervention_and_what_follows_is_avoided() -> None:
    result = play(Loop(action="stop"), looping("r1", 10, success=False))
    (stop,) = result.interventions
    assert (stop.run_id, stop.call, stop.reason, stop.at_ns) == ("r1", 5, "loop_repeat", 5 * SECOND_NS)
    assert stop.avoided_calls == 5 and stop.avoided_usd == pytest.approx(0.05)
    assert result.spent_usd == pytest.approx(0.10) and result.avoided_usd == pytest.approx(0.05)


def test_successful_runs_that_would_be_stopped_are_counted_with_an_interval() -> None:
    good = [looping(f"good{n}", 3, success=True) for n in range(49)]
    result = play(Loop(action="stop"), *good, looping("wronged", 9, success=True), looping("bad", 9, success=False))
    assert (result.wrongly.value, result.wrongly.n) == (0.02, 50)
    assert result.wrongly.low == pytest.approx(0.0035, abs=1e-3)
    assert result.wrongly.high == pytest.approx(0.105, abs=1e-2)
    assert result.wrongly.method == "Wilson score" and (result.rightly.value, result.rightly.n) == (1.0, 1)
    assert any("1 (2.00%" in sentence for sentence in sentences(result))


def test_runs_without_an_outcome_are_counted_apart() -> None:
    result = play(Loop(action="stop"), looping("r1", 9, success=None), looping("r2", 2, success=None))
    assert (result.unknown_outcomes, result.unknown_outcomes_stopped) == (2, 1)
    assert result.wrongly.n == result.rightly.n == 0 and (result.wrongly.low, result.wrongly.high) == (0.0, 1.0)
    assert any("2 runs have no known outcome" in sentence for sentence in sentences(result))


def test_nothing_to_play_is_an_answer() -> None:
    result = play(Loop(action="stop"))
    assert result.runs == 0 and result.interventions == () and "0 of 0 runs" in sentences(result)[0]


def test_a_budget_is_played_over_all_runs_of_a_key_in_the_order_of_time() -> None:
    first, second = looping("r1", 4, success=True), looping("r2", 4, success=True)
    result = play(Budget(per="key", usd=0.05), first, second)
    assert {(each.run_id, each.call) for each in result.interventions} == {("r2", 2), ("r1", 3)}


def test_a_stopped_run_charges_nothing_more() -> None:
    result = play(Budget(per="run", usd=0.02), looping("r1", 9, success=True), looping("r2", 2, success=True))
    assert [(each.run_id, each.call) for each in result.interventions] == [("r1", 2)]


def test_a_call_without_a_recorded_cost_is_a_missing_fact_and_not_a_denial() -> None:
    result = play(Budget(per="key", usd=0.001), looping("r1", 3, success=True, cost_usd=None))
    assert result.interventions == () and result.missing_facts == 3 and result.unpriced_calls == 3
    assert any("At 3 calls" in sentence for sentence in sentences(result))


def test_a_call_that_could_not_be_read_is_a_missing_fact_to_a_loop_and_none_to_a_budget() -> None:
    unread = RecordedRun(
        run_id="r1",
        calls=(RecordedCall(at_ns=1, unread=True, usage=Usage(input_tokens=1, output_tokens=1), cost_usd=0.0),),
    )
    assert play(Loop(action="stop"), unread).missing_facts == 1
    assert play(Budget(per="run", usd=1), unread).missing_facts == 0


def test_a_tool_call_is_played_before_its_result_is_known() -> None:
    calls = [RecordedCall(at_ns=n, stage="tool_call", tool="f", steps=(step(n),)) for n in range(8)]
    result = play(Loop(action="stop"), RecordedRun(run_id="r1", calls=tuple(calls), success=False))
    assert [each.call for each in result.interventions] == [5]


class Desk:
    """A reader over a log in memory."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def select(self, query: Select) -> Rows:
        return await self._log.select(query)

    async def ask(self, question: Question[T]) -> T:
        return question.answer(await self._log.select(question.select()))


class Call:
    def __init__(self, name: str, arguments: str, call_id: str | None) -> None:
        self.name, self.arguments, self.call_id = name, arguments, call_id


class Message:
    def __init__(self, role: str, text: str = "", calls: tuple[Call, ...] = (), answers: str | None = None) -> None:
        self.role, self.text, self.tool_calls, self.tool_call_id = role, text, calls, answers


def span(number: int, operation: str, **more: object) -> Span:
    known = {"request_model": "m", "usage": Usage(input_tokens=5, output_tokens=5), "cost": Cost(usd=0.1, source="t")}
    return Span(
        trace_id=f"{1:032x}",
        span_id=f"{number:016x}",
        start_ns=number * SECOND_NS,
        name="x",
        operation=operation,
        **{**(known if operation == "chat" else {}), **more},  # type: ignore[arg-type]
    )


async def told(span: Span) -> tuple[ToolStep, ...] | None:
    """As if read from the journal: a tool span tells of itself, a chat tells nothing, one chat is lost."""
    if span.operation == "execute_tool":
        said = [Message("assistant", calls=(Call("f", "{}", None),)), Message("tool", "same")]
        return steps_said(said, span.identity.agent)
    return None if span.span_id.endswith("9") else ()


@pytest.mark.anyio
async def test_runs_are_loaded_with_their_calls_in_order_and_their_outcome() -> None:
    log = MemoryLog()
    run, session = Identity(run="r1", session="s1", key="k1"), Identity(session="s2")
    spans = [span(n, "chat", identity=run) for n in range(1, 13, 2)]
    spans += [span(n, "execute_tool", identity=run, tool="f") for n in range(2, 13, 2)]
    spans += [span(20, "chat", identity=session), span(31, "chat"), span(99, "invoke_agent", identity=run)]
    scores = [
        Score(score_id="a", subject_kind="session", subject_id="s1", name="outcome", at_ns=1, event_ns=1, value=0.0),
        Score(score_id="b", subject_kind="session", subject_id="s2", name="outcome", at_ns=1, event_ns=1, value=1.0),
        Score(score_id="c", subject_kind="session", subject_id="s2", name="other", at_ns=2, event_ns=1, value=0.0),
    ]
    await log.append(Batch(records=(*spans, *scores)))
    runs = await load_runs(Desk(log), 0, 50 * SECOND_NS, told)
    assert [(each.run_id, len(each.calls), each.success) for each in runs] == [
        ("r1", 12, False),
        ("s2", 1, True),
        (f"{1:032x}", 1, None),
    ]
    assert [each.unread for each in runs[0].calls].count(True) == 1
    result = backtest(Link(policy=Loop(action="stop"), instance="loop"), runs)
    (stop,) = result.interventions
    assert stop.run_id == "r1" and stop.call == 10 and stop.avoided_usd == pytest.approx(0.1)
    assert result.missing_facts == 1
