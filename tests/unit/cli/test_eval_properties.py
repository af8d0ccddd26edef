"""Properties on the command line: a planted dependence is found and made small, an invariant system passes."""

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
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer

SUITE = """
import random
rng = random.Random(5)
suite = {
    "name": "loans",
    "cases": [
        {"id": n, "input": f"{{name}} asks for a loan of {n + 1} euros. Grant it? Answer yes or no."}
        for n in range(80)
    ],
    "properties": [PROPERTY],
}
def target(messages):
    text = messages[-1]["content"]
    return ANSWER
"""
INVARIANT = {"name": "any name", "holds": "same", "under": "names"}


def look(folder: Path, answer: str, *words: str, **wanted: Any) -> tuple[int, Any]:
    suite = folder / "loans.py"
    suite.write_text(SUITE.replace("PROPERTY", repr(wanted or INVARIANT)).replace("ANSWER", answer))
    done = CliRunner().invoke(
        main,
        ["eval", "properties", str(suite), "--json", "--data", str(folder / "data"), *words],
        catch_exceptions=False,
    )
    return done.exit_code, json.loads(done.stdout)


def test_a_planted_dependence_on_the_script_is_broken_and_shrinks_to_a_minimal_pair(tmp_path: Path) -> None:
    code, told = look(tmp_path, "'yes' if text.isascii() else 'no'", "--cases", str(tmp_path / "kept.jsonl"))
    (found,) = told["properties"]
    assert (code, found["ruling"], found["cause"]) == (1, "broken", "sensitive")
    (example,) = found["counterexamples"]
    one, two = (json.loads(example[side])[-1]["content"] for side in ("messages", "changed"))
    assert one == "{name}"
    assert not two.isascii()
    assert example["rate"]["value"] == 1.0
    kept = json.loads((tmp_path / "kept.jsonl").read_text())
    assert kept["attributes"]["parent"].startswith("loans/")


def test_an_invariant_system_passes(tmp_path: Path) -> None:
    code, told = look(tmp_path, "'yes'")
    (found,) = told["properties"]
    assert (code, found["ruling"], found["violations"], found["cause"]) == (0, "holds", 0, None)


def test_a_flaky_system_is_given_a_rate_and_called_flaky(tmp_path: Path) -> None:
    code, told = look(tmp_path, "'yes' if rng.random() < 0.7 else 'no'")
    (found,) = told["properties"]
    assert (code, found["cause"]) == (1, "flaky")
    assert found["rate"]["low"] < 0.42 < found["rate"]["high"]  # 2 * 0.7 * 0.3


@pytest.mark.parametrize(
    ("answer", "wanted", "code"),
    [
        ("'no' if 'not' in text else 'yes'", {"holds": "flips", "labels": ["yes", "no"], "rewrite": {"pattern": "asks", "by": "does not ask"}}, 0),  # noqa: E501
        ("'yes'", {"holds": "flips", "labels": ["yes", "no"], "rewrite": {"pattern": "asks", "by": "does not ask"}}, 1),
        ("'no, 77 euros'", {"holds": "contained", "under": "perturb"}, 1),
        ("text.split()[6]", {"holds": "contained", "under": "perturb", "with": {"kinds": ["case"], "count": 3}}, 0),
        ("'word ' * 9", {"holds": "at_most", "words": 8}, 1),
        ("'word ' * 8", {"holds": "at_most", "words": 8, "under": "perturb"}, 0),
        ("text.lower().strip()", {"holds": "idempotent", "under": "perturb"}, 0),
        ("text + '!'", {"holds": "idempotent"}, 1),
        ("'{}'", {"holds": "scored", "scorer": "schema", "scorer_with": {"schema": {"type": "object"}}, "under": "perturb"}, 0),  # noqa: E501
        ("'[]'", {"holds": "scored", "scorer": "schema", "scorer_with": {"schema": {"type": "object"}}}, 1),
        ("text.split(' asks')[0]", {"holds": "scored", "scorer": "names", "scorer_with": {"language": "de"}, "under": "names", "with": {"cultures": ["german"], "count": 1}}, 0),  # noqa: E501
        ("text.split(' asks')[0]", {"holds": "scored", "scorer": "names", "scorer_with": {"language": "de"}, "under": "names", "with": {"cultures": ["german"], "count": 1, "forms": ["turned"]}}, 1),  # noqa: E501
        ("'1.234,50'", {"holds": "scored", "scorer": "numbers", "scorer_with": {"locale": "de"}}, 0),
        ("'1,234.50'", {"holds": "scored", "scorer": "numbers", "scorer_with": {"locale": "de"}}, 1),
        ("'Gern helfe ich Ihnen.'", {"holds": "scored", "scorer": "register", "scorer_with": {"language": "de"}}, 0),
        ("1 / 0", {"holds": "at_most", "words": 8}, 3),
    ],
)  # fmt: skip
def test_each_kind_of_property_holds_or_breaks(tmp_path: Path, answer: str, wanted: Any, code: int) -> None:
    assert look(tmp_path, answer, name="p", **wanted)[0] == code


