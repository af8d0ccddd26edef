"""A question over thinned bodies is answered with an interval that covers the truth, and with its coverage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.engines.keeping.scene import Scene
from watchkeeper.compose.body_rates import BodyRates
from watchkeeper.compose.store import StoreHouse
from watchkeeper.queries.keeping import BodyRate

pytestmark = pytest.mark.anyio


async def asked(house: StoreHouse, **parameters: Any) -> dict[str, Any]:
    question = BodyRate(**parameters)
    (item,) = (await BodyRates(house.reader, house.payloads, house.clock).ask(question)).items
    return item


def talk(scene: Scene, count: int, sorry_every: int, **fields: Any) -> None:
    for number in range(count):
        reply = "I am sorry, no." if number % sorry_every == 0 else "Yes, of course."
        scene.traffic.call([{"role": "user", "content": f"ask {number}"}], reply=reply, **fields)


async def test_within_the_window_the_answer_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path / "house", monkeypatch)
    talk(scene, 40, 4)
    async with scene.house() as house:
        found = await asked(house, text="SORRY")
        assert (found["value"], found["low"], found["high"], found["coverage"]) == (0.25, 0.25, 0.25, 1.0)
        assert (found["calls"], found["read"]) == (40, 40)
        assert (await asked(house, pattern="^Yes"))["value"] == 0.75
        assert (await asked(house, text="ask 7", side="request"))["value"] == 1 / 40
        assert (await asked(house, text="sorry", model="other"))["calls"] == 0
        with pytest.raises(ValueError, match="pattern"):
            await asked(house, pattern="(a+)+$")
    scene.close()


async def test_of_a_thinned_window_the_drawn_traces_stand_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path / "house", monkeypatch, share=0.2)
    talk(scene, 400, 5)
    talk(scene, 20, 1, status="error")
    scene.traffic.seal()
    scene.clock.days(8)
    talk(scene, 80, 10)
    truth = (80 + 20 + 8) / 500
    async with scene.house() as house:
        await house.keeper.run()
        await house.ingester.drain()
        found = await asked(house, text="sorry")
        assert found["low"] <= truth <= found["high"] and 0.05 < found["high"] - found["low"] < 0.3
        assert (found["calls"], found["coverage"], found["unreadable"]) == (500, 1.0, 0)
        strata = {each["stratum"]: each for each in found["strata"]}
        assert strata["kept for a reason"]["read"] == 20 and strata["all bodies are there"]["read"] == 80
        assert strata["thinned, 0.2 drawn at random"]["calls"] == 400
        assert 40 <= strata["thinned, 0.2 drawn at random"]["read"] <= 130
    scene.close()


async def test_without_a_random_share_the_coverage_says_what_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path / "house", monkeypatch, share=0.0)
    talk(scene, 75, 1)
    scene.traffic.seal()
    scene.clock.days(8)
    talk(scene, 25, 5)
    async with scene.house() as house:
        await house.keeper.run()
        await house.ingester.drain()
        found = await asked(house, text="sorry")
        assert (found["value"], found["coverage"], found["calls"]) == (0.2, 0.25, 100)
    scene.close()


async def test_of_a_stratum_at_most_so_many_traces_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path / "house", monkeypatch)
    talk(scene, 200, 2)
    async with scene.house() as house:
        found = await asked(house, text="sorry", read=50)
        assert found["read"] == 50 and found["low"] < 0.5 < found["high"]
    scene.close()
