"""A postcondition holds only when it was asked and said yes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.engines.jobs.scene import Scene, request, wish
from watchkeeper.compose.postconditions import Judge
from watchkeeper.config import Config
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.jobs.effects import Settlement
from watchkeeper.engines.jobs.shapes import SentCondition, SentJob
from watchkeeper.engines.jobs.verifying import Output
from watchkeeper.records.job import Check

pytestmark = pytest.mark.anyio


async def judged(scene: Scene, output: Output | None, **condition: Any) -> Check:
    job = await scene.submit({"request": request(), "run": "run-1"})
    judge = Judge(Config(), scene.cells, lambda decision: None, scene.effects)
    return await judge(SentCondition(**condition), output, await scene.desk.get(job.job_id))


@pytest.mark.parametrize(("text", "held"), [("yes", True), ("no", False)])
async def test_a_scorer_says_whether_it_holds(tmp_path: Path, text: str, held: bool) -> None:
    check = await judged(Scene(tmp_path), Output(text=text), scorer="exact", expected="yes")
    assert (check.name, check.held, check.version) == ("exact", held, "1")


async def test_what_cannot_be_judged_has_not_held(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert (await judged(scene, Output(text="yes"), scorer="exact")).held is None
    assert (await judged(scene, None, scorer="exact", expected="yes")).held is None


async def test_a_scorer_that_fails_verifies_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from watchkeeper.capabilities.scorers.exact import Exact

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(Exact, "score", broken)
    check = await judged(Scene(tmp_path), Output(text="yes"), scorer="exact", expected="yes")
    assert (check.held, check.explanation) == (None, "it failed: ZeroDivisionError: oops")


async def test_claims_of_acts_are_joined_to_the_effects_of_the_run(tmp_path: Path) -> None:
    scene, said = Scene(tmp_path), Output(text="I have refunded order 7.")
    assert (await judged(scene, said, scorer="claimed_effect")).held is False
    await scene.effects.claim(wish())
    await scene.effects.settle(
        Settlement(effect_id=wish().effect_id, status="done", actor="t", claim="claim-one", receipt="1")
    )
    assert (await judged(scene, said, scorer="claimed_effect")).held is True


@pytest.mark.parametrize("condition", [{"scorer": "none"}, {"policy": "budget"}, {"scorer": "exact", "with": {"x": 1}}])
async def test_what_cannot_be_asked_is_refused_when_the_job_is_submitted(
    tmp_path: Path, condition: dict[str, Any]
) -> None:
    import msgspec

    job = msgspec.convert({"request": request(), "postconditions": [condition]}, SentJob)
    scene = Scene(tmp_path)
    with pytest.raises(Refusal) as caught:
        Judge(Config(), scene.cells, lambda decision: None, scene.effects).check(job)
    assert (caught.value.status, caught.value.param) == (422, "postconditions[0]")
