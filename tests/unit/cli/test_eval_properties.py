"""Properties from the command line: exit codes, JSON, and counterexamples that become cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main

SUITE = """
from watchkeeper.engines.experiments.suite import *
suite = Suite(
    name="loans",
    cases=tuple(Item(id=n, input=f"The loan of Anna, income {n}.", expected="granted") for n in range(100)),
    scorers=(Use(use="exact"),),
    PROPERTIES
)
def target(messages):
    text = messages[-1]["content"]
    return "granted" if ANSWER else "refused"
"""


def wk(folder: Path, answer: str, uses: str, *words: str) -> Result:
    (folder / "s.py").write_text(SUITE.replace("ANSWER", answer).replace("PROPERTIES", uses))
    command = ["eval", "properties", str(folder / "s.py"), "--data", str(folder / "data"), *words]
    return CliRunner().invoke(main, command, catch_exceptions=False)


NAMES = "properties=(PropertyUse(use='names'),),"


@pytest.mark.parametrize(("answer", "code", "verdict"), [("True", 0, "holds"), ("text.isascii()", 1, "violated")])
def test_the_exit_code_is_the_verdict(tmp_path: Path, answer: str, code: int, verdict: str) -> None:
    done = wk(tmp_path, answer, NAMES, "--json", "--reruns", "5")
    (found,) = json.loads(done.stdout)["properties"]
    assert (done.exit_code, found["verdict"]) == (code, verdict)


def test_counterexamples_are_told_and_written_as_cases(tmp_path: Path) -> None:
    out = tmp_path / "more.jsonl"
    done = wk(tmp_path, "text.isascii()", NAMES, "--out", str(out), "--reruns", "5")
    assert "violated" in done.stdout and "broken in 100% of 5 reruns" in done.stdout
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 3 and all(
        row["expected"] == "granted" and row["origin"] == "property:names same" for row in rows
    )


@pytest.mark.parametrize(
    ("uses", "says"),
    [
        ("", "has no `properties`"),
        ("properties=(PropertyUse(use='name'),),", "known are: names, perturb"),
        ("properties=(PropertyUse(use='perturb', parameters={'edits': 0}),),", "edits"),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path: Path, uses: str, says: str) -> None:
    done = wk(tmp_path, "True", uses)
    assert done.exit_code == 2 and says in done.stderr
