"""The eight questions of a trace explorer, each against a plain computation over the same spans."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable

import pytest

from tests.conformance import recorded
from watchkeeper.kinds.ports import Batch, Log
from watchkeeper.queries.explorer import Costs, Latency, Search, Sli, Spans, Trace, Traces, TracesNamed
from watchkeeper.queries.first_tokens import FirstTokens
from watchkeeper.queries.sessions import Sessions
from watchkeeper.queries.timespan import DAY_NS, HOUR_NS, MINUTE_NS
from watchkeeper.records.span import Span

pytestmark = pytest.mark.anyio
START, END = recorded.START_NS, recorded.START_NS + 4 * DAY_NS


def newest(spans: Iterable[Span]) -> list[tuple[str, str]]:
    chosen = sorted(spans, key=lambda s: (-s.start_ns, s.trace_id, s.span_id))
    return [(span.trace_id, span.span_id) for span in chosen]


def ids(items: list[dict]) -> list[tuple[str, str]]:
    return [(item["trace_id"], item["span_id"]) for item in items]


def total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def quantile(values: list[float], q: float) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[round(q * 100) - 1]


async def test_a_trace_comes_whole_and_in_order(ask: Callable, traffic: list[Span]) -> None:
    wanted = traffic[0].trace_id
    mine = sorted((s for s in traffic if s.trace_id == wanted), key=lambda s: s.start_ns)
    items = await ask(Trace(trace_id=wanted))
    assert [item["span_id"] for item in items] == [s.span_id for s in mine]
    for item, span in zip(items, mine, strict=True):
        assert (item["preview"], item["model"], item["cost_usd"], item["duration_ns"]) == (
            span.preview, span.model, span.cost_usd, span.duration_ns,
        )  # fmt: skip
        assert item["finish_reasons"] == (list(span.finish_reasons) or None)
        assert item["attributes"].keys() == span.attributes.keys()
        assert item["stream"] is span.stream


async def test_the_last_hundred_by_model_and_status(ask: Callable, traffic: list[Span]) -> None:
    wanted = [s for s in traffic if s.model == "gpt-5" and s.status == "ok"]
    assert ids(await ask(Spans(model="gpt-5", status="ok", limit=100))) == newest(wanted)[:100]
    assert ids(await ask(Spans(model="gpt-5", status="ok", limit=5, cursor=3))) == newest(wanted)[3:8]
    assert len(wanted) > 8


async def test_latency_percentiles_per_minute(ask: Callable, traffic: list[Span]) -> None:
    buckets = defaultdict(list)
    for span in traffic:
        if span.operation == "chat" and span.duration_ns is not None and START <= span.start_ns < END:
            buckets[span.start_ns // MINUTE_NS * MINUTE_NS].append(span)
    items = await ask(Latency(since=START, until=END))
    assert [item["bucket"] for item in items] == sorted(buckets)
    for item in items:
        durations = [s.duration_ns for s in buckets[item["bucket"]]]
        assert item["calls"] == len(durations)
        assert item["errors"] == sum(s.status == "error" for s in buckets[item["bucket"]])
        for percent in (50, 90, 95, 99):
            assert item[f"p{percent}_ns"] == pytest.approx(quantile(durations, percent / 100))


async def test_cost_by_model_and_day_leaves_the_unknown_out_and_counts_it(ask: Callable, traffic: list[Span]) -> None:
    groups = defaultdict(list)
    for span in traffic:
        if span.operation == "chat":
            groups[span.start_ns // DAY_NS * DAY_NS, span.model].append(span)
    items = await ask(Costs())
    assert {(item["bucket"], item["model"]) for item in items} == set(groups)
    for item in items:
        mine = groups[item["bucket"], item["model"]]
        assert item["cost_usd"] == pytest.approx(total(s.cost_usd for s in mine))
        assert item["input_tokens"] == total(s.usage.input_tokens for s in mine)
        assert (item["calls"], item["unpriced"]) == (len(mine), sum(s.cost is None for s in mine))
    assert any(item["cost_usd"] is None for item in items)


async def test_top_sessions_by_cost(ask: Callable, traffic: list[Span]) -> None:
    groups = defaultdict(list)
    for span in traffic:
        if span.identity.session is not None:
            groups[span.identity.session].append(span)
    cost = {name: total(s.cost_usd for s in mine if s.operation != "invoke_agent") for name, mine in groups.items()}
    dearest = sorted(groups, key=lambda name: (cost[name] is None, -(cost[name] or 0), name))[:4]
    items = await ask(Sessions(limit=4))
    assert [item["session"] for item in items] == dearest
    for item in items:
        assert item["cost_usd"] == pytest.approx(cost[item["session"]])
        assert item["traces"] == len({s.trace_id for s in groups[item["session"]]})
        assert item["errors"] == sum(s.status == "error" for s in groups[item["session"]])


@pytest.mark.parametrize(("sort", "column"), [("calls", "calls"), ("errors", "errors"), ("newest", "start_ns")])
async def test_top_sessions_by_other_things(ask: Callable, sort: str, column: str) -> None:
    items = await ask(Sessions(sort=sort, limit=100))
    values = [item[column] for item in items]
    assert values == sorted(values, reverse=True)
    assert {item["session"] for item in items} == {item["session"] for item in await ask(Sessions())}


async def test_sessions_can_be_narrowed_down(ask: Callable, traffic: list[Span]) -> None:
    items = await ask(Sessions(attribute="customer.tier=pro", user="ann"))
    fitting = {
        s.identity.session
        for s in traffic
        if s.identity.session and s.identity.user == "ann" and s.attributes.get("customer.tier") == "pro"
    }
    assert {item["session"] for item in items} == fitting != set()


async def test_first_tokens_by_model_say_of_how_many_calls_they_know(ask: Callable, full: Log) -> None:
    timed = [
        Span(
            trace_id=f"{n:032x}", span_id=f"{n:016x}", start_ns=recorded.START_NS + n, revision=1,
            name="chat", operation="chat", request_model="timed", first_token_ns=n * 10 if n % 3 else None,
        )
        for n in range(30)
    ]  # fmt: skip
    await full.append(Batch(records=tuple(timed)))
    (item,) = await ask(FirstTokens(by="model", model="timed"))
    known = [n * 10 for n in range(30) if n % 3]
    assert (item["calls"], item["known"]) == (30, 20)
    assert item["p50_ns"] == pytest.approx(statistics.median(known))
    buckets = await ask(FirstTokens(model="timed"))
    assert [bucket["known"] for bucket in buckets] == [20]


ATTRIBUTES: dict[str, Callable[[dict], bool]] = {
    "customer.tier=pro": lambda a: a.get("customer.tier") == "pro",
    "customer.tier!=pro": lambda a: "customer.tier" in a and a["customer.tier"] != "pro",
    "temperature>=0.7": lambda a: a.get("temperature", -1) >= 0.7,
    "temperature=1": lambda a: a.get("temperature") == 1.0,
    "attempt<3": lambda a: a.get("attempt", 9) < 3,
    "cached=true": lambda a: a.get("cached") is True,
    "region=eu": lambda a: a.get("region") == "eu",
    'odd "key"/~=odd': lambda a: 'odd "key"/~' in a,
    "customer.tier=p%": lambda a: False,
    "missing=": lambda a: False,
}


@pytest.mark.parametrize("text", ATTRIBUTES)
async def test_an_attribute_filter(ask: Callable, traffic: list[Span], text: str) -> None:
    wanted = [s for s in traffic if ATTRIBUTES[text](s.attributes)]
    assert ids(await ask(Spans(attribute=text, limit=10_000))) == newest(wanted)


@pytest.mark.parametrize("model", [None, "gpt-5"])
async def test_an_indicator_joins_spans_with_the_latest_scores(
    ask: Callable, traffic: list[Span], model: str | None
) -> None:
    judged = {s.span_id for s in traffic if model is None or s.model == model}
    latest = {}
    for score in recorded.scores(traffic):
        held = latest.get(score.score_id)
        if held is None or score.at_ns > held.at_ns:
            latest[score.score_id] = score
    counts = defaultdict(lambda: [0, 0, 0, 0])
    for score in latest.values():
        if score.name == "helpful" and score.subject_id in judged and START <= score.event_ns < END:
            mine = counts[score.event_ns // HOUR_NS * HOUR_NS]
            mine[3 if score.value is None else 0 if score.value >= 1 else 1] += 1
            mine[2] += score.value is not None
    items = await ask(Sli(score="helpful", model=model, since=START, until=END))
    assert {i["bucket"]: [i["good"], i["bad"], i["total"], i["unknown"]] for i in items} == dict(counts)


@pytest.mark.parametrize(
    "text",
    ["100%", "%", "_", "snake_case", "SNAKE_CASE", "it's", '"quoted"', "zürich", "äöü", "日本", "\\", "1234?", "no"],
)
async def test_a_substring_means_itself(ask: Callable, traffic: list[Span], text: str) -> None:
    part = text.lower()
    wanted = [s for s in traffic if part in s.preview.lower() or part in s.name.lower() or part in (s.message or "")]
    assert ids(await ask(Search(text=text, limit=10_000))) == newest(wanted)
    assert wanted


def expected_trace(mine: list[Span]) -> dict:
    own = [s for s in mine if s.operation != "invoke_agent"]
    names = sorted({s.model for s in mine if s.model is not None})
    return {
        "start_ns": min(s.start_ns for s in mine),
        "spans": len(mine),
        "errors": sum(s.status == "error" for s in mine),
        "open": sum(s.status == "open" for s in mine),
        "input_tokens": total(s.usage.input_tokens for s in own),
        "models": tuple(dict.fromkeys(names[:1] + names[-1:])),
        "model_count": len(names),
        "session": mine[0].identity.session,
        "unpriced": sum(s.operation == "chat" and s.status == "ok" and s.cost is None for s in mine),
        "roots": sum(s.parent_id is None for s in mine),
        "preview": asked_in(mine),
    }


def asked_in(mine: list[Span]) -> str:
    """What a trace's root says, else the first of its calls that says something."""
    roots = [s.preview for s in mine if s.parent_id is None]
    calls = sorted((s.start_ns, s.preview) for s in mine if s.operation == "chat" and s.preview)
    return (min(roots) if roots else "") or (calls[0][1] if calls else "")


