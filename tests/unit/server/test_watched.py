"""A settings file is read again when it changed and has settled; a broken one is told of and left alone."""

from __future__ import annotations

from pathlib import Path

from watchkeeper.config import load
from watchkeeper.server.watched import Watched

WELL = '[[upstreams]]\nname = "a"\nbase_url = "http://127.0.0.1:1/v1"\ncredential = "none"\n'


def watched(folder: Path, text: str = WELL) -> tuple[Watched, Path, list[str]]:
    file, said = folder / "watchkeeper.toml", []
    file.write_text(text)
    return Watched(load(file), said.append), file, said


def test_a_file_that_stays_is_not_read(tmp_path: Path) -> None:
    watch, _, _ = watched(tmp_path)
    assert [watch.look(float(n), False) for n in range(10)] == [None] * 10


def test_a_change_counts_once_when_it_has_settled(tmp_path: Path) -> None:
    watch, file, _ = watched(tmp_path)
    file.write_text(WELL.replace('"a"', '"bb"'))
    assert watch.look(1.0, False) is None, "it may still be written"
    fresh = watch.look(2.0, False)
    assert fresh is not None and fresh.upstreams[0].name == "bb"
    assert watch.look(3.0, False) is None


def test_a_broken_file_is_told_of_once_and_a_mended_one_is_taken(tmp_path: Path) -> None:
    watch, file, said = watched(tmp_path)
    file.write_text(WELL + "[[upstreams]\n")
    looks = [watch.look(float(n), False) for n in range(1, 6)]
    assert looks == [None] * 5 and len(said) == 1 and "the old ones stay in force" in said[0]
    file.write_text(WELL.replace('"a"', '"ccc"'))
    watch.look(7.0, False)
    assert watch.look(8.0, False) is not None


def test_asked_for_it_is_read_whether_it_changed_or_not(tmp_path: Path) -> None:
    watch, _, _ = watched(tmp_path)
    assert watch.look(0.0, True) is not None


def test_switched_off_it_is_read_only_when_asked(tmp_path: Path) -> None:
    watch, file, _ = watched(tmp_path, "[server]\nreload = false\n" + WELL)
    file.write_text(WELL)
    assert [watch.look(float(n), False) for n in range(5)] == [None] * 5
    assert watch.look(6.0, True) is not None


def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    watch, file, said = watched(tmp_path)
    file.unlink()
    assert [watch.look(float(n), False) for n in range(5)] == [None] * 5 and said == []
    assert watch.look(6.0, True) is None and len(said) == 1
