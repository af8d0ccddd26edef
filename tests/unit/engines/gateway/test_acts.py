"""Effects and rulings of other processes come in through their doors, and say that they did."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engines.gateway.test_intake import TRACES, House
from watchkeeper.capabilities.policies.tool_cap import ToolCap
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.gateway.acts import OWN_PROCESS
from watchkeeper.engines.gateway.intake import Intake
from watchkeeper.records.decision import Decision
from watchkeeper.records.effect import Effect

pytestmark = pytest.mark.anyio


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.journal.close()


def effect(**fields: Any) -> dict[str, Any]:
    return {"id": "e1", "key": "run/1", "tool": "refund", "amount_usd": 12.5, **fields}


async def test_an_effect_is_planned_and_then_settled(house: House) -> None:
    await house.post("/api/v1/effects", effect(at="2026-01-31T12:00:00Z"))
    await house.post("/api/v1/effects", effect(status="done", at="2026-01-31T12:00:00Z"))
    await house.post("/api/v1/effects", effect(status="undone", at="2026-01-31T12:00:00Z"))
    found = [each for each in house.records() if isinstance(each, Effect)]
    assert [(each.status, each.revision, each.settled_ns is None) for each in found] == [
        ("planned", 0, True),
        ("done", 1, False),
        ("undone", 2, False),
    ]
    assert len({each.at_ns for each in found}) == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"id": ""}, "id"), ({"status": "maybe"}, "status"), ({"count": -1}, "count"), ({"trace_id": "x"}, "trace_id")],
)
async def test_a_wrong_effect_is_refused_by_name(house: House, wrong: dict[str, Any], says: str) -> None:
    answer = await house.post("/api/v1/effects", effect(**wrong))
    assert answer.status == 422
    assert says in answer.error["message"]
    assert house.records() == []


async def test_a_ruling_of_another_process_says_so(house: House) -> None:
    body = {"id": "d1", "verdict": "deny", "reason": "loop_repeated", "policy": "loop", "tool": "search"}
    assert (await house.post("/api/v1/decisions", body)).status == 200
    (found,) = [each for each in house.records() if isinstance(each, Decision)]
    assert (found.verdict, found.policy, found.instance, found.tool) == ("deny", "loop", "loop", "search")
    assert OWN_PROCESS in found.facts


async def test_a_cap_on_calls_is_exact_when_many_ask_at_once_and_leaves_nothing_open(house: House) -> None:
    chain = Chain(
        [Link(policy=ToolCap(tools=("send_*",), calls=7), instance="cap")], house.cells, lambda d: None, time.time_ns
    )
    house.intake = Intake(house.journal, TRACES, chain, house.keys)
    ask = {"stage": "tool_call", "tool": "send_email", "identity": {"run": "r1"}}
    answers = await asyncio.gather(*(house.post("/api/v1/decide", ask) for _ in range(50)))
    assert [each.json["allowed"] for each in answers].count(True) == 7
    other = await house.post("/api/v1/decide", {**ask, "tool": "search"})
    assert other.json["allowed"] is True
    assert (await house.cells.scan("reservation/")).items == ()
    ((_, held),) = (await house.cells.scan("meter/tool_cap/")).items
    assert held == 7