async def test_traces_are_one_row_each_with_their_sums(ask: Callable, traffic: list[Span]) -> None:
    groups = defaultdict(list)
    for span in traffic:
        groups[span.trace_id].append(span)
    items = await ask(Traces(limit=1000))
    order = sorted(groups, key=lambda t: (-min(s.start_ns for s in groups[t]), t))
    assert [item["trace_id"] for item in items] == order
    for item in items:
        expected = expected_trace(groups[item["trace_id"]])
        assert {name: item[name] for name in expected} == expected
        cost = total(s.cost_usd for s in groups[item["trace_id"]] if s.operation != "invoke_agent")
        assert item["cost_usd"] == (None if cost is None else pytest.approx(cost))


async def test_filtered_traces_keep_the_sums_of_the_whole_trace(ask: Callable, traffic: list[Span]) -> None:
    groups = defaultdict(list)
    for span in traffic:
        groups[span.trace_id].append(span)
    fitting = {t for t, mine in groups.items() if any(s.tool == "lookup" for s in mine)}
    items = await ask(Traces(tool="lookup", limit=1000))
    assert {item["trace_id"] for item in items} == fitting
    assert all(item["spans"] == len(groups[item["trace_id"]]) for item in items)
    assert fitting != set(groups)


async def test_named_traces_are_those_of_the_list(ask: Callable, traffic: list[Span]) -> None:
    listed = await ask(Traces(limit=9))
    wanted = tuple(item["trace_id"] for item in listed[3:7])
    assert await ask(TracesNamed(ids=(*reversed(wanted), "nobody"))) == listed[3:7]
    assert not await ask(TracesNamed())


