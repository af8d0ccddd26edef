"""A suite is graded by planted defects: exact match kills few, properties add, always failing earns nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from watchkeeper.cli import main

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


def graded(folder: Path, expected: str, properties: Any) -> tuple[int, Any]:
    suite = folder / "desk.py"
    suite.write_text(SUITE.replace("EXPECTED", repr(expected)).replace("PROPERTIES", repr(properties)))
    words = ["eval", "mutants", str(suite), "--json", "--data", str(folder / "d"), "--inputs", "60"]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


def test_properties_catch_brittleness_that_exact_match_cannot_see(tmp_path: Path) -> None:
    right = "It arrives on 2026-03-05 after 30 km."
    alone = graded(tmp_path, right, [])[1]
    code, both = graded(tmp_path, right, SAME)
    assert alone["by_defect"]["brittle"][0] == 0
    assert both["by_defect"]["brittle"][0] == both["by_defect"]["brittle"][1] > 0
    assert both["gain"]["low"] > 0
    assert (code, both["false_alarms"]) == (0, 0)


def test_a_suite_that_always_fails_gets_no_credit(tmp_path: Path) -> None:
    code, told = graded(tmp_path, "nothing is right", [])
    assert (code, told["credit"]["value"]) == (1, 0.0)
    assert told["false_alarms"] == told["controls"]
