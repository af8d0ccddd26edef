"""The commands of retention and the page say what is kept, what would go and what went."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.unit.engines.keeping.scene import Scene
from tests.unit.engines.keeping.test_thinning import said
from watchkeeper.cli import main
from watchkeeper.server.inside import call
from watchkeeper.server.processes import store_process


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    scene = Scene(tmp_path / "house", monkeypatch)
    for number in range(5):
        scene.traffic.call(said(f"n {number}"), status="error" if number == 3 else "ok")
    scene.traffic.seal()
    scene.clock.days(8)
    scene.close()
    return scene


def run(*words: str) -> Any:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_plan_changes_nothing_and_run_does_what_it_said(scene: Scene) -> None:
    where = ("--data", str(scene.home.path))
    for _ in range(2):
        (step,) = json.loads(run("retention", "plan", *where, "--json"))["due"]
        assert (step["writer"], step["segment"], step["to"], step["why"]) == ("gateway", 1, "sampled", "age")
        assert step["at_most_bytes"] > 0
    assert "sampled" in run("retention", "plan", *where) and "no cap" in run("retention", "plan", *where)
    (done,) = json.loads(run("retention", "run", *where, "--json"))["items"]
    assert (done["stage"], done["traces"], done["frames"]) == ("sampled", 5, done["frames"]) and done["frames"] > 0
    assert "Nothing was due." in run("retention", "run", *where)
    kept = json.loads(run("ask", "kept", *where, "--json"))["items"]
    assert ["error"] in [each["reasons"] for each in kept]
    (went,) = json.loads(run("ask", "thinnings", *where, "--json"))["items"]
    assert (went["traces"], went["stage"], went["why"]) == (5, "sampled", "age")
    rate = json.loads(run("ask", "body_rate", "text=fine", *where, "--json"))["items"][0]
    assert (rate["calls"], rate["coverage"]) == (5, rate["coverage"]) and rate["method"]
    assert "text" in run("ask", "body_rate", "help")


@pytest.mark.parametrize(("words", "complaint"), [((), "say what to look for"), (("pattern=(a+)+b",), "pattern")])
def test_a_rate_that_cannot_be_asked_is_refused_in_words(scene: Scene, words: tuple[str, ...], complaint: str) -> None:
    done = CliRunner().invoke(main, ["ask", "body_rate", *words, "--data", str(scene.home.path)])
    assert done.exit_code == 2 and complaint in done.output


def test_the_page_shows_rules_disk_and_what_went(scene: Scene) -> None:
    async def shown() -> str:
        process = store_process(scene.config, scene.home)
        await process.open()
        try:
            status, _ = await call(process.app, "POST", "/api/v1/retention/run")
            assert status == 200
            status, page = await call(process.app, "GET", "/ui/retention")
            assert status == 200
            return page.decode()
        finally:
            await process.stop()

    page = asyncio.run(shown())
    for words in (
        "What is kept",
        "7 days",
        "2% at random",
        "journal/gateway",
        "bodies that nothing spoke for",
        "error",
    ):
        assert words in page, words
