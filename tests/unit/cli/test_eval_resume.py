"""A run that was killed, stopped or capped goes on by its id: nothing is asked twice, no score is lost or doubled."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.test_eval_run import CALM, NUMBERS, asked, run, wk
from watchkeeper.lab.faults import PlannedFault
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer

PRICES = '[[prices]]\nmodel = "lab-*"\ninput_usd_per_million = 0.0\noutput_usd_per_million = 1e6\nsource = "test"\n'


def slow(faults: str) -> LabConfig:
    return LabConfig(rules=CALM.rules, faults=(PlannedFault(faults=faults),))


def left(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(wk(folder, "eval", "resume", "--json").stdout)["runs"]
    return found


def recorded(folder: Path, run_id: str) -> Counter[tuple[str, float | None]]:
    """The scores of a run in the record, each with how often it is there."""
    said = wk(folder, "ask", "scores", f"experiment_id={run_id}", "limit=5000", "--json").stdout
    return Counter((row["subject_id"], row["value"]) for row in json.loads(said)["items"])


def begun(folder: Path, suite: Path, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "watchkeeper", "eval", "run", str(suite), "--json", *words]
    return subprocess.Popen(
        [*command, "--data", str(folder / "data")], env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def answered(folder: Path) -> set[str]:
    """The questions whose answers are kept in the file of the run."""
    (path,) = (folder / "data" / "evals" / "runs").iterdir()
    lines = [json.loads(line) for line in path.read_bytes().rpartition(b"\n")[0].splitlines()]
    return {line["result"]["case_id"] for line in lines if "result" in line}


def asked_for(lab: LabServer, cases: int, since: int = 0) -> Counter[str]:
    """How often each case was asked, since a number of calls."""
    bodies = {}
    for number in range(cases):
        body = {"max_tokens": 50, "model": "lab-small"}
        messages = json.dumps([{"role": "user", "content": f"How is ship {number}?"}])
        sent = json.dumps(body, separators=(",", ":"))[:-1] + f',"messages":{messages}}}'
        bodies[hashlib.sha256(sent.encode()).hexdigest()] = f"ship/{number}"
    return Counter(bodies[call.body_sha256] for call in lab.calls[since:])


def kill_at(process: subprocess.Popen[bytes], lab: LabServer, calls: int) -> None:
    while len(lab.calls) < calls and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)


@pytest.mark.slow
def test_a_run_killed_twice_goes_on_and_every_score_is_there_once(tmp_path: Path) -> None:
    width = 4
    with LabServer(CALM) as lab:
        suite = asked(tmp_path, lab.base_url, 300)
        kill_at(begun(tmp_path, suite, "--concurrency", str(width)), lab, 60)
        (found,) = left(tmp_path)
        run_id = found["experiment_id"]
        assert found["state"] == "killed" and 60 - width <= found["answered"] <= len(lab.calls)
        suite.unlink()  # it goes on as it was begun
        first, calls = answered(tmp_path), len(lab.calls)
        words = [sys.executable, "-m", "watchkeeper", "eval", "resume", run_id, "--data", str(tmp_path / "data")]
        kill_at(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE), lab, 160)
        (found,) = left(tmp_path)
        assert found["experiment_id"] == run_id and found["answered"] >= 160 - 2 * width
        second, more = answered(tmp_path), len(lab.calls)
        told = json.loads(wk(tmp_path, "eval", "resume", run_id, "--json").stdout)
        assert first <= second and len(asked_for(lab, 300)) == 300
        assert not first & asked_for(lab, 300, calls).keys() and not second & asked_for(lab, 300, more).keys()
        assert len(lab.calls) <= 300 + 2 * width  # those that were under way are asked again
    assert (told["experiment_id"], told["answered"], told["errors"], told["resumable"]) == (run_id, 300, 0, False)
    assert recorded(tmp_path, run_id) == Counter({(f"ship/{n}", 1.0): 1 for n in range(300)})
    assert left(tmp_path) == [] and wk(tmp_path, "eval", "resume", run_id).exit_code == 2


@pytest.mark.slow
def test_ctrl_c_keeps_what_came_and_says_how_to_go_on(tmp_path: Path) -> None:
    with LabServer(slow("slow:0.02")) as lab:
        process = begun(tmp_path, asked(tmp_path, lab.base_url, 100), "--concurrency", "2")
        while len(lab.calls) < 20 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=60)
        told = json.loads(out)
        run_id = told["experiment_id"]
        assert process.returncode == 130 and told["ended_by"] == "stopped" and told["resumable"]
        assert f"watchkeeper eval resume {run_id}" in said.decode() and b"Traceback" not in said
        assert left(tmp_path)[0]["state"] == "stopped"
        done = wk(tmp_path, "eval", "resume", run_id, "--json")
        assert done.exit_code == 0 and json.loads(done.stdout)["answered"] == 100
    rows = json.loads(wk(tmp_path, "eval", "list", "--json").stdout)["items"]
    assert [(row["experiment_id"], row["summary"]["exact"]["n"]) for row in rows] == [(run_id, 100)]
    assert set(recorded(tmp_path, run_id).values()) == {1}


def test_calls_that_failed_are_asked_again_and_their_scores_are_revised(tmp_path: Path) -> None:
    with LabServer(slow("error:400")) as lab:
        suite = asked(tmp_path, lab.base_url, 5)
        first = json.loads(wk(tmp_path, "eval", "run", str(suite), "--json").stdout)
        url = lab.base_url
    run_id = first["experiment_id"]
    assert (first["errors"], first["resumable"]) == (5, True) and left(tmp_path)[0]["failed"] == 5
    with LabServer(CALM, port=int(url.rsplit(":", 1)[1].split("/")[0])) as lab:
        told = json.loads(wk(tmp_path, "eval", "resume", run_id, "--json").stdout)
    assert (told["errors"], told["resumable"], told["summary"]["exact"]["n"]) == (0, False, 5)
    assert recorded(tmp_path, run_id) == Counter({(f"ship/{n}", 1.0): 1 for n in range(5)})


def test_a_run_at_its_cap_goes_on_under_a_higher_one_and_what_was_spent_counts(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(PRICES)
    with LabServer(CALM) as lab:
        suite = asked(tmp_path, lab.base_url, 10)
        words = ("--config", str(tmp_path / "w.toml"), "--retries", "0", "--concurrency", "1", "--cap-usd", "60")
        first = json.loads(wk(tmp_path, "eval", "run", str(suite), "--json", *words).stdout)
        run_id, spent = first["experiment_id"], first["asked"]["spent_usd"]
        assert first["ended_by"] == "cap" and first["resumable"]
        again = json.loads(wk(tmp_path, "eval", "resume", run_id, "--json").stdout)
        assert (again["ended_by"], again["answered"], again["asked"]["spent_usd"]) == ("cap", first["answered"], spent)
        done = json.loads(wk(tmp_path, "eval", "resume", run_id, "--json", "--cap-usd", "1000").stdout)
        assert (done["ended_by"], done["answered"]) == ("all", 10) and len(lab.calls) == 10
        assert done["asked"]["spent_usd"] == done["spent_usd"] > spent


@pytest.mark.slow
def test_calls_cut_off_by_a_kill_count_as_spent_under_the_cap(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(PRICES)
    with LabServer(slow("slow:0.1")) as lab:
        suite = asked(tmp_path, lab.base_url, 40)
        words = ("--config", str(tmp_path / "w.toml"), "--retries", "0", "--concurrency", "2", "--cap-usd", "5000")
        kill_at(begun(tmp_path, suite, *words), lab, 8)
        (found,) = left(tmp_path)
        done = wk(tmp_path, "eval", "resume", found["experiment_id"], "--json", "--cap-usd", "150")
        told = json.loads(done.stdout)
        assert "may have cost up to $100; the cap counts them" in done.stderr  # two calls of at most 50 tokens
        assert done.exit_code == 3 and told["ended_by"] == "cap" and told["asked"]["spent_usd"] >= 100
        assert told["answered"] < 40 and len(lab.calls) < 40


@pytest.mark.slow
def test_an_early_stop_goes_on_in_the_order_it_was_begun(tmp_path: Path) -> None:
    with LabServer(LabConfig(rules=(Rule(name="no", answer="No."),), faults=slow("slow:0.1").faults)) as lab:
        suite = asked(tmp_path, lab.base_url, 300)
        words = ("--at-least", "exact=0.2", "--stop-early", "exact", "--concurrency", "1")
        kill_at(begun(tmp_path, suite, *words), lab, 4)
        run_id = left(tmp_path)[0]["experiment_id"]
        told = json.loads(wk(tmp_path, "eval", "resume", run_id, "--json").stdout)
        whole = json.loads(wk(tmp_path, "eval", "run", str(suite), "--json", *words).stdout)
    assert (told["ended_by"], told["resumable"]) == ("verdict", False)
    assert (told["answered"], told["why"]) == (whole["answered"], whole["why"])


def test_gates_and_files_are_those_it_was_begun_with(tmp_path: Path) -> None:
    suite = tmp_path / "numbers.py"
    flag = f"open({str(tmp_path / 'up')!r}).read()"
    code, told = run(tmp_path, f"str(number) if number else {flag}", "--at-least", "exact=0.5", count=20)
    assert code == 0 and told["errors"] == 1 and told["gates"][0]["passed"]
    (tmp_path / "up").write_text("0")
    done = wk(tmp_path, "eval", "resume", told["experiment_id"], "--json", "--out", str(tmp_path / "all.jsonl"))
    again = json.loads(done.stdout)
    assert again["gates"][0]["gate"] == "exact at least 0.5" and again["summary"]["exact"]["value"] == 1.0
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 20
    assert suite.is_file()


def test_a_program_that_has_changed_does_not_finish_another_s_run(tmp_path: Path) -> None:
    _, told = run(tmp_path, "str(number) if number else 1 / 0", count=5)
    suite = tmp_path / "numbers.py"
    suite.write_text(NUMBERS.replace("ANSWER", "'1'").replace("COUNT", "5"))
    done = wk(tmp_path, "eval", "resume", told["experiment_id"])
    assert done.exit_code == 2 and "has changed since" in done.stderr


@pytest.mark.parametrize("words", [("--no-cache",), ()])
def test_what_may_not_be_kept_leaves_no_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    with LabServer(slow("error:400")) as lab:
        told = json.loads(wk(tmp_path, "eval", "run", str(asked(tmp_path, lab.base_url, 2)), "--json", *words).stdout)
    assert told["resumable"] is (not words) and len(left(tmp_path)) == (0 if words else 1)
    assert json.loads(wk(tmp_path, "eval", "answers", "--forget", "--json").stdout)["runs"] == 0


@pytest.mark.parametrize("name", ["exp_none", "../numbers", ""])
def test_a_run_that_is_not_there_is_told(tmp_path: Path, name: str) -> None:
    done = wk(tmp_path, "eval", "resume", name)
    assert done.exit_code == 2 and "no run that can go on here" in done.stderr
