"""The formats command: advice for each task, exit code 3 where one is not resolved, and no other interface."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from watchkeeper.cli import main
from watchkeeper.lab.provider import LabConfig
from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.serving import LabServer
from watchkeeper.lab.tiny import trials


def wk(folder: Path, *words: str) -> Result:
    command = ["eval", "formats", *words, "--data", str(folder / "data")]
    return CliRunner().invoke(main, command, catch_exceptions=False)


def suite(folder: Path, url: str, cases: int = 60, **target: Any) -> str:
    path = folder / "suite.yaml"
    rows = [{"id": n, "input": f"word w{n}", "expected": f"w{n}", "attributes": {"task": "t"}} for n in range(cases)]
    asked = {"base_url": url, "model": "lab-small", **target}
    path.write_text(
        yaml.safe_dump({"name": "s", "target": asked, "scorers": [{"use": "exact"}], "cases": rows, "margin": 0.15})
    )
    return str(path)


WORD = r"word (?P<word>\w+)"
RULES = (
    Rule(
        name="second", when=When(system="Put the answer", last=r"Answer: (?P<word>\w+)"), answer='{"answer": "$word"}'
    ),
    Rule(name="keyed", when=When(system="one key", last=WORD), answer='{"answer": "?"}'),
    Rule(name="reasoned", when=When(system="two keys", last=WORD), answer='{"reasoning": "r", "answer": "$word"}'),
    Rule(name="free", when=When(last=WORD), answer="Answer: $word"),
)


def test_forms_over_http_have_their_rows_and_each_task_its_advice(tmp_path: Path) -> None:
    with LabServer(LabConfig(rules=RULES)) as lab:
        done = wk(tmp_path, suite(tmp_path, lab.base_url), "--task", "task", "--json")
        assert done.exit_code == 0
        found = json.loads(done.stdout)
        rows = {row["form"]: row for row in found["rows"]}
        assert {form: row["verdict"] for form, row in rows.items()} == {
            "free": None,
            "json": "worse",
            "strict": "worse",
            "two pass": "equivalent",
            "reasoning first": "equivalent",
        }
        assert all(row["valid"]["value"] == 1 for row in rows.values())
        assert rows["two pass"]["input_tokens"] > rows["free"]["input_tokens"]
        assert found["advice"][0]["form"] == "reasoning first"
        assert "lab" in found["measured_on"]
        plain = wk(tmp_path, suite(tmp_path, lab.base_url))
        assert "all: reasoning first." in plain.stdout
        few = wk(tmp_path, suite(tmp_path, lab.base_url, 4))
        assert few.exit_code == 3
        assert "all: not resolved." in few.stdout


def test_an_interface_without_response_format_is_refused(tmp_path: Path) -> None:
    done = wk(tmp_path, suite(tmp_path, "http://127.0.0.1:9/v1", api="anthropic"))
    assert done.exit_code == 2
    assert "`target.api` is 'anthropic'" in done.stderr


def test_a_target_that_never_answers_is_not_resolved(tmp_path: Path) -> None:
    with LabServer(LabConfig()) as lab:
        done = wk(tmp_path, suite(tmp_path, lab.base_url, 5), "--retries", "0")
    assert done.exit_code == 3
    assert "25 calls failed" in done.stdout


def test_without_log_probabilities_what_masks_took_is_not_measured(tmp_path: Path) -> None:
    with LabServer(LabConfig(rules=RULES)) as lab:
        path = suite(tmp_path, lab.base_url, 4)
        assert "they are asked for with --masked" in wk(tmp_path, path).stdout
        assert "the replies carried none" in wk(tmp_path, path, "--masked").stdout


def test_on_a_real_small_model_what_masks_took_is_told(tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    with LabServer(LabConfig()) as lab:
        path = trials.suite(
            tmp_path, lab.base_url, "small", trials.cases(trials.problems("sums", (1, 3), 12, 1)), seed=1
        )
        done = wk(tmp_path, path, "--masked")
    assert done.exit_code in (0, 3)
    assert "not measured" not in done.stdout
    assert ", strict: where more was masked " in done.stdout


def test_the_data_directory_is_whole_from_its_first_kept_answer(tmp_path: Path) -> None:
    """Answers were once kept in a directory that no other command then took for one of ours."""
    with LabServer(LabConfig(rules=RULES)) as lab:
        path = suite(tmp_path, lab.base_url, 4)
        wk(tmp_path, path)
        done = CliRunner().invoke(main, ["eval", "run", path, "--data", str(tmp_path / "data")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
