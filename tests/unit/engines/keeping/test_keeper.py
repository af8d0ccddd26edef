"""The disk cap is kept while traffic goes on, what it costs is said, and segments of which nothing is left go."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engines.keeping.scene import Scene
from tests.unit.engines.keeping.test_thinning import request_of, said, score
from watchkeeper.engines.keeping.disk_use import disk_use
from watchkeeper.engines.recorder import journal as journal_module
from watchkeeper.engines.recorder.refusing import refused
from watchkeeper.engines.recorder.segments import segments_of
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.queries.judgments import Incidents
from watchkeeper.queries.operations import Drops, Overview

pytestmark = pytest.mark.anyio
CAP = 24_000_000


def noise(size: int = 6_000) -> list[dict[str, str]]:
    return [{"role": "user", "content": os.urandom(size // 2).hex()}]


@pytest.mark.slow
async def test_the_cap_is_kept_under_load_oldest_bodies_first_kept_ones_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 1 << 20)
    scene = Scene(tmp_path / "house", monkeypatch, share=0.0, disk_cap=f"{CAP}", floor="1h")
    peak = 0
    traces: list[tuple[str, bool]] = []
    async with scene.house() as house:
        for _ in range(45):
            for number in range(240):
                failed = number % 40 == 0
                traces.append((scene.traffic.call(noise(), status="error" if failed else "ok"), failed))
            scene.clock.days(0.1)
            await house.ingester.drain()
            await house.keeper.run()
            await house.ingester.drain()
            peak = max(peak, disk_use(scene.home.path).total)
        written = sum(card.size for card in house.keeper.cards.all())
        assert peak <= CAP and written > 1.3 * CAP
        (total,) = (await house.reader.ask(Overview())).items
        assert total["calls"] == 45 * 240, "metadata of every call is there"
        kept = [trace for trace, failed in traces if failed]
        assert sum([await request_of(house, trace) is not None for trace in kept[-100:]]) >= 90
        assert await request_of(house, traces[1][0]) is None, "the oldest ordinary body went first"
        assert await request_of(house, traces[-1][0]) is not None
    scene.close()
    assert prove(scene.home.journal).holds


async def test_below_the_floor_bodies_are_left_out_counted_and_told_and_calls_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SEGMENT_BYTES", 1 << 20)
    scene = Scene(tmp_path / "house", monkeypatch, share=0.0, disk_cap="9MB", floor="24h")
    async with scene.house() as house:
        count, last = 0, ""
        while not refused(scene.home.journal) and count < 5_000:
            for _ in range(60):
                last = scene.traffic.call(noise())
                count += 1
            await house.ingester.drain()
            await house.keeper.run()
        assert refused(scene.home.journal) and disk_use(scene.home.path).total <= 9_000_000
        scene.traffic.journal._tend()
        before = disk_use(scene.home.path).total
        after = [scene.traffic.call(noise()) for _ in range(200)]
        scene.traffic.export(["cd" * 16], text="left out")
        assert disk_use(scene.home.path).total - before < 400_000, "what comes in is metadata"
        await house.ingester.drain()
        (total,) = (await house.reader.ask(Overview())).items
        assert total["calls"] == count + 201
        assert await request_of(house, after[0]) is None and await request_of(house, last) is not None
        scene.clock.days(0.01)
        scene.traffic.journal._tend()
        await house.ingester.drain()
        drops = {(row["what"], row["door"]): row for row in (await house.reader.ask(Drops())).items}
        assert drops[("body", "journal")]["count"] == 401, "two bodies of each call, and an export's"
        (incident,) = (await house.reader.ask(Incidents())).items
        assert "cap" in incident["title"]
        scene.traffic.seal()
        scene.clock.days(1.5)
        await house.ingester.drain()
        await house.keeper.run()
        assert not refused(scene.home.journal), "what is older than the floor made room"
        scene.traffic.journal._tend()
        assert await _kept(house, scene) is not None
    scene.close()


async def _kept(house: Any, scene: Scene) -> bytes | None:
    trace = scene.traffic.call(noise())
    await house.ingester.drain()
    return await request_of(house, trace)


async def test_a_segment_of_which_nothing_is_left_is_trimmed_by_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path / "house", monkeypatch, records="500d")
    scene.traffic.call(said("old"))
    scene.traffic.journal.append(score("s1", "trace", "ab" * 16, "helpful", value=0.9))
    scene.traffic.journal._roll()
    scene.traffic.call(said("middle"))
    scene.traffic.seal()
    scene.clock.days(501)
    scene.traffic.call(said("new"))
    scene.traffic.journal._roll()
    scene.traffic.call(said("newest"))
    async with scene.house() as house:
        done = await house.keeper.run()
        assert [each.segment for each in done if each.stage == "trimmed"] == [2, 1], (
            "the first was needed by the second"
        )
    assert segments_of(scene.home.journal / "gateway") == [3, 4]
    proof = prove(scene.home.journal)
    assert proof.holds and {each.writer: each.trimmed for each in proof.writers}["gateway"] == 2
    async with scene.house() as house:
        (total,) = (await house.reader.ask(Overview())).items
        assert total["calls"] == 2
    scene.close()
    (scene.home.journal / "gateway" / "00000003.wkj").rename(tmp_path / "aside")
    assert not prove(scene.home.journal).holds, "what no record speaks of may not be missing"


async def test_an_interrupted_round_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path / "house", monkeypatch, share=0.0)
    for number in range(4):
        scene.traffic.call(said(f"n {number}"))
        scene.traffic.export([f"{number + 700:032x}"])
        scene.traffic.journal._roll()
    scene.clock.days(8)
    async with scene.house() as house:
        from watchkeeper.engines.keeping import thinning

        calls = 0
        plain = thinning.erase

        def failing(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise OSError(28, "No space left on device")
            return plain(*args, **kwargs)

        monkeypatch.setattr(thinning, "erase", failing)
        with pytest.raises(OSError, match="No space"):
            await house.keeper.run()
        assert len(await house.keeper.run()) == 3
        await house.ingester.drain()
        (total,) = (await house.reader.ask(Overview())).items
        assert total["calls"] == 8
    scene.close()
    assert prove(scene.home.journal).holds


async def test_lost_cards_are_made_again_and_nothing_needed_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path / "house", monkeypatch, share=0.0)
    kept = scene.traffic.call(said("kept"), status="error")
    scene.traffic.call(said("gone"))
    scene.traffic.seal()
    scene.clock.days(8)
    async with scene.house() as house:
        await house.keeper.run()
    for path in (scene.home.index.parent / "cards").rglob("*"):
        if path.is_file():
            path.unlink()
    async with scene.house() as house:
        (again,) = [each for each in await house.keeper.run() if each.writer == "gateway"]
        assert again.frames == 0
        assert await request_of(house, kept) is not None
    scene.close()