def test_a_suite_without_properties_is_told_so(tmp_path: Path) -> None:
    suite = tmp_path / "s.yaml"
    suite.write_text(
        "name: s\ncases: [{input: a}]\nscorers: [{use: exact}]\ntarget: {model: m, base_url: 'http://127.0.0.1:1'}"
    )
    done = CliRunner().invoke(main, ["eval", "properties", str(suite)])
    assert done.exit_code == 2
    assert "has no `properties`" in done.stderr


YES = Rule(name="ascii", when=When(last=r"^[ -~]*$"), answer="yes")
NO = Rule(name="others", answer="no")


def http_suite(folder: Path, url: str, cases: int = 60) -> Path:
    path = folder / "loans.yaml"
    rows = [{"id": n, "input": f"{{name}} asks for a loan of {n + 1} euros."} for n in range(cases)]
    asked = {"base_url": url, "model": "lab-small"}
    path.write_text(yaml.safe_dump({"name": "loans", "target": asked, "cases": rows, "properties": [INVARIANT]}))
    return path


def test_an_endpoint_that_fails_leaves_inputs_unanswered_and_the_verdict_open(tmp_path: Path) -> None:
    faults = (PlannedFault(faults="error:500", from_call=60),)
    with LabServer(LabConfig(rules=(Rule(name="always", answer="yes"),), faults=faults)) as lab:
        suite = str(http_suite(tmp_path, lab.base_url))
        words = ["eval", "properties", suite, "--data", str(tmp_path / "d"), "--retries", "0", "--concurrency", "1"]
        done = CliRunner().invoke(main, [*words, "--json"], catch_exceptions=False)
        (found,) = json.loads(done.stdout)["properties"]
        assert (done.exit_code, found["ruling"], found["violations"]) == (3, "not resolved", 0)
        assert found["unanswered"] > found["inputs"] > 0
        assert "500" in found["first_error"]
        plain = CliRunner().invoke(main, words, catch_exceptions=False)
        assert "inputs got no answer and are in no rate. The first failure: " in plain.stdout


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_what_was_killed_or_stopped_goes_on_without_asking_again(tmp_path: Path, sign: signal.Signals) -> None:
    faults = (PlannedFault(faults="slow:0.01"),)
    with LabServer(LabConfig(rules=(YES, NO), faults=faults)) as lab:
        words = [sys.executable, "-m", "watchkeeper", "eval", "properties", str(http_suite(tmp_path, lab.base_url))]
        words += ["--json", "--concurrency", "2", "--inputs", "120", "--data", str(tmp_path / "data")]
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as below a shell's background job; it is inherited
            signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(words, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while len(lab.calls) < 80 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(sign)
        said, _ = process.communicate(timeout=60)
        before = len(lab.calls)
        if sign is signal.SIGINT:
            assert process.returncode == 130
            assert json.loads(said)["stopped"] is True
        done = subprocess.run(words, env=os.environ, capture_output=True, timeout=120, check=False)
        whole, together = json.loads(done.stdout), len(lab.calls)
        assert done.returncode == 1
        assert whole["asked"]["kept"] >= before - 2
        again = subprocess.run(words, env=os.environ, capture_output=True, timeout=120, check=False)
        assert json.loads(again.stdout)["properties"] == whole["properties"]
        assert len(lab.calls) == together
        subprocess.run([*words[:-1], str(tmp_path / "fresh")], env=os.environ, capture_output=True, check=False)
        assert together <= len(lab.calls) - together + 2, "what was under way is asked again, and nothing else"
