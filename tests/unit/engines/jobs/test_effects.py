"""An effect is carried out once: the first claim wins, a lost one is unknown, a cancelled run claims nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.unit.engines.jobs.scene import NS, Scene, wish
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.jobs.effects import EffectLedger, Settlement
from watchkeeper.records.effect import Effect, Progress
from watchkeeper.records.identity import Identity

pytestmark = pytest.mark.anyio


def settlement(effect_id: str, status: str = "done", claim: str | None = "claim-one", **changes: object) -> Settlement:
    return Settlement(effect_id=effect_id, status=status, actor="test", claim=claim, **changes)  # type: ignore[arg-type]


async def refused(work: object) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await work  # type: ignore[misc]
    return caught.value


async def test_the_first_claim_wins_and_the_second_is_given_its_receipt(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    first = await scene.effects.claim(wish())
    second = await scene.effects.claim(wish(claim="claim-two", amount_usd=13.0))
    assert (first.granted, second.granted) == (True, False)
    await scene.effects.settle(settlement(wish().effect_id, receipt='{"id": 1}'))
    third = await scene.effects.claim(wish(claim="claim-three"))
    assert (third.granted, third.held.effect.status, third.held.effect.receipt) == (False, "done", '{"id": 1}')


async def test_the_plan_is_in_the_journal_before_the_claim_is_granted(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    (planned,) = scene.records(Effect)
    assert (planned.status, planned.key, planned.step) == ("planned", "run-1/refund/refund/order 7", "refund")


async def test_a_claim_that_cannot_be_recorded_is_taken_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path)

    def full(record: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await EffectLedger(scene.cells, full, scene.clock).claim(wish())
    assert (await scene.effects.claim(wish(claim="claim-two"))).granted


async def test_asking_twice_with_the_same_token_is_asking_once(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert (await scene.effects.claim(wish())).granted
    assert (await scene.effects.claim(wish())).granted


@pytest.mark.parametrize("other", [{"run": "run-2"}, {"step": "s"}, {"tool": "t"}, {"object": "order 8"}])
async def test_each_of_the_four_names_makes_another_effect(tmp_path: Path, other: dict[str, str]) -> None:
    scene = Scene(tmp_path)
    assert (await scene.effects.claim(wish())).granted
    assert (await scene.effects.claim(wish(claim="claim-two", **other))).granted


async def test_tenants_do_not_share_effects(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert (await scene.effects.claim(wish())).granted
    assert (await scene.effects.claim(wish(claim="claim-two", identity=Identity(tenant="other")))).granted


async def test_a_claim_that_ran_out_is_unknown_and_not_granted_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    scene.clock.now_ns += 60 * NS - 1
    assert (await scene.effects.claim(wish(claim="claim-two"))).held.effect.status == "planned"
    scene.clock.now_ns += 1
    late = await scene.effects.claim(wish(claim="claim-two"))
    assert (late.granted, late.held.effect.status) == (False, Progress.UNKNOWN)
    assert [each.status for each in scene.records(Effect)] == ["planned", "unknown"]


async def test_a_reconciler_settles_an_unknown_one_as_done(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    scene.clock.now_ns += 60 * NS
    held = await scene.effects.settle(settlement(wish().effect_id, claim=None, receipt="7"))
    assert (held.effect.status, held.effect.settled_by) == ("done", "test")
    assert not (await scene.effects.claim(wish(claim="claim-two"))).granted


async def test_what_certainly_did_not_happen_may_be_claimed_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    await scene.effects.settle(settlement(wish().effect_id, "failed"))
    again = await scene.effects.claim(wish(claim="claim-two"))
    assert (again.granted, again.held.effect.attempt) == (True, 2)
    refusal = await refused(scene.effects.settle(settlement(wish().effect_id, "done")))
    assert refusal.code == "claim_lost"


async def test_nobody_else_settles_what_is_being_carried_out(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    refusal = await refused(scene.effects.settle(settlement(wish().effect_id, "failed", claim=None)))
    assert (refusal.status, refusal.code) == (409, "effect_claimed")


async def test_done_stays_done_and_can_be_undone(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    await scene.effects.settle(settlement(wish().effect_id))
    await scene.effects.settle(settlement(wish().effect_id))
    assert (await refused(scene.effects.settle(settlement(wish().effect_id, "failed")))).code == "effect_settled"
    await scene.effects.settle(settlement(wish().effect_id, "undone", claim=None))
    assert [each.status for each in scene.records(Effect)] == ["planned", "done", "undone"]


async def test_another_tenant_sees_and_settles_nothing(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    assert (await refused(scene.effects.get(wish().effect_id, "other"))).status == 404
    assert (await refused(scene.effects.settle(settlement(wish().effect_id, tenant="other")))).status == 404


async def test_a_cancelled_run_claims_nothing_and_says_what_is_not_settled(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    (left,) = await scene.effects.cancel_run("default", "run-1")
    assert left.effect.target == "order 7"
    refusal = await refused(scene.effects.claim(wish(object="order 8", claim="claim-two")))
    assert (refusal.status, refusal.code) == (409, "run_cancelled")
    assert (await scene.effects.claim(wish(run="run-2", claim="claim-two"))).granted


async def test_of_many_claims_at_once_one_is_granted(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    answers = await asyncio.gather(*(scene.effects.claim(wish(claim=f"claim-{n}")) for n in range(50)))
    assert sum(answer.granted for answer in answers) == 1


async def test_settled_effects_are_forgotten_after_a_time_and_others_never(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.effects.claim(wish())
    await scene.effects.claim(wish(object="order 8", claim="claim-two"))
    await scene.effects.settle(settlement(wish().effect_id))
    scene.clock.now_ns += 10 * NS
    assert await scene.effects.forget(scene.clock.now_ns - 10 * NS) == 0
    assert await scene.effects.forget(scene.clock.now_ns) == 1
    assert (await scene.effects.get(wish(object="order 8").effect_id)).effect.status == "planned"
