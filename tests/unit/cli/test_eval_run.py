"""A suite's run as a gate: passed, failed or not resolved; ended early; taken up where it was killed."""

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
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule
from watchkeeper.lab.serving import LabServer

NUMBERS = """
from watchkeeper.engines.experiments.suite import Item, Suite, Use
suite = Suite(
    name="numbers",
    cases=tuple(Item(id=n, input=str(n), expected=str(n)) for n in range(COUNT)),
    scorers=(Use(use="exact"),),
)
def target(messages):
    number = int(messages[-1]["content"])
    return ANSWER
"""


def wk(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(folder / "data")], catch_exceptions=False)


def run(folder: Path, answer: str, *words: str, count: int = 60) -> tuple[int, dict[str, Any]]:
    suite = folder / "numbers.py"
    suite.write_text(NUMBERS.replace("ANSWER", answer).replace("COUNT", str(count)))
    done = wk(folder, "eval", "run", str(suite), "--json", *words)
    return done.exit_code, json.loads(done.stdout)


def baseline(folder: Path, answer: str = "str(number)", count: int = 60) -> str:
    out = str(folder / "base.jsonl")
    assert run(folder, answer, "--out", out, count=count)[0] == 0
    return out


def asked(folder: Path, url: str, cases: int, **fields: Any) -> Path:
    suite = folder / "ship.yaml"
    rows = [{"id": n, "input": f"How is ship {n}?", "expected": "All is well."} for n in range(cases)]
    target = {"model": "lab-small", "base_url": url, "parameters": {"max_tokens": 50}}
    suite.write_text(
        yaml.safe_dump({"name": "ship", "target": target, "cases": rows, "scorers": [{"use": "exact"}], **fields})
    )
    return suite


CALM = LabConfig(rules=(Rule(name="calm", answer="All is well."),))


@pytest.mark.parametrize(
    ("answer", "words", "code", "passed"),
    [
        ("str(number)", ("--at-least", "exact=0.9"), 0, True),
        ("str(number) if number % 2 else 'x'", ("--at-least", "exact=0.9"), 1, False),
        ("str(number) if number % 10 else 'x'", ("--at-least", "exact=0.9"), 3, None),
        ("str(number)", ("--at-least", "other=0.9"), 3, None),
    ],
)
def test_a_floor_passes_fails_or_is_not_resolved(
    tmp_path: Path, answer: str, words: tuple[str, ...], code: int, passed: bool | None
) -> None:
    ended, told = run(tmp_path, answer, *words)
    assert (ended, told["gates"][0]["passed"]) == (code, passed)


