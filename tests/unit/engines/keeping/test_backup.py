"""A copy made while others write stands for one moment, holds, and gives the same answers; nothing erased returns."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.unit.engines.keeping.scene import Scene, big
from tests.unit.engines.keeping.test_thinning import request_of, said, score
from watchkeeper.adapters.store.sqlite_copy import copy
from watchkeeper.cli import main
from watchkeeper.engines.keeping.backup import MANIFEST, BackupProblem, backup, read_manifest
from watchkeeper.engines.recorder.belonging import Whose
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.queries.registry import QUESTIONS, as_plain, parameters, question_from
from watchkeeper.records.identity import Identity

pytestmark = pytest.mark.anyio


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(tmp_path / "house", monkeypatch, share=0.0)
    yield scene
    scene.close()


async def answers(scene: Scene) -> dict[str, Any]:
    """What every question answers that needs nothing to be named, less what speaks of the house's own keeping."""
    found = {}
    async with scene.house() as house:
        for name, kind in sorted(QUESTIONS.items()):
            if any(each.required for each in parameters(kind)) or name in ("audits", "checkpoints", "body_rate"):
                continue
            question = question_from(name, {}, scene.clock.now_ns)
            found[name] = settled(as_plain(await house.reader.ask(question)))
    return found


def settled(answer: Any) -> Any:
    """An answer without what a query leaves open: the order of rows that tie, and the order in which sums are added."""
    if isinstance(answer, float):
        return round(answer, 9)
    if isinstance(answer, dict):
        # An export that was thinned lies elsewhere, and says so; the row of the living index was not touched.
        marks = ("watchkeeper.removed", "watchkeeper.unindexed_attributes")
        return {
            name: settled(value)
            for name, value in answer.items()
            if not name.startswith("origin") and name not in marks
        }
    if isinstance(answer, list):
        return sorted((settled(each) for each in answer), key=lambda each: json.dumps(each, sort_keys=True))
    return answer


async def command(*words: str) -> Any:
    done = await asyncio.to_thread(CliRunner().invoke, main, [*words, "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def traffic(scene: Scene, calls: int = 30) -> None:
    talk = said("begin")
    for number in range(calls):
        talk = [*talk, {"role": "user", "content": big(f"turn {number}")}]
        trace = scene.traffic.call(talk, session=f"s{number % 3}")
        if number % 10 == 0:
            scene.traffic.journal.append(score(f"s{number}", "trace", trace, "feedback", label="down"))
            scene.traffic.journal._roll()
    scene.traffic.export([f"{n:032x}" for n in range(5000 + scene.traffic.count, 5005 + scene.traffic.count)])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "file"])
async def test_a_restored_house_gives_the_same_answers_and_verifies(scene: Scene, tmp_path: Path, kind: str) -> None:
    traffic(scene)
    scene.traffic.seal()
    scene.clock.days(8)
    traffic(scene, 5)
    async with scene.house() as house:
        await house.keeper.run()
        await house.keys.create("ci", "default", None, None, "owner")
    before = await answers(scene)
    target = tmp_path / ("copy" if kind == "folder" else "copy.tar")
    made = await command("backup", str(target), "--data", str(scene.home.path))
    assert made["manifest"]["ends"]["gateway"]["seq"] > 0 and made["frames"] > 50
    restored = await command("restore", str(target), "--data", str(tmp_path / "again"))
    assert restored["holds"] and restored["frames"] > made["frames"]
    scene.close()
    assert prove(tmp_path / "again" / "journal").holds
    again = Scene.__new__(Scene)
    again.clock, again.config = scene.clock, scene.config
    again.home = type(scene.home)(tmp_path / "again")
    after = await answers(again)
    for name, answer in before.items():
        assert after[name] == answer, name
    async with again.house() as house:
        assert [key.name for key in await house.keys.list()] == ["ci"]
        assert json.loads(await request_of(house, f"{1:032x}") or b"")["model"] == "small-1", "complained about: kept"
        assert await request_of(house, f"{30:032x}") is None, "what was thinned is thinned in the copy"
    scene.traffic.seal()


