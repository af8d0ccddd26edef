"""The policy chain: who is asked, what is recorded, and what happens when facts are not to be had."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.engines.decide_scene import OpenScene, Scene, SickCells, call, chain_of, open_cells
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.capabilities.policies.loop import Loop
from watchkeeper.engines.decide.link import NO_RULING, Link
from watchkeeper.engines.decide.reservations import reservations
from watchkeeper.kinds.facts import Facts, Meter, Reserve
from watchkeeper.kinds.policy import Need, Policy
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.decision import Decision, advise, allow, deny
from watchkeeper.records.event import Event, Stage, ToolStep
from watchkeeper.records.span import Cost, Usage

pytestmark = pytest.mark.anyio

KEY_METER = "meter/scope/key/default/=k1/total/nano_usd"
NANO = 1_000_000_000


def shadow(policy: Policy) -> Link:
    return Link(policy=policy, instance="quiet", mode="shadow")


def failing(event: Event, facts: Facts) -> Decision | None:
    raise ZeroDivisionError("a policy with a mistake")


async def open_spans(cells: Cells) -> list[str]:
    return [each.span_id async for each in reservations(cells)]


def test_a_chain_says_which_stages_it_wants_and_what_it_reads() -> None:
    empty, _ = chain_of(None)
    both, _ = chain_of(None, Budget(per="key", usd=1), Loop(action="stop"))
    quiet, _ = chain_of(None, Scene())
    assert not empty.wants(Stage.REQUEST) and not empty.wants_steps and not empty.reserves
    assert both.wants(Stage.TOOL_CALL) and both.wants_steps and both.reserves and not both.wants(Stage.REPLY)
    assert not quiet.wants_steps and not quiet.reserves


async def test_an_empty_stage_rules_nothing() -> None:
    chain, record = chain_of(None, Scene(rules=failing))
    assert await chain.decide(call(stage="reply")) is NO_RULING and record == []


async def test_no_opinion_is_not_recorded() -> None:
    chain, record = chain_of(None, Scene(), Scene())
    assert await chain.decide(call()) is NO_RULING and record == []


async def test_every_decision_is_recorded_whole_and_in_order() -> None:
    chain, record = chain_of(
        None, Scene(rules=lambda e, f: allow("fine", "Fine.")), Scene(rules=lambda e, f: deny("bad", "Bad."))
    )
    event = call()
    ruling = await chain.decide(event)
    assert [each.reason for each in record] == ["fine", "bad"] == [each.reason for each in ruling.decisions]
    stop = ruling.stop
    assert stop is record[1]
    assert (stop.policy, stop.version, stop.instance, stop.mode, stop.stage) == (
        "scene",
        "1",
        "p1",
        "enforce",
        "request",
    )
    assert (stop.at_ns, stop.span_id, stop.identity, stop.model) == (42, event.span_id, event.identity, "m")
    assert stop.decision_id.startswith("dec_") and stop.decision_id != record[0].decision_id


async def test_the_first_denial_in_the_owners_order_stops_the_call() -> None:
    first, second = (Scene(rules=lambda e, f, r=reason: deny(r, "No.")) for reason in ("one", "two"))
    chain, _ = chain_of(None, first, second)
    ruling = await chain.decide(call())
    assert ruling.stop is not None and ruling.stop.reason == "one"


async def test_a_denial_in_shadow_is_recorded_and_stops_nothing() -> None:
    chain, record = chain_of(None, shadow(Scene(rules=lambda e, f: deny("bad", "Bad."))))
    ruling = await chain.decide(call())
    assert ruling.stop is None and [each.mode for each in record] == ["shadow"]


async def test_an_enforced_amendment_is_handed_over_and_two_stop_the_call() -> None:
    def amend(event: Event, facts: Facts) -> Decision:
        return Decision(verdict="amend", reason="masked", sentence="Masked.", amendment=b"new")

    one, _ = chain_of(None, Scene(rules=amend), shadow(Scene(rules=amend)))
    two, record = chain_of(None, Scene(rules=amend), Scene(rules=amend))
    assert (await one.decide(call())).amendment == b"new"
    ruling = await two.decide(call())
    assert ruling.amendment is None and ruling.stop is not None and ruling.stop.reason == "amendment_conflict"
    assert record[1].reason == "amendment_conflict"


async def test_advice_of_several_policies_is_handed_over_in_order_and_lets_the_call_go_on() -> None:
    def told(words: str) -> Scene:
        return Scene(rules=lambda event, facts: advise("said", f"Told {words}.", words))

    chain, record = chain_of(None, told("one"), shadow(told("unheard")), told("two"))
    ruling = await chain.decide(call())
    assert ruling.stop is None and ruling.amendment is None and ruling.advice == ("one", "two")
    assert [each.verdict for each in record] == ["amend"] * 3


async def test_a_call_that_is_stopped_carries_no_advice() -> None:
    stops = Scene(rules=lambda event, facts: deny("no", "No."))
    chain, _ = chain_of(None, Scene(rules=lambda event, facts: advise("said", "Told.", "words")), stops)
    ruling = await chain.decide(call())
    assert ruling.stop is not None and ruling.advice == ()


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_call_is_reserved_and_then_settled_to_what_it_used(kind: str, tmp_path: Path) -> None:
    cells = open_cells(kind, tmp_path)
    chain, record = chain_of(cells, Budget(per="key", usd=1, tokens=100))
    event = call(nano_usd=NANO, tokens=100)
    assert (await chain.decide(event)).stop is None
    assert await cells.get(KEY_METER) == NANO and await open_spans(cells) == [event.span_id]
    fact = f"reserve:{KEY_METER}"
    assert record[0].facts[f"{fact}:granted"] is True and record[0].facts[f"{fact}:before"] == 0
    usage = Usage(input_tokens=30, output_tokens=5)
    settlement = await chain.settle(event, usage, Cost(usd=0.25, source="test"))
    assert await cells.get(KEY_METER) == NANO // 4 and settlement.kept == ()
    assert await cells.get(KEY_METER.replace("nano_usd", "tokens")) == 35
    assert await open_spans(cells) == []
    await chain.settle(event, usage, Cost(usd=0.25, source="test"))
    assert await cells.get(KEY_METER) == NANO // 4
    await cells.close()


async def test_a_denied_call_gives_back_what_it_reserved() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="key", usd=1), Scene(rules=lambda e, f: deny("bad", "Bad.")))
    event = call()
    assert (await chain.decide(event)).stop is not None
    assert await cells.get(KEY_METER) == 0 and await open_spans(cells) == []


async def test_a_span_that_was_denied_and_is_tried_again_is_reserved_again() -> None:
    cells = MemoryCells()
    verdicts = [deny("bad", "Bad."), None]
    chain, _ = chain_of(cells, Budget(per="key", usd=1), Scene(rules=lambda e, f: verdicts.pop(0)))
    event = call()
    assert (await chain.decide(event)).stop is not None
    assert (await chain.decide(event)).stop is None
    assert await cells.get(KEY_METER) == 10 and await open_spans(cells) == [event.span_id]


async def test_a_refusal_names_its_meter_and_reserves_nothing_on_any_level() -> None:
    cells = MemoryCells()
    chain, record = chain_of(cells, Budget(per="session", usd=1), Budget(per="key", usd=0.000000005))
    ruling = await chain.decide(call())
    assert ruling.stop is not None and ruling.stop.instance == "p1" and ruling.stop.reason == "budget_exceeded"
    assert [each.verdict for each in record] == ["allow", "deny"]
    assert [key for key, value in (await cells.scan("meter/")).items if value] == []


async def test_a_budget_in_shadow_charges_its_meter_beyond_its_cap_and_says_it_would_deny() -> None:
    cells = MemoryCells()
    chain, record = chain_of(cells, shadow(Budget(per="key", usd=0.000000015)))
    for _ in range(2):
        assert (await chain.decide(call())).stop is None
    assert [each.verdict for each in record] == ["allow", "deny"]
    assert await cells.get(KEY_METER) == 20


async def test_a_meter_that_two_budgets_share_is_charged_once_under_the_lower_cap() -> None:
    cells = MemoryCells()
    chain, record = chain_of(
        cells,
        Budget(per="key", usd=0.00000004),
        Budget(per="key", usd=0.00000003),
        shadow(Budget(per="key", usd=0.00000001)),
    )
    stops = [(await chain.decide(call())).stop for _ in range(4)]
    assert [stop and stop.instance for stop in stops] == [None, None, None, "p1"]
    assert await cells.get(KEY_METER) == 30
    assert [each.verdict for each in record if each.mode == "shadow"] == ["allow", "deny", "deny", "deny"]


async def test_a_policy_that_lets_a_refused_call_pass_has_it_charged_all_the_same() -> None:
    cells = MemoryCells()
    ask = Reserve(meter="meter/soft", unit="tokens", amount=10, limit=5)
    soft = Scene(asks=lambda e: (ask,), rules=lambda e, f: allow("over", str(f.reservation(ask).granted)))
    chain, record = chain_of(cells, soft, Budget(per="key", usd=1))
    assert (await chain.decide(call())).stop is None
    assert await cells.get("meter/soft") == 10 and await cells.get(KEY_METER) == 10
    assert record[0].sentence == "True" and record[0].facts["reserve:meter/soft:limit"] == 5


async def test_a_policy_may_ask_twice_and_not_three_times() -> None:
    cells = MemoryCells()
    meter = Meter(meter="meter/x")

    def twice(event: Event, facts: Facts) -> Decision | Need:
        return allow("ok", str(facts.meter(meter))) if facts.record() else Need(requests=(meter,))

    chain, record = chain_of(cells, Scene(rules=twice), OpenScene(rules=lambda e, f: Need(requests=(meter,))))
    assert (await chain.decide(call())).stop is None
    assert [(each.verdict, each.reason) for each in record] == [("allow", "ok"), ("allow", "policy_failed")]


@pytest.mark.parametrize(("kind", "stops"), [(Scene, True), (OpenScene, False)])
async def test_a_policy_that_fails_is_ruled_by_its_on_error(kind: type[Scene], stops: bool) -> None:
    chain, record = chain_of(None, kind(rules=failing), kind(asks=lambda e: (1 / 0,)))  # type: ignore[dict-item]
    ruling = await chain.decide(call())
    assert (ruling.stop is not None) is stops
    assert [each.reason for each in record] == ["policy_failed"] * 2
    assert "ZeroDivisionError" in record[0].sentence and "ops" in record[0].sentence
    assert chain.counts["policy failed: p0"] == 1


async def test_without_cells_a_budget_denies_and_a_loop_still_remembers() -> None:
    chain, _ = chain_of(None, Budget(per="key", usd=1))
    ruling = await chain.decide(call())
    assert ruling.stop is not None and ruling.stop.reason == "facts_unavailable"
    chain, _ = chain_of(None, Loop(action="stop"))
    stops = []
    for n in range(6):
        step = ToolStep(agent="a", tool="f", arguments="x", result="same", call_id=str(n))
        stops.append((await chain.decide(call(steps=(step,)))).stop is not None)
    assert stops == [False] * 4 + [True] * 2


@pytest.mark.parametrize("fault", ["broken", "slow"])
async def test_cells_out_of_reach_deny_by_budget_and_pass_by_loop_within_the_deadline(fault: str) -> None:
    cells = SickCells(MemoryCells())
    chain, record = chain_of(cells, Budget(per="key", usd=1), Loop(action="stop"), deadline_s=0.05)
    cells.broken, cells.delay_s = fault == "broken", 30.0 if fault == "slow" else 0.0
    ruling = await asyncio.wait_for(chain.decide(call()), timeout=5)
    assert ruling.stop is not None and ruling.stop.policy == "budget" and ruling.stop.reason == "facts_unavailable"
    assert [(each.policy, each.verdict) for each in record] == [("budget", "deny"), ("loop", "allow")]
    assert chain.counts["facts missing"] == 2


async def test_a_reservation_that_lands_after_the_deadline_is_given_back() -> None:
    cells = SickCells(MemoryCells())
    chain, _ = chain_of(cells, Budget(per="key", usd=1), deadline_s=0.01)
    first = call()
    assert (await chain.decide(first)).stop is None
    await chain.release(first)
    cells.delay_s = 0.1
    assert (await chain.decide(call())).stop is not None
    await chain.idle()
    assert await cells.cells.get(KEY_METER) == 0 and await open_spans(cells) == []


async def test_a_client_that_goes_away_while_it_is_decided_leaves_no_charge() -> None:
    cells = SickCells(MemoryCells())
    chain, _ = chain_of(cells, Budget(per="key", usd=1))
    first = call()
    await chain.decide(first)
    await chain.release(first)
    cells.delay_s = 0.05
    task = asyncio.ensure_future(chain.decide(call()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await chain.idle()
    assert await cells.cells.get(KEY_METER) == 0 and await open_spans(cells) == []


async def test_a_decision_that_cannot_be_recorded_is_an_error_and_leaves_no_charge() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="key", usd=1))
    chain._record = lambda decision: (_ for _ in ()).throw(OSError("no space left on device"))
    with pytest.raises(OSError, match="no space"):
        await chain.decide(call())
    await chain.idle()
    assert await cells.get(KEY_METER) == 0


async def test_unknown_usage_leaves_the_reservation_charged_and_says_so() -> None:
    cells = MemoryCells()
    chain, _ = chain_of(cells, Budget(per="key", usd=1, tokens=100))
    event = call()
    await chain.decide(event)
    settlement = await chain.settle(event, Usage(input_tokens=3, output_tokens=2), None)
    assert [charge.meter for charge in settlement.kept] == [KEY_METER]
    assert settlement.note == "unknown after the call: nano_usd"
    assert await cells.get(KEY_METER) == 10 and await cells.get(KEY_METER.replace("nano_usd", "tokens")) == 5
    (left,) = [each async for each in reservations(cells)]
    assert left.note == settlement.note and chain.counts["reservation kept: usage unknown"] == 1


async def test_cells_that_fail_after_the_call_leave_it_charged_and_raise_nothing() -> None:
    cells = SickCells(MemoryCells())
    chain, _ = chain_of(cells, Budget(per="key", usd=1))
    event = call()
    await chain.decide(event)
    cells.broken = True
    settlement = await chain.settle(event, Usage(input_tokens=1, output_tokens=1), Cost(usd=0, source="test"))
    assert settlement.note is not None and "stays charged" in settlement.note
    assert chain.counts["settle failed"] == 1
    cells.broken = False
    assert await cells.get(KEY_METER) == 10


async def test_a_call_of_a_chain_without_limits_never_touches_the_cells() -> None:
    cells = SickCells(MemoryCells())
    chain, _ = chain_of(cells, Scene())
    event = call()
    await chain.decide(event)
    await chain.settle(event, Usage(), None)
    await chain.release(event)
    assert cells.applied == 0


async def test_two_levels_cost_one_transaction_before_and_one_after() -> None:
    cells = SickCells(MemoryCells())
    chain, _ = chain_of(cells, Budget(per="key", usd=1), Budget(per="session", usd=1, tokens=99), Loop(action="stop"))
    event = call()
    await chain.decide(event)
    assert cells.applied == 1
    await chain.settle(event, Usage(input_tokens=1, output_tokens=1), Cost(usd=0, source="test"))
    assert cells.applied == 2
