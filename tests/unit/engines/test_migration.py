"""A data directory of the first format opens, answers as before and verifies; a newer one is refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from watchkeeper.cli import main
from watchkeeper.engines.recorder.home import FORMAT, Home, HomeError

FIXTURE = Path(__file__).parents[2] / "fixtures" / "format-1.tar.gz"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "format-1"


def run(*words: str) -> Any:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_older_directory_is_brought_up_says_so_and_answers(old: Path, caplog: pytest.LogCaptureFixture) -> None:
    traces = run("ask", "traces", "limit=100", "--data", str(old), "--json")
    assert len(traces["items"]) == 18
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "from format 1 to 2" in said and "made anew from the journal" in said
    assert json.loads((old / "format.json").read_text())["format"] == FORMAT
    costs = run("ask", "costs", "--data", str(old), "--json")
    assert sum(item["cost_usd"] or 0 for item in costs["items"]) == pytest.approx(0.001 * sum(range(1, 13)))
    assert run("ask", "decisions", "--data", str(old), "--json")["items"][0]["reason"] == "budget_exceeded"
    assert run("verify", "--data", str(old), "--json")["holds"]
    done = CliRunner().invoke(main, ["reconstruct", f"{12:016x}", "--data", str(old)])
    assert done.exit_code == 0 and json.loads(done.stdout_bytes)["messages"][0]["role"] == "system"
    assert all((old / name).stat().st_mode & 0o077 == 0 for name in ("format.json", "cells.sqlite", "journal"))
    assert [key["name"] for key in run("key", "list", "--data", str(old), "--json")["items"]] == ["ci"]


def test_opened_again_nothing_is_said(old: Path, caplog: pytest.LogCaptureFixture) -> None:
    run("ask", "traces", "--data", str(old), "--json")
    caplog.clear()
    run("ask", "traces", "--data", str(old), "--json")
    assert not [each for each in caplog.records if "format" in each.getMessage() or "anew" in each.getMessage()]


def test_a_newer_directory_is_refused_with_what_to_do(old: Path) -> None:
    marker = json.loads((old / "format.json").read_text())
    (old / "format.json").write_text(json.dumps(marker | {"format": FORMAT + 1}))
    with pytest.raises(HomeError, match="Upgrade watchkeeper"):
        Home(old)


def test_retention_and_backup_work_on_an_older_directory(old: Path, tmp_path: Path) -> None:
    assert run("retention", "plan", "--data", str(old), "--json")["segments"] >= 2
    assert run("backup", str(tmp_path / "copy"), "--data", str(old), "--json")["frames"] > 30
    restored = run("restore", str(tmp_path / "copy"), "--data", str(tmp_path / "again"), "--json")
    assert restored["holds"]
