"""A deployment gated on what is recorded: passed, failed or not resolved, and nothing is asked for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.test_eval_run import CALM, asked, cells, run, wk
from watchkeeper.lab.serving import LabServer


def gate(folder: Path, *words: str) -> tuple[int, dict[str, Any]]:
    done = wk(folder, "eval", "gate", *words, "--json")
    return done.exit_code, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("answer", "floor", "code", "passed"),
    [
        ("str(number)", "exact=0.9", 0, True),
        ("str(number) if number % 2 else 'x'", "exact=0.9", 1, False),
        ("str(number) if number % 10 else 'x'", "exact=0.9", 3, None),
        ("str(number) if number % 2 else 1 / 0", "exact=0.8", 3, None),
    ],
)
def test_recorded_scores_are_ruled_on_as_a_run_s_own(
    tmp_path: Path, answer: str, floor: str, code: int, passed: bool | None
) -> None:
    _, told = run(tmp_path, answer, "--at-least", floor)
    ended, ruled = gate(tmp_path, told["experiment_id"], "--at-least", floor)
    assert (ended, ruled["passed"]) == (code, passed)
    assert ruled["gates"][0] == told["gates"][0]
    assert gate(tmp_path, str(tmp_path / "numbers.py"), "--at-least", floor)[1]["gates"] == ruled["gates"]
    assert gate(tmp_path, "numbers", "--at-least", floor)[0] == code


def test_a_run_is_ruled_on_against_an_earlier_one(tmp_path: Path) -> None:
    _, before = run(tmp_path, "str(number)")
    run(tmp_path, "'x'")
    code, ruled = gate(tmp_path, "numbers", "--against", before["experiment_id"])
    assert code == 1 and "worse" in ruled["gates"][0]["sentence"]


@pytest.mark.parametrize(("wrong", "code", "passed"), [("dates", 1, False), ("nothing", 3, None)])
def test_the_cells_of_a_suite_gate_its_recorded_run_too(
    tmp_path: Path, wrong: str, code: int, passed: bool | None
) -> None:
    told = json.loads(cells(tmp_path, wrong, "--json").stdout)
    ended, ruled = gate(tmp_path, str(tmp_path / "cells.py"))
    assert (ended, ruled["passed"]) == (code, passed)
    assert ruled["gates"] == told["gates"]


def test_a_run_that_was_not_asked_to_its_end_shows_nothing(tmp_path: Path) -> None:
    prices = '[[prices]]\nmodel = "lab-*"\ninput_usd_per_million = 0.0\noutput_usd_per_million = 1e6\nsource = "t"\n'
    (tmp_path / "w.toml").write_text(prices)
    with LabServer(CALM) as lab:
        words = ("--config", str(tmp_path / "w.toml"), "--retries", "0", "--concurrency", "1", "--cap-usd", "60")
        wk(tmp_path, "eval", "run", str(asked(tmp_path, lab.base_url, 10)), *words)
    code, ruled = gate(tmp_path, "ship", "--at-least", "exact=0.1")
    assert code == 3 and "watchkeeper eval resume exp_" in ruled["gates"][0]["sentence"]


def test_scores_that_no_gateway_has_named_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    run(tmp_path, "str(number)")
    summary.unlink()
    code, ruled = gate(tmp_path, str(tmp_path / "numbers.py"), "--serving", "--at-least", "exact=0.5")
    assert (code, ruled["passed"], ruled["serving"]["state"]) == (3, None, "unknown") and len(ruled["gates"]) == 1
    assert any(word.startswith("watchkeeper eval run ") for word in ruled["run"])
    said = summary.read_text()
    assert "not resolved" in said and "watchkeeper eval run" in said and "95% interval" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("none", "--at-least", "exact=1"), "no finished run of 'none'"),
        (("exp_none", "--at-least", "exact=1"), "no finished experiment 'exp_none'"),
        (("none.yaml", "--at-least", "exact=1"), "there is no such file"),
        (("none",), "nothing to gate on"),
        (("none", "--at-least", "exact"), "SCORE=VALUE"),
        (("none", "--require", "better"), "--against"),
    ],
)
def test_what_there_is_nothing_to_gate_on_is_told(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    run(tmp_path, "str(number)", count=2)
    code, told = gate(tmp_path, *words)
    assert code == 2 and says in told["error"]["message"]
