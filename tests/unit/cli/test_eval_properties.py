"""Properties on the command line: a planted dependence is found and made small, an invariant system passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from watchkeeper.cli import main

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
