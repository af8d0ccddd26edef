"""Budgets through API and page: only the owner changes them, every change is audited, amounts are in plain units."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import NOW_NS, House, LogReader
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.compose.budgets import BudgetDesk
from watchkeeper.config import Capability, Config
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.kinds.ports import Batch
from watchkeeper.records.audit import Audit
from watchkeeper.records.event import Bound, Event
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Cost, Operation, Span, Status, Usage
from watchkeeper.server.asgi import App
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}
CALLER = {**JSON, "x-watchkeeper-actor": "key:0123456789"}
NANO = 1_000_000_000
EVIL = "<script>alert(1)</script>"


class Scene:
    """A store app over real cells with one budget of $5 a key, and a chain that spends under it."""

    def __init__(self, house: House) -> None:
        self.cells = MemoryCells()
        self.kept: list[Any] = []
        self.house = house
        budget = Capability(use="budget", name="money", parameters={"per": "key", "usd": 5})
        self.desk = BudgetDesk(
            Config(policies=(budget,)), self.cells, LogReader(house.log), self.kept.append, lambda: NOW_NS
        )
        self.app: App = store_app(house.parts(budgets=self.desk))
        link = Link(policy=Budget(per="key", usd=5), instance="money")
        self.chain = Chain([link], self.cells, lambda decision: None, lambda: NOW_NS)

    async def spend(self, span_id: str, key: str = "k1", nano_usd: int = NANO) -> Event:
        bound = Bound(input_tokens=1, output_tokens=1, nano_usd=nano_usd, price_source="test")
        identity = Identity(key=key)
        event = Event(
            stage="request",
            at_ns=NOW_NS - 7_200 * NANO,
            trace_id="b" * 31 + "1",
            span_id=span_id,
            identity=identity,
            bound=bound,
        )
        await self.chain.decide(event)
        return event

    async def post(self, path: str, body: Any, headers: dict[str, str] = JSON) -> tuple[int, Any]:
        got = await ask(self.app, f"/api/v1/{path}", "POST", headers, json.dumps(body).encode())
        return got.status, json.loads(got.body)

    async def list(self) -> Any:
        return json.loads((await ask(self.app, "/api/v1/budgets")).body)


async def test_the_list_shows_meters_against_their_caps_and_reservations_with_their_age(house: House) -> None:
    scene = Scene(house)
    done = await scene.spend("1" * 16)
    await scene.chain.settle(done, Usage(input_tokens=1, output_tokens=1), Cost(usd=0.5, source="test"))
    await scene.spend("2" * 16)
    found = await scene.list()
    (item,) = found["items"]
    assert (item["level"], item["owner"], item["unit"], item["policy"]) == ("key", "k1", "usd", "money")
    assert (item["cap"], item["held"], item["settled"], item["reserved"], item["share"]) == (5, 1.5, 0.5, 1, 0.3)
    (left,) = found["open"]
    assert left["span"] == "2" * 16 and left["age_s"] == 7200 and left["orphan"]


async def test_callers_of_a_key_set_no_caps_and_reconcile_nothing(house: House) -> None:
    scene = Scene(house)
    for path, body in (
        ("budgets/cap", {"level": "key", "owner": "k", "unit": "usd", "limit": 9}),
        ("budgets/reconcile", {}),
    ):
        status, answer = await scene.post(path, body, CALLER)
        assert (status, answer["error"]["code"]) == (403, "role_missing")
    assert scene.kept == []


async def test_a_cap_is_set_raised_and_taken_away_and_each_is_an_audit(house: House) -> None:
    scene = Scene(house)
    where = {"level": "key", "owner": "k1", "unit": "usd"}
    assert (await scene.post("budgets/cap", {**where, "limit": 2, "more": True}))[1]["cap"] == 7
    assert (await scene.post("budgets/cap", {**where, "limit": 3}))[1]["cap"] == 3
    assert (await scene.post("budgets/cap", {**where, "limit": None}))[1]["cap"] == 5
    acts = [(each.act, each.actor) for each in scene.kept if isinstance(each, Audit)]
    assert acts == [("budget.cap_set", "local"), ("budget.cap_set", "local"), ("budget.cap_unset", "local")]
    status, answer = await scene.post("budgets/cap", {**where, "unit": "calls", "limit": 1, "more": True})
    assert status == 400 and "no cap here that could be raised" in answer["error"]["message"]
    assert (await scene.post("budgets/cap", {**where, "level": "world", "limit": 1}))[0] == 400
    assert (await scene.post("budgets/cap", {**where, "limit": -1}))[0] == 400


async def test_an_orphan_is_settled_by_the_gateways_own_record_and_by_no_other(house: House) -> None:
    """A span that somebody sent in under the same id cannot make a call cheap."""
    scene = Scene(house)
    for number, door in (("1", "gateway"), ("2", "otlp")):
        await scene.spend(number * 16)
        told = Span(
            trace_id="b" * 31 + "1", span_id=number * 16, start_ns=NOW_NS - 7_200 * NANO, end_ns=NOW_NS - 7_000 * NANO,
            name="chat", operation=Operation.CHAT, door=door, revision=1, status=Status.OK,
            usage=Usage(input_tokens=1, output_tokens=1), cost=Cost(usd=0.25, source="test"),
        )  # fmt: skip
        await scene.house.log.append(Batch(records=(told,)))
    status, answer = await scene.post("budgets/reconcile", {"older": "1h"})
    assert (status, answer) == (200, {"settled": 1, "released": 0, "kept": 1})
    found = await scene.list()
    assert found["items"][0]["held"] == 1.25 and [each["span"] for each in found["open"]] == ["2" * 16]


async def test_the_owners_word_settles_or_releases_one_reservation(house: House) -> None:
    scene = Scene(house)
    await scene.spend("1" * 16)
    await scene.spend("2" * 16)
    assert (await scene.post("budgets/reconcile", {"span": "1" * 16}))[0] == 400
    assert (await scene.post("budgets/reconcile", {"span": "1" * 16, "unsent": True}))[0] == 200
    assert (await scene.post("budgets/reconcile", {"span": "2" * 16, "usd": 0.1}))[0] == 200
    assert (await scene.post("budgets/reconcile", {"span": "2" * 16, "usd": 0.1}))[0] == 404
    assert (await scene.list())["items"][0]["held"] == 0.1
    assert [each.subject for each in scene.kept] == [f"span:{'1' * 16}", f"span:{'2' * 16}"]


async def test_a_run_is_declared_once(house: House) -> None:
    scene = Scene(house)
    first = {"run": "r1", "done": "filed", "steps": 5}
    assert (await scene.post("runs", first))[0] == 201
    status, answer = await scene.post("runs", {**first, "steps": 900})
    assert status == 409 and answer["steps"] == 5
    assert (await scene.post("runs", {**first, "steps": 0}))[0] == 400
    assert (await scene.post("runs", first, CALLER))[0] == 403


async def test_the_page_shows_how_far_each_budget_is_burnt_and_escapes_names(house: House) -> None:
    scene = Scene(house)
    await scene.spend("1" * 16, key=EVIL, nano_usd=4_500_000_000)
    page = (await ask(scene.app, "/ui/budgets")).body.decode()
    assert "90.0%" in page and "nearly full" in page and EVIL not in page and "&lt;script&gt;" in page
    assert "most likely ended" in page
    assert "Nothing is counted yet" in (await ask(store_app(house.parts()), "/ui/budgets")).body.decode()
