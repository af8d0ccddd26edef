"""A monitor's word on an upstream's answers reaches the gateway through a cell, and is taken back when it is quiet."""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.engines.gateway.misbehaving import misbehaving, reply, says
from tests.unit.engines.gateway.routed import alone
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.compose.steering import Steering, steered
from watchkeeper.engines.gateway.breakers import Change
from watchkeeper.engines.monitoring.signals import PREFIX, Aim, Signals, standing
from watchkeeper.kinds.ports import Put
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.finding import Finding

pytestmark = pytest.mark.anyio


def finding(probe: str) -> Finding:
    estimate = Estimate(value=0.5, low=0.2, high=0.8, n=30, method="m")
    return Finding(
        finding_id="fnd_1", monitor="canary", version="1", subject="canary:all", at_ns=7, window_start_ns=0,
        window_end_ns=7, severity="ticket", sentence="Probes are answered otherwise.", estimate=estimate,
        evidence={"probe": probe},
    )  # fmt: skip


async def test_a_finding_sets_the_signal_and_quiet_takes_it_back() -> None:
    cells = MemoryCells()
    signals = Signals(cells, {"capital": Aim("lone", "alpha")})
    await signals.looked("canary", finding("capital"))
    (signal,) = await standing(cells)
    assert (signal.upstream, signal.model, signal.since_ns) == ("lone", "alpha", 7) and "canary" in signal.why
    await signals.looked("canary", None)
    assert await standing(cells) == []


async def test_a_probe_that_may_not_steer_changes_nothing() -> None:
    cells = MemoryCells()
    await Signals(cells, {}).looked("canary", finding("capital"))
    await Signals(cells, {"tone": Aim("lone", None)}).looked("canary", finding("capital"))
    assert await standing(cells) == []


async def test_a_signal_of_an_earlier_process_is_taken_back_too() -> None:
    cells = MemoryCells()
    await Signals(cells, {"capital": Aim("lone", None)}).looked("canary", finding("capital"))
    await Signals(cells, {"capital": Aim("lone", None)}).looked("canary", None)
    assert await standing(cells) == []


async def test_what_cannot_be_read_is_no_signal() -> None:
    cells = MemoryCells()
    await cells.apply([Put(key=PREFIX + "odd", value=b"{")])
    assert await standing(cells) == []


async def test_a_bad_word_opens_the_breaker_and_calls_without_another_way_still_go() -> None:
    cells = MemoryCells()
    signals = Signals(cells, {"capital": Aim("lone", "alpha")})
    async with misbehaving(says(reply())) as server, alone(server) as scene:
        steering = Steering(scene.gateway, cells)
        await signals.looked("canary", finding("capital"))
        await steering.look()
        (state,) = [each for each in scene.gateway.board.states() if each.upstream == "lone"]
        assert state.state == "open" and state.quality is not None
        assert (await scene.ask()).status == 200
        await signals.looked("canary", None)
        await steering.look()
        assert (await scene.ask()).status == 200
        assert (await scene.ask()).status == 200
        (state,) = [each for each in scene.gateway.board.states() if each.upstream == "lone"]
        assert state.state == "closed"


async def test_a_change_of_a_breaker_is_an_act_in_the_record() -> None:
    act = steered("lone", "alpha", Change("closed", "open", "5 failures in a row"), 9)
    assert (act.act, act.subject, act.actor) == ("upstream.open", "lone", "gateway")
    assert msgspec.json.decode(act.detail or "")["why"] == "5 failures in a row"
