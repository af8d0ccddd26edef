"""A suite is graded by planted defects: exact match kills few, properties add, always failing earns nothing."""

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
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.lab.provider import LabConfig, PlannedFault
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer

SUITE = """
suite = {
    "name": "desk",
    "cases": [{"id": n, "input": f"Please tell me when parcel {n} arrives.", "expected": EXPECTED} for n in range(40)],
    "scorers": [{"use": "exact"}],
    "properties": PROPERTIES,
}
def target(messages):
    return "It arrives on 2026-03-05 after 30 km."
"""
SAME = [{"name": "any wording", "holds": "same", "under": "paraphrase", "allowed": 0.2}]
RIGHT = "It arrives on 2026-03-05 after 30 km."


def wk(folder: Path, *words: str) -> Result:
    command = ["eval", "mutants", *words, "--data", str(folder / "d")]
    return CliRunner().invoke(main, command, catch_exceptions=False)


def graded(folder: Path, expected: str, properties: Any, *words: str) -> tuple[int, Any]:
    suite = folder / "desk.py"
    suite.write_text(SUITE.replace("EXPECTED", repr(expected)).replace("PROPERTIES", repr(properties)))
    done = wk(folder, str(suite), "--json", "--inputs", "60", *words)
    return done.exit_code, json.loads(done.stdout)


def http_suite(folder: Path, url: str, cases: int = 30) -> str:
    path = folder / "desk.yaml"
    rows = [{"id": n, "input": f"When does parcel {n} arrive?", "expected": RIGHT} for n in range(cases)]
    asked = {"base_url": url, "model": "lab-small", "parameters": {"max_tokens": 50}}
    text = {"name": "desk", "target": asked, "cases": rows, "scorers": [{"use": "exact"}], "properties": SAME}
    path.write_text(yaml.safe_dump(text))
    return str(path)


def test_properties_catch_what_exact_match_cannot_see(tmp_path: Path) -> None:
    alone = graded(tmp_path, RIGHT, [])[1]
    code, both = graded(tmp_path, RIGHT, SAME)
    assert alone["by_where"]["unrehearsed"]["value"] == 0.0
    assert alone["by_defect"]["brittle"]["value"] == 0.0
    assert both["by_defect"]["brittle"]["value"] == 1.0
    assert both["gain"]["low"] > 0
    assert (code, both["false_alarms"]) == (0, 0)
    assert {each["part"] for each in both["parts"]} == {"scorers", "properties", "all"}
    assert both["played"] == both["planned"] == 30 and both["stopped"] is False


def test_a_suite_that_always_fails_gets_no_credit(tmp_path: Path) -> None:
    code, told = graded(tmp_path, "nothing is right", [])
    assert (code, told["credit"]["value"]) == (1, 0.0)
    assert told["false_alarms"] == told["controls"]


def test_an_exercise_is_written_without_solutions_and_grades_what_is_handed_in(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    written = json.loads(wk(tmp_path, "--kit", str(kit), "--json").stdout)["kit"]
    assert sorted(Path(each).name for each in written) == ["EXERCISE.md", "agent.py", "suite.py", "traces.jsonl"]
    said = "".join(Path(each).read_text() for each in written)
    assert not any(word in said for word in ("brittle", "off_by_one", "wrong_unit", "paraphrase", "perturb"))
    refused = wk(tmp_path, "--kit", str(kit))
    assert refused.exit_code == 2 and "not empty" in refused.stderr
    better = kit / "better.py"
    added = '"scorers": [{"use": "exact"}], "properties": [{"name": "w", "holds": "same", "under": "paraphrase"}],'
    better.write_text((kit / "suite.py").read_text().replace('"scorers": [{"use": "exact"}],', added))
    done = wk(tmp_path, str(better), "--against", str(kit / "suite.py"), "--json", "--inputs", "60")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["compared"]["verdict"]) == (0, "better")
    assert told["compared"]["kills"]["low"] > 0 and told["compared"]["only_a"] == 0
    assert told["parts"][-1]["kills"]["low"] > told["against"]["parts"][-1]["kills"]["high"]
    same = wk(tmp_path, str(kit / "suite.py"), "--against", str(kit / "suite.py"))
    assert same.exit_code == 3
    assert "not resolved. It kills +0.00" in same.stdout


