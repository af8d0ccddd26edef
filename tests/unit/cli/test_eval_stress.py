"""Tasks in turns: a system that guesses early is told to be less reliable; one that is the same in both is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from watchkeeper.cli import main
from watchkeeper.lab.provider import LabConfig, PlannedFault
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer

SUITE = """
import random
rng = random.Random(9)
suite = {
    "name": "sums",
    "cases": [
        {"id": n, "input": f"I have {n} apples. I eat 2 of them. How many are left?", "expected": "right"}
        for n in range(20)
    ],
    "scorers": [{"use": "exact"}],
}
def target(messages):
    turns = sum(m["role"] == "user" for m in messages)
    return "right" if rng.random() < CHANCE else "wrong"
"""


def stressed(folder: Path, chance: str) -> tuple[int, Any]:
    suite = folder / "sums.py"
    suite.write_text(SUITE.replace("CHANCE", chance))
    words = ["eval", "stress", str(suite), "--json", "--data", str(folder / "d")]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


def test_a_system_that_gets_lost_in_turns_is_less_reliable_and_no_less_apt(tmp_path: Path) -> None:
    code, told = stressed(tmp_path, "(1.0 if turns == 1 else 0.5)")
    assert code == 1
    assert told["unreliability_change"]["low"] > 0.5
    assert told["whole"]["unreliability"]["value"] == 0.0
    assert told["sharded"]["aptitude"]["value"] > 0.9


def test_a_system_that_is_the_same_in_turns_is_quiet(tmp_path: Path) -> None:
    code, told = stressed(tmp_path, "0.5")
    assert (code, told["ruling"]) == (0, "not shown")


def http_suite(folder: Path, url: str, **more: Any) -> str:
    path = folder / "parcels.yaml"
    rows = [
        {"id": n, "input": f"Parcel {n} left on day {n}. It takes 2 days. When does it come?", "expected": "soon"}
        for n in range(12)
    ]
    asked = {"base_url": url, "model": "lab-small", "parameters": {"max_tokens": 50}}
    path.write_text(yaml.safe_dump({"name": "p", "target": asked, "cases": rows, "scorers": [{"use": "exact"}]} | more))
    return str(path)


def wk(folder: Path, *words: str) -> Any:
    return CliRunner().invoke(main, ["eval", "stress", *words, "--data", str(folder / "d")], catch_exceptions=False)


def test_an_endpoint_that_fails_leaves_it_open_and_says_why(tmp_path: Path) -> None:
    faults = (PlannedFault(faults="error:500", from_call=100),)
    with LabServer(LabConfig(rules=(Rule(name="r", answer="soon"),), faults=faults)) as lab:
        suite = http_suite(tmp_path, lab.base_url)
        words = (suite, "--retries", "0", "--concurrency", "4")
        done = wk(tmp_path, *words, "--json")
        told = json.loads(done.stdout)
        assert (done.exit_code, told["ruling"]) == (3, "not resolved")
        assert told["failed"] > 100 and "500" in told["first_error"]
        assert "The first failure: " in wk(tmp_path, *words).stderr


def test_the_score_that_counts_can_be_named_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    scorers = [{"use": "exact"}, {"use": "exact", "name": "folded", "with": {"fold_case": True}}]
    with LabServer(LabConfig(rules=(Rule(name="r", answer="SOON"),))) as lab:
        suite = http_suite(tmp_path, lab.base_url, scorers=scorers)
        found = [
            json.loads(wk(tmp_path, suite, "--runs", "2", "--json", *words).stdout)["whole"]["average"]["value"]
            for words in ((), ("--score", "folded"))
        ]
        refused = wk(tmp_path, suite, "--score", "other", "--json")
    assert found == [0.0, 1.0]
    assert refused.exit_code == 2 and json.loads(refused.stdout)["error"]["code"] == "suite"


def test_a_cap_in_money_ends_it_with_what_was_played(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(
        '[[prices]]\nmodel = "lab-*"\ninput_usd_per_million = 0.0\noutput_usd_per_million = 1e4\nsource = "test"\n'
    )
    with LabServer(LabConfig(rules=(Rule(name="r", answer="soon"),))) as lab:
        words = ("--config", str(tmp_path / "w.toml"), "--retries", "0", "--cap-usd", "1.5", "--json")
        done = wk(tmp_path, http_suite(tmp_path, lab.base_url), *words)
    told = json.loads(done.stdout)
    assert done.exit_code == 3
    assert "cap of $1.5" in told["ended_by"] and 0 < told["played"] < told["planned"]


@pytest.mark.slow
def test_what_was_stopped_is_told_and_goes_on_without_asking_again(tmp_path: Path) -> None:
    faults = (PlannedFault(faults="slow:0.02"),)
    with LabServer(LabConfig(rules=(Rule(name="r", answer="soon"),), faults=faults)) as lab:
        words = [sys.executable, "-m", "watchkeeper", "eval", "stress", http_suite(tmp_path, lab.base_url), "--json"]
        words += ["--concurrency", "2", "--data", str(tmp_path / "d")]
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as below a shell's background job; it is inherited
            signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(words, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(lab.calls) < 60 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        told = json.loads(said)
        assert told["stopped"] is True and told["played"] < told["planned"] == 240
        done = subprocess.run(words, env=os.environ, capture_output=True, timeout=120, check=False)
        whole = json.loads(done.stdout)
        assert done.returncode == 0 and whole["played"] == 240
        assert len(lab.calls) <= 12 * 10 * 4 + 2  # one question whole, three in turns
