"""Suites run, are compared and listed from the command line, with exit codes a pipeline can use."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.lab.provider import sample_config
from watchkeeper.lab.serving import LabServer

EXAMPLES = Path(__file__).parents[3] / "examples" / "suites"
NUMBERS = """
from watchkeeper.engines.experiments.suite import Item, Suite, Use
suite = Suite(
    name="numbers",
    cases=tuple(Item(id=n, input=str(n), expected=str(n)) for n in range(40)),
    scorers=(Use(use="exact"),),
)
def target(messages):
    number = int(messages[-1]["content"])
    return ANSWER
"""


def wk(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(data / "data")], catch_exceptions=False)


def run(data: Path, answer: str, *words: str) -> dict[str, Any]:
    suite = data / "numbers.py"
    suite.write_text(NUMBERS.replace("ANSWER", answer))
    done = wk(data, "eval", "run", str(suite), "--json", *words)
    assert done.exit_code == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_python_suite_runs_and_is_listed(tmp_path: Path) -> None:
    done = wk(tmp_path, "eval", "run", str(EXAMPLES / "rules_of_thumb.py"))
    assert done.exit_code == 0
    assert "exact" in done.stdout
    assert "0.75" in done.stdout
    assert "4 cases, 4 answers, 0 calls failed" in done.stdout
    (row,) = json.loads(wk(tmp_path, "eval", "list", "--json").stdout)["items"]
    assert (row["suite"], row["cases"], row["summary"]["exact"]["value"]) == ("rules-of-thumb", 4, 0.75)
    assert "rules-of-thumb" in wk(tmp_path, "eval", "list").stdout


def test_a_suite_runs_against_an_endpoint(tmp_path: Path) -> None:
    with LabServer(sample_config()) as lab:
        out = tmp_path / "out.jsonl"
        words = ("--target", lab.base_url, "--out", str(out), "--concurrency", "3")
        done = wk(tmp_path, "eval", "run", str(EXAMPLES / "desk.yaml"), *words, "--json")
        assert len(lab.calls) == 12
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["summary"]["booking"]["value"] == 1.0
    assert told["summary"]["resolution"]["value"] == 0.75
    wrong = [row["case_id"] for row in map(json.loads, out.read_text().splitlines()) if row["scores"][1]["value"] == 0]
    assert wrong == ["desk/locker-1", "desk/locker-2", "desk/locker-3"]


def test_a_worse_run_ends_with_one_and_a_better_one_with_zero(tmp_path: Path) -> None:
    good = run(tmp_path, "str(number)")["experiment_id"]
    bad = run(tmp_path, "str(number if number % 3 else 'x')")["experiment_id"]
    worse = wk(tmp_path, "eval", "compare", good, bad, "--json")
    assert worse.exit_code == 1
    (score,) = json.loads(worse.stdout)["scores"]
    assert (score["comparison"]["verdict"], score["comparison"]["n"], score["comparison"]["worsened"]) == (
        "worse",
        40,
        14,
    )
    better = wk(tmp_path, "eval", "compare", bad, good)
    assert better.exit_code == 0
    assert "exact (exact 1): better" in better.stdout
    same = wk(tmp_path, "eval", "compare", good, good)
    assert (same.exit_code, "not resolved" in same.stdout) == (0, True)


def test_files_and_recorded_runs_are_compared_alike(tmp_path: Path) -> None:
    a = run(tmp_path, "str(number)", "--out", str(tmp_path / "a.jsonl"))["experiment_id"]
    b = run(tmp_path, "'x'", "--out", str(tmp_path / "b.jsonl"))["experiment_id"]
    recorded = json.loads(wk(tmp_path, "eval", "compare", a, b, "--json").stdout)["scores"]
    files = json.loads(
        wk(tmp_path, "eval", "compare", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"), "--json").stdout
    )["scores"]
    mixed = json.loads(wk(tmp_path, "eval", "compare", a, str(tmp_path / "b.jsonl"), "--json").stdout)["scores"]
    assert recorded == files == mixed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("eval", "run", "none.yaml"), "there is no such file"),
        (("eval", "compare", "exp_1", "exp_2"), "there is no experiment 'exp_1'"),
        (("eval", "compare", "a.jsonl", "b.jsonl"), "cannot be read"),
    ],
)
def test_a_mistake_ends_with_two(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    run(tmp_path, "'x'")
    done = wk(tmp_path, *words)
    assert (done.exit_code, said in done.stderr) == (2, True)


def test_a_wrong_parameter_of_a_scorer_is_told(tmp_path: Path) -> None:
    suite = tmp_path / "s.yaml"
    suite.write_text(
        "{name: s, target: {base_url: 'http://127.0.0.1:9/v1', model: m}, cases: [{input: a}],"
        " scorers: [{use: exact, with: {fold: true}}]}"
    )
    done = wk(tmp_path, "eval", "run", str(suite))
    assert done.exit_code == 2
    assert "`with.fold` is not a parameter" in done.stderr
    assert str(suite) in done.stderr


def test_an_endpoint_that_is_not_there_ends_with_one(tmp_path: Path) -> None:
    done = wk(tmp_path, "eval", "run", str(EXAMPLES / "desk.yaml"), "--target", "http://127.0.0.1:9/v1")
    assert done.exit_code == 1
    assert "12 calls failed" in done.stdout
    assert "No answer could be judged." in done.stdout
    assert "no connection came about" in done.stderr


def test_ctrl_c_keeps_what_was_answered(tmp_path: Path) -> None:
    suite = tmp_path / "slow.py"
    body = "import time\n    time.sleep(0 if number < 5 else 0.2)\n    return str(number)"
    suite.write_text(NUMBERS.replace("return ANSWER", body))
    words = ("eval", "run", str(suite), "--concurrency", "1", "--json", "--data", str(tmp_path / "data"))
    out = tmp_path / "out.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "watchkeeper", *words, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    journal = tmp_path / "data" / "journal" / "eval"
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size > 8_000 for path in journal.glob("*.wkj")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    told = json.loads(stdout)
    assert told["stopped"] is True
    assert 0 < told["answered"] < 40
    assert len(out.read_text().splitlines()) == told["answered"]
    (row,) = json.loads(wk(tmp_path, "eval", "list", "--json").stdout)["items"]
    assert row["summary"]["exact"]["n"] == told["answered"]