async def test_traces_by_their_whole_cost(ask: Callable, traffic: list[Span]) -> None:
    costs: dict[str, float] = defaultdict(float)
    for span in traffic:
        if span.operation != "invoke_agent":
            costs[span.trace_id] += span.cost_usd or 0.0
    limit = statistics.median(costs.values())
    items = await ask(Traces(min_cost=limit, sort="cost", limit=1000))
    assert {item["trace_id"] for item in items} == {t for t, cost in costs.items() if cost >= limit}
    assert [i["cost_usd"] for i in items] == sorted((i["cost_usd"] for i in items), reverse=True)


async def test_pages_of_traces_do_not_overlap_and_miss_none(ask: Callable, traffic: list[Span]) -> None:
    seen: list[str] = []
    while True:
        items = await ask(Traces(limit=11, cursor=len(seen)))
        seen += [item["trace_id"] for item in items]
        if len(items) < 11:
            break
    assert len(seen) == len(set(seen)) == len({s.trace_id for s in traffic})


async def test_a_time_range_includes_its_start_and_not_its_end(ask: Callable, traffic: list[Span]) -> None:
    moments = sorted(s.start_ns for s in traffic)
    since, until = moments[10], moments[50]
    wanted = [s for s in traffic if since <= s.start_ns < until]
    assert ids(await ask(Spans(since=since, until=until, limit=1000))) == newest(wanted)
