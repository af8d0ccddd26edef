"""Facts about calls that are told twice: one is counted, whichever came first, over batches, restarts and rebuilds."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import dialects
from watchkeeper.adapters.formats.imported import ImportedSpan
from watchkeeper.adapters.formats.langfuse import read_rows
from watchkeeper.adapters.store.known_keys import KnownKeys
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.engines.recorder.twins import Twins, settled
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.explorer import Costs, Trace, Traces
from watchkeeper.queries.operations import Overview
from watchkeeper.queries.sessions import Sessions
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Cost, Span, Usage

START_NS = 1_760_000_000_000_000_000
MS = 1_000_000
TRACE = "a" * 32


def call(number: int, **given: Any) -> Span:
    """A finished call of a model, from 0 to 100 ms; `scope` is who told of it."""
    scope = given.pop("scope", "instrumentor")
    fields: dict[str, Any] = {
        "trace_id": TRACE,
        "span_id": f"{number:016x}",
        "start_ns": START_NS,
        "end_ns": START_NS + 100 * MS,
        "name": f"call {number}",
        "operation": "chat",
        "status": "ok",
        "door": "otlp",
        "revision": 1,
        "request_model": "gpt-4o",
        "usage": Usage(input_tokens=100, output_tokens=10),
        "cost": Cost(usd=0.5, source="table"),
        "identity": Identity(session="s"),
        "attributes": {"otel.scope.name": scope},
    }
    return Span(**fields | given)


def indexed(batches: Sequence[Sequence[Span]], restart: bool = False) -> MemoryLog:
    """An index that some batches were settled and appended to; with `restart`, each by a process of its own."""

    async def run() -> MemoryLog:
        log = MemoryLog()
        twins = Twins(log, KnownKeys)
        for batch in batches:
            if restart:
                twins = Twins(log, KnownKeys)
            await log.append(Batch(records=await twins.settle(tuple(batch))))
        return log

    return asyncio.run(run())


def answer(log: MemoryLog, question: Any) -> list[dict[str, Any]]:
    return list(question.answer(asyncio.run(log.select(question.select()))).items)


def marks(log: MemoryLog, trace_id: str = TRACE) -> dict[int, str | None]:
    rows = answer(log, Trace(trace_id=trace_id))
    return {int(row["span_id"], 16): row["duplicate_of"] for row in rows}


def name(number: int, trace_id: str = TRACE) -> str:
    return f"{trace_id}:{number:016x}"


OUTER = call(1, response_id="resp_1", usage=Usage(), cost=None)
INNER = call(2, response_id="resp_1", scope="sdk", start_ns=START_NS + MS, end_ns=START_NS + 99 * MS, preview="hi")


@pytest.mark.parametrize("batches", [[[OUTER, INNER]], [[OUTER], [INNER]], [[INNER], [OUTER]]])
@pytest.mark.parametrize("restart", [False, True])
def test_the_richer_of_two_is_counted_whichever_came_first(batches: list[list[Span]], restart: bool) -> None:
    log = indexed(batches, restart)
    assert marks(log) == {1: name(2), 2: None}
    (cost,) = answer(log, Costs())
    assert (cost["calls"], cost["input_tokens"], cost["cost_usd"]) == (1, 100, 0.5)


def test_all_sums_count_a_call_once_and_no_span_is_lost() -> None:
    again = call(2, response_id="resp_1", scope="sdk")
    log = indexed([[call(1, response_id="resp_1")], [again]])
    for question in (Costs(), Sessions(), Overview(), Traces()):
        (row,) = answer(log, question)
        assert (row["calls"], row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (1, 100, 10, 0.5), question
    assert len(marks(log)) == 2


def test_the_gateway_and_a_client_that_passed_no_context_tell_of_one_call() -> None:
    seen = call(2, response_id="resp_1", door="gateway", trace_id="b" * 32, start_ns=START_NS + MS)
    log = indexed([[call(1, response_id="resp_1")], [seen]])
    assert marks(log) == {1: name(2, "b" * 32)} and marks(log, "b" * 32) == {2: None}


def test_a_parent_and_its_only_child_that_call_the_same_model_are_one_call() -> None:
    guessed = {"otel.scope.name": "outer", "watchkeeper.usage": "counted by Langfuse"}
    outer = call(1, usage=Usage(input_tokens=999), attributes=guessed)
    inner = call(2, parent_id=f"{1:016x}", request_model="openai/gpt-4o-2024-08-06")
    for batches in ([[outer, inner]], [[inner], [outer]], [[outer], [inner]]):
        assert marks(indexed(batches)) == {1: name(2), 2: None}


def test_a_router_with_two_tries_below_it_is_no_third_call() -> None:
    outer = call(1)
    tries = [call(2, parent_id=f"{1:016x}"), call(3, parent_id=f"{1:016x}", start_ns=START_NS + 50 * MS)]
    for order in itertools.permutations([outer, *tries]):
        log = indexed([[each] for each in order])
        assert marks(log) == {1: name(2), 2: None, 3: None}, [each.span_id for each in order]
        assert answer(log, Costs())[0]["calls"] == 2


@pytest.mark.parametrize(
    "other",
    [
        call(2, response_id="resp_2", scope="sdk"),
        call(2, response_id="resp_1"),
        call(2, response_id="resp_1", scope="sdk", start_ns=START_NS + 200 * MS, end_ns=START_NS + 300 * MS),
        call(2, response_id="resp_1", scope="sdk", identity=Identity(tenant="acme")),
        call(2, response_id="resp_1", scope="sdk", operation="embeddings"),
        call(2, response_id="resp_1", scope="sdk", trace_id="b" * 32),
        call(2, parent_id=f"{1:016x}", response_id="resp_2"),
        call(2, parent_id=f"{1:016x}", request_model="claude-sonnet-4"),
        call(2, parent_id=f"{1:016x}", operation="execute_tool"),
    ],
    ids=["another id", "one emitter, a made-up id", "one after the other", "another tenant", "another operation",
         "another trace and no gateway", "a child with another id", "a child of another model", "a tool"],
)  # fmt: skip
def test_what_is_not_the_same_call_stays_counted(other: Span) -> None:
    log = indexed([[call(1, response_id="resp_1")], [other]])
    found = {**marks(log), **marks(log, "b" * 32)}
    assert found == {1: None, 2: None}


def test_an_export_that_is_sent_again_changes_nothing() -> None:
    pair = [call(1, response_id="resp_1", usage=Usage()), call(2, response_id="resp_1", scope="sdk")]
    assert marks(indexed([pair, pair, pair[:1], pair[1:]])) == {1: name(2), 2: None}


def test_a_third_telling_that_is_richer_becomes_the_one_that_counts() -> None:
    tellings = [
        call(1, response_id="r", usage=Usage(), cost=None),
        call(2, response_id="r", scope="sdk", cost=None),
        call(3, response_id="r", door="gateway"),
    ]
    for order in itertools.permutations(tellings):
        assert marks(indexed([[each] for each in order])) == {1: name(3), 2: name(3), 3: None}


@given(st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_verdict_does_not_depend_on_order_or_batches(rng: Random, size: int) -> None:
    spans = _crowd()
    whole = settled(spans)
    rng.shuffle(spans)
    log = indexed([spans[start : start + size] for start in range(0, len(spans), size)])
    found = {(row["trace_id"], row["span_id"]): row["duplicate_of"] for t in "abc" for row in _trace(log, t * 32)}
    assert found == {key: whole.get(key) for key in found} and len(found) == len(spans)


def _trace(log: MemoryLog, trace_id: str) -> list[dict[str, Any]]:
    return answer(log, Trace(trace_id=trace_id))


def _crowd() -> list[Span]:
    """Traces with pairs, nests and bystanders."""
    spans = []
    for number, trace in enumerate("abc"):
        at = START_NS + number * 1_000 * MS
        own = {"trace_id": trace * 32, "start_ns": at, "end_ns": at + 100 * MS}
        spans += [
            call(1, response_id=f"r{trace}", **own | {"usage": Usage()}),
            call(2, response_id=f"r{trace}", scope="sdk", parent_id=f"{1:016x}", **own),
            call(3, **own),
            call(4, parent_id=f"{3:016x}", **own | {"usage": Usage()}),
            call(5, response_id="made up", **own),
        ]
    return spans


def moment(number: int, stage: str, **given: Any) -> Span:
    """What a framework tells of call 14 at one moment; only its success knows the tokens."""
    known: dict[str, Any] = {"name": f"backend.openai.chat.{stage}-14", "parent_id": f"{90 + number:016x}"}
    if stage != "success":
        known |= {"usage": Usage(), "cost": None}
    return call(number, **known | given)


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
@pytest.mark.parametrize("cuts", [(), (1,), (1, 2)])
@pytest.mark.parametrize("restart", [False, True])
def test_moments_of_a_call_that_are_spans_of_their_own_are_one_call(
    order: tuple[int, ...], cuts: tuple[int, ...], restart: bool
) -> None:
    told = {1: moment(1, "start"), 2: moment(2, "success"), 3: moment(3, "finish")}
    spans = [told[number] for number in order]
    edges = (0, *cuts, 3)
    batches = [spans[low:high] for low, high in itertools.pairwise(edges)]
    log = indexed(batches, restart)
    assert marks(log) == {1: name(2), 2: None, 3: name(2)}
    (row,) = answer(log, Costs(by="model"))
    assert (row["calls"], row["input_tokens"], row["cost_usd"]) == (1, 100, 0.5)


@pytest.mark.parametrize(
    "other",
    [
        moment(2, "success", name="backend.openai.chat.success-15"),
        moment(2, "success", trace_id="b" * 32),
        moment(2, "success", request_model="claude-3"),
        moment(2, "success", name="my.chat.success-14"),
        moment(2, "success", identity=Identity(tenant="other")),
    ],
)
def test_moments_of_other_calls_stay_counted(other: Span) -> None:
    log = indexed([[moment(1, "start")], [other]])
    assert marks(log) | marks(log, other.trace_id) == {1: None, 2: None}


def test_a_recorded_trace_of_that_framework_counts_each_call_once() -> None:
    trace = next(line for line in dialects.recorded() if str(json.loads(line)["name"]).startswith("beeai"))
    spans = [each.span for each in read_rows([(1, trace)]) if isinstance(each, ImportedSpan)]
    calls = [span for span in spans if span.operation == "chat"]
    log = indexed([spans])
    counted = {row["span_id"] for row in _trace(log, spans[0].trace_id) if row["duplicate_of"] is None}
    numbers = [span.name.rpartition("-")[2] for span in calls if span.span_id in counted]
    assert sorted(numbers) == sorted({span.name.rpartition("-")[2] for span in calls}) and len(calls) > len(numbers)