def test_a_kit_of_an_endpoint_holds_its_answers_and_one_of_a_function_is_refused(tmp_path: Path) -> None:
    with LabServer(LabConfig(rules=(Rule(name="r", answer=RIGHT),))) as lab:
        done = wk(tmp_path, http_suite(tmp_path, lab.base_url, 3), "--kit", str(tmp_path / "kit"))
        assert done.exit_code == 0
        rows = [json.loads(line) for line in (tmp_path / "kit" / "traces.jsonl").read_text().splitlines()]
        assert [row["expected"] for row in rows] == [RIGHT] * 3
        suite = yaml.safe_load((tmp_path / "kit" / "suite.yaml").read_text())
        assert "properties" not in suite and suite["target"]["base_url"] == lab.base_url
        ran = CliRunner().invoke(
            main, ["eval", "run", str(tmp_path / "kit" / "suite.yaml"), "--data", str(tmp_path / "d")]
        )
        assert ran.exit_code == 0, ran.stderr
    graded(tmp_path, RIGHT, [])
    refused = wk(tmp_path, str(tmp_path / "desk.py"), "--kit", str(tmp_path / "other"))
    assert refused.exit_code == 2 and "a function of the suite itself" in refused.stderr
    nothing = wk(tmp_path, "--json")
    assert nothing.exit_code == 2 and json.loads(nothing.stdout)["error"]["code"] == "suite"


def test_a_cap_in_money_ends_it_with_what_was_played(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(
        '[[prices]]\nmodel = "lab-*"\ninput_usd_per_million = 0.0\noutput_usd_per_million = 1e4\nsource = "test"\n'
    )
    with LabServer(LabConfig(rules=(Rule(name="r", answer=RIGHT),))) as lab:
        suite = http_suite(tmp_path, lab.base_url)
        words = ("--config", str(tmp_path / "w.toml"), "--retries", "0", "--cap-usd", "10", "--json")
        done = wk(tmp_path, suite, *words)
    told = json.loads(done.stdout)
    assert done.exit_code == 3
    assert "cap of $10" in told["ended_by"] and told["played"] < 30


@pytest.mark.slow
def test_what_was_stopped_is_told_and_goes_on_without_asking_again(tmp_path: Path) -> None:
    faults = (PlannedFault(faults="slow:0.05"),)
    with LabServer(LabConfig(rules=(Rule(name="r", answer=RIGHT),), faults=faults)) as lab:
        words = [sys.executable, "-m", "watchkeeper", "eval", "mutants", http_suite(tmp_path, lab.base_url), "--json"]
        words += ["--concurrency", "2", "--inputs", "100", "--data", str(tmp_path / "d")]
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as below a shell's background job; it is inherited
            signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(words, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(lab.calls) < 40 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        told = json.loads(said)
        assert told["stopped"] is True and told["played"] < told["planned"]
        done = subprocess.run(words, env=os.environ, capture_output=True, timeout=120, check=False)
        whole, together = json.loads(done.stdout), len(lab.calls)
        assert done.returncode == 0 and whole["played"] == 30
        again = subprocess.run(words, env=os.environ, capture_output=True, timeout=120, check=False)
        assert json.loads(again.stdout)["trials"] == whole["trials"]
        assert len(lab.calls) == together
        subprocess.run([*words[:-1], str(tmp_path / "fresh")], env=os.environ, capture_output=True, check=False)
        assert together <= len(lab.calls) - together + 2, "what was under way is asked again, and nothing else"