@pytest.mark.parametrize(
    ("answer", "words", "code"),
    [
        ("str(number)", (), 0),
        ("'x'", (), 1),
        ("str(number) if number % 30 else 'x'", (), 0),
        ("str(number) if number % 30 else 'x'", ("--require", "better"), 3),
        ("str(number) if number % 30 else 'x'", ("--require", "non-inferior", "--margin", "0.01"), 3),
        ("'x'", ("--require", "better"), 1),
    ],
)
def test_a_run_is_gated_against_its_baseline(tmp_path: Path, answer: str, words: tuple[str, ...], code: int) -> None:
    against = baseline(tmp_path)
    ended, told = run(tmp_path, answer, "--against", against, *words)
    assert ended == code, told["gates"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--at-least", "exact"), "SCORE=VALUE"),
        (("--at-least", "exact=nan"), "SCORE=VALUE"),
        (("--require", "better"), "--against"),
        (("--stop-early", "exact"), "something to compare with"),
        (("--against", "none.jsonl"), "none.jsonl"),
        (("--target", "localhost:99"), "is no URL"),
        (("--out", "nowhere/out.jsonl"), "there is no folder"),
        (("--junit", "/nowhere/out.xml"), "there is no folder"),
    ],
)
def test_a_gate_that_cannot_be_meant_is_told(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    suite = tmp_path / "numbers.py"
    suite.write_text(NUMBERS.replace("ANSWER", "'1'").replace("COUNT", "3"))
    done = wk(tmp_path, "eval", "run", str(suite), *words)
    assert done.exit_code == 2 and says in done.stderr


def test_a_clear_verdict_ends_the_run_early_and_says_why(tmp_path: Path) -> None:
    against = baseline(tmp_path, count=400)
    words = ("--against", against, "--stop-early", "exact", "--concurrency", "1")
    ended, told = run(tmp_path, "'x'", *words, count=400)
    assert (ended, told["ended_by"]) == (1, "verdict") and told["answered"] < 60
    assert "worse than the baseline" in told["why"] and "all looks" in told["why"]
    assert "quote the one that holds at all looks" in told["gates"][0]["sentence"]


def test_a_comment_says_what_differs_or_that_it_is_not_known(tmp_path: Path) -> None:
    first, second = str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")
    run(tmp_path, "str(number)", "--out", first)
    (tmp_path / "numbers.py").rename(tmp_path / "digits.py")
    wk(tmp_path, "eval", "run", str(tmp_path / "digits.py"), "--out", second)
    assert "numbers\\.py:target | digits\\.py:target" in wk(tmp_path, "eval", "comment", first, second).stdout
    said = wk(tmp_path / "elsewhere", "eval", "comment", first, second)
    assert said.exit_code == 0 and "what differs in the composition is not known" in said.stdout


def test_what_is_the_same_is_asked_to_the_end(tmp_path: Path) -> None:
    against = baseline(tmp_path, "str(number) if number % 3 else 'x'")
    words = ("--against", against, "--stop-early", "exact")
    ended, told = run(tmp_path, "str(number) if (number + 1) % 3 else 'x'", *words)
    assert (ended, told["ended_by"], told["answered"]) == (0, "all", 60)


def test_a_wrong_key_ends_the_run_with_what_to_do(tmp_path: Path) -> None:
    with LabServer(LabConfig(rules=CALM.rules, api_key="right")) as lab:
        suite = asked(tmp_path, lab.base_url, 200)
        done = wk(tmp_path, "eval", "run", str(suite), "--at-least", "exakt=1", "--concurrency", "4")
        assert done.exit_code == 1 and len(lab.calls) <= 20 + 4
    assert "All of the first 20 calls were refused" in done.stdout
    assert "api_key: env:NAME" in done.stderr and "eval resume" in done.stderr
    assert "No scorer of the suite is called 'exakt'" in done.stderr


def test_the_same_command_again_asks_only_what_is_not_answered(tmp_path: Path) -> None:
    with LabServer(CALM) as lab:
        suite = asked(tmp_path, lab.base_url, 10, repeats=2)
        first = json.loads(wk(tmp_path, "eval", "run", str(suite), "--json").stdout)
        assert len(lab.calls) == 20 and first["asked"] | {"sent": 20, "kept": 0} == first["asked"]
        again = json.loads(wk(tmp_path, "eval", "run", str(suite), "--json").stdout)
        assert len(lab.calls) == 20 and again["asked"]["kept"] == 20
        assert again["summary"] == first["summary"] and again["experiment_id"] != first["experiment_id"]
        wk(tmp_path, "eval", "run", str(suite), "--no-cache")
        assert len(lab.calls) == 40


def test_an_answer_through_one_interface_is_not_kept_for_another(tmp_path: Path) -> None:
    with LabServer(CALM) as lab:
        for number, api in enumerate(("openai", "responses", "anthropic"), 1):
            suite = asked(tmp_path, lab.base_url, 3)
            suite.write_text(suite.read_text().replace("model: lab-small", f"model: lab-small\n  api: {api}"))
            told = json.loads(wk(tmp_path, "eval", "run", str(suite), "--json").stdout)
            assert told["asked"]["kept"] == 0 and told["errors"] == 0 and len(lab.calls) == 3 * number


def test_kept_answers_are_counted_and_can_be_forgotten(tmp_path: Path) -> None:
    def answers(*words: str) -> dict[str, int]:
        found: dict[str, int] = json.loads(wk(tmp_path, "eval", "answers", "--json", *words).stdout)
        return found

    with LabServer(CALM) as lab:
        wk(tmp_path, "eval", "run", str(asked(tmp_path, lab.base_url, 5)))
    assert answers()["answers"] == 5 and answers()["bytes"] > 0
    assert answers("--forget", "--older-than", "1h")["forgotten"] == 0
    gone = {"answers": 0, "bytes": 0, "forgotten": 5, "runs": 0, "runs_forgotten": 0}
    assert answers("--forget") == gone
    assert wk(tmp_path, "eval", "answers", "--older-than", "1h").exit_code == 2
    assert wk(tmp_path, "eval", "answers", "--forget", "--older-than", "soon").exit_code == 2


def test_beside_an_encrypted_record_no_answers_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER", "ab" * 32)
    (tmp_path / "w.toml").write_text('[recording]\nencryption = "subject"\nmaster_key = "env:MASTER"\n')
    with LabServer(CALM) as lab:
        suite = asked(tmp_path, lab.base_url, 3)
        for _ in range(2):
            done = wk(tmp_path, "eval", "run", str(suite), "--config", str(tmp_path / "w.toml"))
            assert done.exit_code == 0 and "No answers are kept" in done.stderr
        assert len(lab.calls) == 6 and not (tmp_path / "data" / "evals").exists()


def test_a_target_that_fails_half_the_time_leaves_half_open(tmp_path: Path) -> None:
    code, told = run(tmp_path, "str(number) if number % 2 else 1 / 0", count=20)
    assert (code, told["errors"], told["summary"]["exact"]["n"]) == (0, 10, 10)
    (bounds,) = told["bounds"]
    assert (bounds["missing"], bounds["low"], bounds["high"]) == (10, 0.5, 1.0)
    assert "10 of 20 planned answers have no value" in wk(tmp_path, "eval", "run", str(tmp_path / "numbers.py")).stdout


def test_a_cap_in_money_ends_the_run_before_it_is_passed(tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text(
        '[[prices]]\nmodel = "lab-*"\ninput_usd_per_million = 0.0\noutput_usd_per_million = 1e6\nsource = "test"\n'
    )
    with LabServer(CALM) as lab:
        suite = asked(tmp_path, lab.base_url, 10)
        words = ("--config", str(tmp_path / "w.toml"), "--retries", "0", "--concurrency", "1", "--cap-usd", "60")
        done = wk(tmp_path, "eval", "run", str(suite), "--json", *words)
    told = json.loads(done.stdout)
    assert done.exit_code == 3 and told["ended_by"] == "cap" and 0 < told["answered"] < 10
    assert told["asked"]["spent_usd"] <= 60 and "cap of $60" in told["why"]


@pytest.mark.slow
def test_a_run_that_was_killed_is_taken_up_where_it_was(tmp_path: Path) -> None:
    slow = LabConfig(rules=(Rule(name="calm", answer="All is well."),))
    with LabServer(slow) as lab:
        suite = asked(tmp_path, lab.base_url, 400)
        words = [sys.executable, "-m", "watchkeeper", "eval", "run", str(suite), "--json", "--concurrency", "2"]
        words += ["--data", str(tmp_path / "data")]
        process = subprocess.Popen(words, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(lab.calls) < 60 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        before = len(lab.calls)
        done = subprocess.run(words, env=os.environ, capture_output=True, timeout=120, check=True)
        told = json.loads(done.stdout)
        assert told["answered"] == 400 and told["asked"]["kept"] >= before - 2
        assert len(lab.calls) <= 400 + 2


CELLS = """
suite = {
    "name": "cells",
    "cases": [
        {"id": f"{family}{n}", "input": f"{family} {n}", "expected": "yes", "attributes": {"family": family}}
        for family, size in (("sums", 40), ("dates", 40), ("poems", 5)) for n in range(size)
    ],
    "scorers": [{"use": "exact"}],
    "gates": {"cells": {"by": ["family"], "floor": 0.8}},
}
def target(messages):
    return "no" if messages[-1]["content"].startswith(WRONG) else "yes"
"""


def cells(folder: Path, wrong: str, *words: str) -> Result:
    suite = folder / "cells.py"
    suite.write_text(CELLS.replace("WRONG", repr(wrong)))
    return wk(folder, "eval", "run", str(suite), *words)


def test_a_cell_is_a_gate_and_every_output_names_it(tmp_path: Path) -> None:
    files = {name: tmp_path / f"run.{name}" for name in ("junit", "sarif", "summary")}
    done = cells(tmp_path, "dates", "--json", *(str(x) for name, path in files.items() for x in (f"--{name}", path)))
    assert done.exit_code == 1
    gates = {each["cell"]: each for each in json.loads(done.stdout)["gates"]}
    assert {name: each["passed"] for name, each in gates.items()} == {
        "family=sums": True, "family=dates": False, "family=poems": None,
    }  # fmt: skip
    assert gates["family=dates"]["rate"]["high"] < 0.8
    for path in files.values():
        said = path.read_text().replace("\\", "")
        assert "family=dates" in said and "family=poems" in said and "Not measured: 5 items" in said, path


def test_a_cell_that_is_not_measured_is_never_green(tmp_path: Path) -> None:
    done = cells(tmp_path, "nothing")
    assert done.exit_code == 3
    assert "family=poems: not resolved. Not measured: 5 items" in done.stdout


def test_a_cell_lost_to_a_baseline_fails(tmp_path: Path) -> None:
    base = str(tmp_path / "base.jsonl")
    assert cells(tmp_path, "nothing", "--out", base).exit_code == 3
    done = cells(tmp_path, "sums", "--against", base)
    assert done.exit_code == 1 and "lost: family=sums (1 became 0" in done.stdout
    quiet = cells(tmp_path, "nothing", "--against", base)
    assert f"no cell lost against {base}: passed" in quiet.stdout


def test_a_run_with_its_cells_can_be_mapped(tmp_path: Path) -> None:
    out = str(tmp_path / "run.jsonl")
    cells(tmp_path, "dates", "--out", out)
    done = wk(tmp_path, "eval", "map", out, "--by", "family", "--score", "exact", "--json")
    assert {tuple(c["cell"]): c["state"] for c in json.loads(done.stdout)["cells"]} == {
        ("sums",): "passing", ("dates",): "failing", ("poems",): "unmeasured",
    }  # fmt: skip


def unscored(folder: Path, url: str) -> Path:
    suite = asked(folder, url, 4, properties=[{"name": "short", "holds": "at_most", "words": 9}])
    suite.write_text(yaml.safe_dump({k: v for k, v in yaml.safe_load(suite.read_text()).items() if k != "scorers"}))
    (folder / "prompt.txt").write_text("Be short. Be kind.")
    return suite


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("run", "SUITE"), 2, "watchkeeper eval properties SUITE"),
        (("prompt", "profile", "SUITE"), 2, "watchkeeper eval properties SUITE"),
        (("prompt", "trim", "SUITE", "--out", "OUT"), 2, "watchkeeper eval properties SUITE"),
        (("prompt", "gate", "PROMPT", "PROMPT", "--suite", "SUITE"), 2, "watchkeeper eval properties SUITE"),
        (("formats", "SUITE", "--margin", "0.1"), 2, "watchkeeper eval properties SUITE"),
        (("stress", "SUITE"), 2, "needs a scorer"),
        (("gate", "SUITE", "--at-least", "exact=1"), 2, "no finished run of 'ship'"),
        (("migrate", "SUITE", "--to-prompt", "PROMPT", "--margin", "0.9"), 0, "failed calls"),
        (("properties", "SUITE"), 3, "short"),
    ],
)
def test_a_suite_with_properties_and_no_scorers_has_a_clear_outcome_everywhere(
    tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    with LabServer(CALM) as lab:
        suite = unscored(tmp_path, lab.base_url)
        run(tmp_path, "str(number)", count=1)
        places = {"SUITE": str(suite), "PROMPT": str(tmp_path / "prompt.txt"), "OUT": str(tmp_path / "out.txt")}
        done = wk(tmp_path, "eval", *(places.get(word, word) for word in words))
    assert done.exit_code == code, done.output
    assert says.replace("SUITE", str(suite)) in done.output


@pytest.mark.parametrize("first", ["properties", "mutants"])
def test_whichever_eval_comes_first_makes_the_data_directory(tmp_path: Path, first: str) -> None:
    with LabServer(CALM) as lab:
        suite = unscored(tmp_path, lab.base_url)
        assert wk(tmp_path, "eval", first, str(suite)).exit_code in (0, 1, 3)
        assert wk(tmp_path, "eval", "run", str(asked(tmp_path, lab.base_url, 2))).exit_code == 0
