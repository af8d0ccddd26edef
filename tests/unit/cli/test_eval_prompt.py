"""The commands for a prompt's clauses: they tell, refuse, write only what passed, and end as documented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main

PROMPT = "You are the desk. Be kind.\n\n- Always state the order number.\n- Answer in at most 40 words.\n"
SUITE = """
from watchkeeper.engines.experiments.suite import Item, Suite, Use
suite = Suite(
    name="returns",
    cases=tuple(Item(id=n, input=str(n), expected=str(n)) for n in range(120)),
    scorers=(Use(use="exact"),),
)
def target(messages):
    n = int(messages[-1]["content"])
    return str(n) if "order number" in messages[0]["content"] or n % 2 else "?"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompt.txt").write_text(PROMPT)
    (tmp_path / "returns.py").write_text(SUITE)
    return tmp_path


def wk(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["eval", "prompt", *words, "--data", str(folder / "data")], catch_exceptions=False)


def told(folder: Path, command: str, *words: str, margin: str = "0.1") -> tuple[int, dict[str, Any]]:
    suite, prompt = str(folder / "returns.py"), str(folder / "prompt.txt")
    done = wk(folder, command, suite, "--prompt", prompt, "--margin", margin, *words, "--json")
    return done.exit_code, json.loads(done.stdout)


def test_a_profile_names_the_clause_that_carries_the_score(folder: Path) -> None:
    code, found = told(folder, "profile")
    assert code == 0
    roles = {clause["text"]: clause["role"] for clause in found["clauses"]}
    assert roles == {
        "You are the desk.": "neutral",
        "Be kind.": "neutral",
        "- Always state the order number.": "load-bearing",
        "- Answer in at most 40 words.": "neutral",
    }
    assert found["cases"] == 120
    assert "no model" in found["measured_on"]
    words = next(clause["adherence"] for clause in found["clauses"] if "40" in clause["text"])
    assert words["kept"]["value"] == 1
    plain = wk(folder, "profile", str(folder / "returns.py"), "--prompt", str(folder / "prompt.txt"), "--margin", "0.1")
    assert "load-bearing" in plain.stdout


def test_trimming_writes_the_shorter_prompt_and_refuses_what_carries_it(folder: Path) -> None:
    out = folder / "short.txt"
    code, ruling = told(folder, "trim", "--out", str(out))
    assert (code, ruling["passed"]) == (0, True)
    assert out.read_text().strip() == "- Always state the order number."
    named = {clause["text"]: clause["clause_id"] for clause in told(folder, "profile")[1]["clauses"]}
    gone = named["- Always state the order number."]
    code, ruling = told(folder, "trim", "--drop", gone, "--out", str(folder / "none.txt"))
    assert (code, ruling["passed"]) == (1, False)
    assert not (folder / "none.txt").exists()


def test_what_the_cases_cannot_say_is_not_resolved(folder: Path) -> None:
    code, ruling = told(folder, "trim", "--drop", _id(folder, "Be kind."), margin="0.001")
    assert (code, ruling["passed"]) == (3, None)


def test_a_prompt_that_grew_needs_evidence(folder: Path) -> None:
    grown = folder / "grown.txt"
    grown.write_text(PROMPT + "- Think of the weather.\n")
    old, suite = str(folder / "prompt.txt"), str(folder / "returns.py")
    assert wk(folder, "gate", old, str(grown)).exit_code == 1
    assert wk(folder, "gate", old, str(grown), "--suite", suite, "--margin", "0.1").exit_code == 1
    assert wk(folder, "gate", old, str(grown), "--allow-growth", "0.5").exit_code == 0
    assert wk(folder, "gate", old, old).exit_code == 0


def test_the_lint_lists_clauses_and_asks_nobody(folder: Path) -> None:
    found = json.loads(wk(folder, "lint", str(folder / "prompt.txt"), "--json").stdout)
    assert len(found["clauses"]) == 4
    assert found["finds"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("profile", "returns.py", "--prompt", "prompt.txt"), "--margin DIFFERENCE"),
        (("profile", "returns.py", "--margin", "0.1"), "no system message"),
        (("profile", "returns.py", "--prompt", "prompt.txt", "--margin", "0.1", "--score", "x"), "No scorer gives 'x'"),
        (("trim", "returns.py", "--prompt", "prompt.txt", "--margin", "0.1", "--drop", "c-1"), "no clause 'c-1'"),
        (("lint", "nowhere.txt"), "cannot be read"),
        (("profile", "nowhere.py", "--margin", "0.1"), "there is no such file"),
    ],
)
def test_what_cannot_be_used_is_told(
    folder: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    done = wk(folder, *words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_target_that_fails_half_the_time_is_told_and_its_cases_are_left_out(folder: Path) -> None:
    (folder / "returns.py").write_text(
        SUITE.replace("    n = int(", "    if int(messages[-1]['content']) % 2: 1 / 0\n    n = int(")
    )
    code, found = told(folder, "profile")
    assert code == 0
    assert found["failed"] == found["arms"] * 60
    assert found["cases"] == 60


def _id(folder: Path, text: str) -> str:
    found = json.loads(wk(folder, "lint", str(folder / "prompt.txt"), "--json").stdout)
    return str(next(clause["clause_id"] for clause in found["clauses"] if clause["text"] == text))


def test_what_a_prompt_holds_cannot_drive_the_terminal(folder: Path) -> None:
    (folder / "odd.txt").write_text("- Answer in at most 40 words \x1b[2J.\n- Answer in at least 90 words.\n")
    assert "\x1b" not in wk(folder, "lint", str(folder / "odd.txt")).stdout
