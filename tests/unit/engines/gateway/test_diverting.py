"""A call goes where the policies send it, with the other model's bound and composition, and everybody is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.unit.engines.decide_scene import Scene as Watching
from tests.unit.engines.decide_scene import chain_of
from tests.unit.engines.gateway.misbehaving import Misbehaving, misbehaving, reply, says
from tests.unit.engines.gateway.stage import Scene, chat, spec, stage
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.capabilities.policies.frontier import Frontier
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.experiments.maps import sealed
from watchkeeper.engines.gateway.settings import SettingsError
from watchkeeper.kinds.policy import Policy
from watchkeeper.records.capability_map import CapabilityMap, Cell
from watchkeeper.records.decision import Decision
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.event import Event
from watchkeeper.records.manifest import Manifest

pytestmark = pytest.mark.anyio
WELL = says(reply("From the other.", "beta"))
FEATURES = "x-watchkeeper-features"


def rate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value=value, low=low, high=high, n=100, method="test")


CELLS = (
    Cell(cell=("dates",), rate=rate(0.3, 0.2, 0.4), state="failing"),
    Cell(cell=("sums",), rate=rate(0.95, 0.9, 0.99), state="passing"),
)


def frontier(*compositions: Manifest, **more: Any) -> Frontier:
    """A frontier of the model alpha; without compositions the map is trusted as it is."""
    drawn = CapabilityMap(columns=("family",), bar=0.8, cells=CELLS, compositions=compositions)
    given = {"models": ("alpha",), "to": "beta", "on_stale": "unmeasured" if compositions else "trust", **more}
    return Frontier(map=sealed(drawn, "right", compositions, 1), **given)


@asynccontextmanager
async def two(*policies: Policy | Link, **more: Any) -> AsyncIterator[tuple[Scene, Misbehaving]]:
    """A gateway in front of two upstreams, of which the second alone serves "beta", under a chain of policies."""
    chain, _ = chain_of(MemoryCells(), *policies)
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(misbehaving(*[WELL] * 4))
        specs = (spec(other.url, name="two", models=("beta",)),)
        scene = await stack.enter_async_context(stage(more=specs, chain=chain, **more))
        yield scene, other


def decisions(scene: Scene) -> list[Decision]:
    return [each for each in scene.recorder.records if isinstance(each, Decision)]


async def test_a_call_in_a_passing_cell_goes_on_as_asked() -> None:
    async with two(frontier()) as (scene, other):
        answer = await scene.ask(**{FEATURES: "family=sums"})
        assert answer.status == 200 and "x-watchkeeper-diverted" not in answer.headers
        assert len(scene.upstream.heard) == 1 and not other.heard
        assert [each.verdict for each in decisions(scene)] == ["allow"]


@pytest.mark.parametrize("features", ["family=dates", "family=poems", ""])
async def test_a_call_in_another_cell_is_asked_of_the_other_model_and_all_doors_tell(features: str) -> None:
    async with two(frontier()) as (scene, other):
        answer = await scene.ask(**{FEATURES: features})
        assert answer.status == 200 and answer.headers["x-watchkeeper-upstream"] == "two"
        (made,) = decisions(scene)
        assert answer.headers["x-watchkeeper-diverted"] == f"{made.reason};to=beta;decision={made.decision_id}"
        assert (made.stage, made.verdict, made.instead, made.facts["instead"]) == ("route", "amend", "beta", "beta")
        assert other.heard[0]["model"] == "beta" and not scene.upstream.heard
        span = scene.recorder.finished
        told = next(each.attributes for each in span.events if each.name == "watchkeeper.diverted")
        assert (told["from"], told["to"], told["decision"]) == ("alpha", "beta", made.decision_id)
        assert (span.request_model, span.upstream, span.attributes["watchkeeper.alias_of"]) == ("alpha", "two", "beta")
        manifest = next(
            each for each in scene.recorder.records if isinstance(each, Manifest) and each.digest == span.manifest
        )
        assert manifest.components["model"] == "beta"
        assert answer.headers.getall("x-watchkeeper-composition") == [span.manifest]


async def test_metadata_declares_a_cell_and_is_kept_for_the_share_of_traffic() -> None:
    async with two(frontier()) as (scene, other):
        await scene.ask(chat(metadata={"family": "dates", "secret": "x"}))
        assert len(other.heard) == 1
        kept = {k: v for k, v in scene.recorder.finished.attributes.items() if k.startswith("watchkeeper.feature.")}
        assert kept == {"watchkeeper.feature.family": "dates"}


async def test_a_refused_call_is_not_sent_and_says_why() -> None:
    async with two(frontier(failing="refuse")) as (scene, other):
        answer = await scene.ask(**{FEATURES: "family=dates"})
        error = (await answer.json())["error"]
        assert (answer.status, error["code"]) == (403, "cell_failing") and "0.3" in error["message"]
        assert not scene.upstream.heard and not other.heard
        span = scene.recorder.finished
        assert (span.status, span.upstream) == ("denied", "main")
        assert span.attributes["watchkeeper.decision"] == decisions(scene)[0].decision_id


async def test_a_held_call_is_not_sent() -> None:
    async with two(frontier(unmeasured="hold")) as (scene, other):
        answer = await scene.ask(**{FEATURES: "family=poems"})
        assert (answer.status, decisions(scene)[0].verdict) == (403, "hold")
        assert not scene.upstream.heard and not other.heard


async def test_in_shadow_the_call_goes_as_asked_and_the_ruling_is_kept() -> None:
    async with two(Link(policy=frontier(), instance="f", mode="shadow")) as (scene, other):
        answer = await scene.ask(**{FEATURES: "family=dates"})
        assert "x-watchkeeper-diverted" not in answer.headers and not other.heard
        assert [(each.mode, each.instead) for each in decisions(scene)] == [("shadow", "beta")]


async def test_the_policies_that_follow_see_the_model_that_is_asked_with_its_bound() -> None:
    seen: list[Event] = []
    watching = Watching(rules=lambda event, facts: seen.append(event))
    async with two(frontier(), watching) as (scene, _):
        await scene.ask(**{FEATURES: "family=dates"})
        await scene.ask(**{FEATURES: "family=sums"})
        assert {(each.model, each.upstream) for each in seen} == {("beta", "two"), ("alpha", "main")}
        assert all(each.bound is not None and each.bound.nano_usd for each in seen)


async def test_a_caller_that_names_an_upstream_does_not_pass_by_the_map() -> None:
    async with two(frontier()) as (scene, other):
        answer = await scene.ask(**{FEATURES: "family=dates", "x-watchkeeper-upstream": "main"})
        assert answer.headers["x-watchkeeper-upstream"] == "two" and len(other.heard) == 1


async def test_a_path_that_is_not_understood_is_diverted_by_its_model_too() -> None:
    async with two(frontier()) as (scene, other):
        for headers in ({}, {"x-watchkeeper-upstream": "main"}):
            body = json.dumps({"model": "alpha", "prompt": "x", "metadata": {"family": "dates"}}).encode()
            given = {"content-type": "application/json", **headers}
            async with scene.client.post(f"{scene.url}/v1/completions", data=body, headers=given) as answer:
                assert answer.status == 200, await answer.text()
        assert [each["model"] for each in other.heard] == ["beta", "beta"]
        assert not scene.upstream.heard


async def test_what_another_provider_holds_cannot_be_diverted_and_is_refused() -> None:
    async with two(frontier(), upstream={"models": ("alpha",)}) as (scene, other):

        async def kept(request: web.Request) -> web.StreamResponse:
            return web.json_response({"id": "resp_1", "object": "response", "status": "completed", "output": []})

        scene.upstream.answer = kept
        first = {"model": "alpha", "input": "x", "metadata": {"family": "sums"}}
        second = {**first, "previous_response_id": "resp_1", "metadata": {"family": "dates"}}
        for body, status in ((first, 200), (second, 403)):
            async with scene.client.post(f"{scene.url}/v1/responses", json=body) as answer:
                assert answer.status == status, await answer.text()
                said = await answer.json()
        assert said["error"]["code"] == "cannot_be_diverted" and "does not serve" in said["error"]["message"]
        assert len(scene.upstream.heard) == 1 and not other.heard


async def test_the_map_of_another_composition_is_stale_and_that_of_this_one_holds() -> None:
    async with two() as (scene, _):
        await scene.ask()
        (measured,) = [each for each in scene.recorder.records if isinstance(each, Manifest)]
    async with two(frontier(measured), policies="other") as (scene, other):
        await scene.ask(**{FEATURES: "family=sums"})
        assert not other.heard
        system = [{"role": "system", "content": "New."}, {"role": "user", "content": "Hi."}]
        await scene.ask(chat(messages=system), **{FEATURES: "family=sums"})
        await scene.ask(chat(temperature=0.5), **{FEATURES: "family=sums"})
        assert [each.reason for each in decisions(scene)] == ["cell_passing", "map_stale", "map_stale"]
        assert [each.facts.get("stale") for each in decisions(scene)] == [None, "system", "parameters"]
        assert len(other.heard) == 2


async def test_a_policy_that_diverts_to_a_model_that_nobody_serves_is_refused_at_the_start() -> None:
    chain, _ = chain_of(None, frontier(to="gamma"))
    with pytest.raises(SettingsError, match="diverts calls to 'gamma'"):
        async with stage(chain=chain, upstream={"models": ("alpha",)}):
            pass


async def test_two_policies_that_divert_to_different_models_stop_the_call() -> None:
    async with two(frontier(), frontier(to="gamma")) as (scene, other):
        answer = await scene.ask(**{FEATURES: "family=dates"})
        assert (answer.status, (await answer.json())["error"]["code"]) == (403, "amendment_conflict")
        assert not other.heard and not scene.upstream.heard


async def test_two_policies_that_agree_divert_once() -> None:
    async with two(frontier(), frontier()) as (scene, other):
        answer = await scene.ask(**{FEATURES: "family=dates"})
        assert answer.status == 200 and len(other.heard) == 1
