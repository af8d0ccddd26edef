"""The migration command: its exit codes are the gate's word, it writes a page, and both sides are kept as runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main

SUITE = """
from watchkeeper.engines.experiments.suite import Item, Suite, Use
suite = Suite(
    name="desk",
    cases=tuple(
        Item(id=n, input=str(n), expected=str(n), attributes={"language": "de" if n % 2 else "en"}) for n in range(100)
    ),
    scorers=(Use(use="exact"),),
    margin=0.1,
)
def target(messages):
    n, new = messages[-1]["content"], messages[0]["content"]
    return "<b>nein</b>" if "break German" in new and int(n) % 2 else n
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "desk.py").write_text(SUITE)
    (tmp_path / "same.txt").write_text("You are ChatGPT, the desk.")
    (tmp_path / "new.txt").write_text("break German")
    return tmp_path


def wk(folder: Path, *words: str) -> Result:
    command = ["eval", *words, "--data", str(folder / "data")]
    return CliRunner().invoke(main, command, catch_exceptions=False)


def migrated(folder: Path, prompt: str, *words: str) -> tuple[int, dict[str, Any]]:
    asked = ("migrate", str(folder / "desk.py"), "--to-prompt", str(folder / prompt), *words)
    done = wk(folder, *asked, "--runs", "2", "--json")
    return done.exit_code, json.loads(done.stdout)


def test_what_changes_nothing_passes_and_both_sides_are_kept(folder: Path) -> None:
    code, found = migrated(folder, "same.txt", "--slice", "language")
    assert (code, found["passed"]) == (0, True)
    assert [cell for cell in found["changed"] if not cell.startswith("latency")] == []
    listed = json.loads(wk(folder, "list", "--json").stdout)["items"]
    assert {row["suite"].split(",")[0] for row in listed} == {"desk: old", "desk: new"}


def test_the_slice_that_breaks_blocks_and_is_named_in_the_page(folder: Path) -> None:
    page = folder / "report.html"
    code, found = migrated(folder, "new.txt", "--slice", "language", "--html", str(page))
    assert (code, found["passed"]) == (1, False)
    assert "exact in de" in found["blocking"]
    assert "exact in en" not in found["blocking"]
    assert "exact in de" in page.read_text()
    assert "<b>nein</b>" not in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600


def test_people_are_told_the_same(folder: Path) -> None:
    done = wk(
        folder, "migrate", str(folder / "desk.py"), "--from-prompt", str(folder / "same.txt"), "--slice", "language"
    )
    assert done.exit_code == 0
    assert done.stdout.startswith("passed: ")
    assert "The prompt names a model" in done.stdout


def test_an_unknown_attribute_is_told_with_those_there_are(folder: Path) -> None:
    done = wk(folder, "migrate", str(folder / "desk.py"), "--slice", "locale")
    assert done.exit_code == 2
    assert "There are: language" in done.stderr