async def test_a_copy_made_while_others_write_holds(scene: Scene, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            scene.traffic.call(said(f"while copying {number}"))
            if number % 40 == 0:
                scene.traffic.journal._roll()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [backup(scene.home, tmp_path / f"copy{n}", copy) for n in range(3)]
        made.append(backup(scene.home, tmp_path / "copy0", copy, incremental=True))
    finally:
        stop.set()
        writer.join()
    for each in made:
        proof = prove(Path(each.target) / "journal")
        assert proof.holds
    ends = [each.manifest.ends["gateway"].seq for each in made if "gateway" in each.manifest.ends]
    assert ends == sorted(ends) and ends[-1] > ends[0]


async def test_an_incremental_copy_takes_what_changed_and_gives_up_what_was_erased(
    scene: Scene, tmp_path: Path
) -> None:
    traffic(scene)
    scene.traffic.seal()
    target = tmp_path / "copy"
    first = backup(scene.home, target, copy)
    secret = b"turn 17"
    scene.clock.days(8)
    async with scene.house() as house:
        await house.keeper.run()
    second = backup(scene.home, target, copy, incremental=True)
    assert second.unchanged > 0 and second.manifest.incremental_to_ns == first.manifest.made_ns
    assert second.erased > first.erased == 0
    third = backup(scene.home, target, copy, incremental=True)
    assert third.copied <= 3, "only databases, which are always copied"
    assert prove(target / "journal").holds and secret


async def test_a_full_folder_is_not_overwritten(scene: Scene, tmp_path: Path) -> None:
    traffic(scene, 2)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine.txt").write_text("mine")
    with pytest.raises(BackupProblem, match="not empty"):
        backup(scene.home, tmp_path / "copy", copy)
    with pytest.raises(BackupProblem, match="holds no backup"):
        backup(scene.home, tmp_path / "copy", copy, incremental=True)
    assert (tmp_path / "copy" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda f: next(f.rglob("*.wkj")).write_bytes(b"x"), "not what was copied"),
        (lambda f: next(f.rglob("*.wkj")).unlink(), "missing"),
        (lambda f: (f / MANIFEST).unlink(), "holds no backup"),
        (lambda f: _edit(f, {"format": 99}), "Upgrade"),
        (lambda f: _edit(f, {"files": [{"path": "../../x", "size": 1, "digest": ""}]}), "outside itself"),
    ],
)
async def test_a_backup_that_cannot_be_trusted_is_refused(
    scene: Scene, tmp_path: Path, spoil: Any, complaint: str
) -> None:
    traffic(scene, 3)
    backup(scene.home, tmp_path / "copy", copy)
    spoil(tmp_path / "copy")
    done = CliRunner().invoke(main, ["restore", str(tmp_path / "copy"), "--data", str(tmp_path / "again")])
    assert done.exit_code == 2 and complaint in done.output
    assert not (tmp_path / "again").exists()


def _edit(folder: Path, values: dict[str, Any]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | values))


async def test_restore_refuses_a_folder_that_is_not_empty(scene: Scene, tmp_path: Path) -> None:
    traffic(scene, 2)
    backup(scene.home, tmp_path / "copy", copy)
    done = CliRunner().invoke(main, ["restore", str(tmp_path / "copy"), "--data", str(scene.home.path)])
    assert done.exit_code == 2 and "not empty" in done.output


@pytest.mark.parametrize("given", ["later data", "a list"])
async def test_what_was_erased_after_the_backup_does_not_come_back(scene: Scene, tmp_path: Path, given: str) -> None:
    bare = scene.traffic.call(said("the secret of ada"), identity=Identity(user="ada"))
    other = scene.traffic.call(said("something of bob"), identity=Identity(user="bob"))
    backup(scene.home, tmp_path / "copy", copy)
    async with scene.house() as house:
        await house.eraser.erase(Whose(user="ada"), "owner")
    later = scene.home.path
    if given == "a list":
        later = tmp_path / "erasures.jsonl"
        listed = await command("backup", str(later), "--erasures", "--data", str(scene.home.path))
        assert listed["erasures"] == 1
        assert b"ada" not in later.read_bytes()
    restored = await command(
        "restore", str(tmp_path / "copy"), "--data", str(tmp_path / "again"), "--erasures", str(later)
    )
    assert restored["holds"] and [each["reason"] for each in restored["again"]] == ["subject"]
    again = Scene.__new__(Scene)
    again.clock, again.config = scene.clock, scene.config
    again.home = type(scene.home)(tmp_path / "again")
    async with again.house() as house:
        rows = await house.reader.select(_spans_of(bare))
        assert not rows.rows or await request_of(house, bare) is None
        assert json.loads(await request_of(house, other) or b"")["messages"] == said("something of bob")
    for path in again.home.path.rglob("*"):
        assert not path.is_file() or b"the secret of ada" not in path.read_bytes(), path


def _spans_of(trace_id: str) -> Any:
    from watchkeeper.queries.explorer import Trace

    return Trace(trace_id=trace_id).select()


async def test_without_secrets_no_key_is_in_the_copy(scene: Scene, tmp_path: Path) -> None:
    traffic(scene, 2)
    made = await command("backup", str(tmp_path / "copy"), "--without-secrets", "--data", str(scene.home.path))
    assert not made["manifest"]["secrets"]
    assert not list((tmp_path / "copy").rglob("*.key"))
    assert not read_manifest(tmp_path / "copy").secrets
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "copy").rglob("*"))
