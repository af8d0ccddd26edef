"""Tasks in turns: a system that guesses early is told to be less reliable; one that is the same in both is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from watchkeeper.cli import main

SUITE = """
import random
rng = random.Random(9)
suite = {
    "name": "sums",
    "cases": [
        {"id": n, "input": f"I have {n} apples. I eat 2 of them. How many are left?", "expected": "right"}
        for n in range(20)
    ],
    "scorers": [{"use": "exact"}],
}
def target(messages):
    turns = sum(m["role"] == "user" for m in messages)
    return "right" if rng.random() < CHANCE else "wrong"
"""


def stressed(folder: Path, chance: str) -> tuple[int, Any]:
    suite = folder / "sums.py"
    suite.write_text(SUITE.replace("CHANCE", chance))
    words = ["eval", "stress", str(suite), "--json", "--data", str(folder / "d")]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


def test_a_system_that_gets_lost_in_turns_is_less_reliable_and_no_less_apt(tmp_path: Path) -> None:
    code, told = stressed(tmp_path, "(1.0 if turns == 1 else 0.5)")
    assert code == 1
    assert told["unreliability_change"]["low"] > 0.5
    assert told["whole"]["unreliability"]["value"] == 0.0
    assert told["sharded"]["aptitude"]["value"] > 0.9


def test_a_system_that_is_the_same_in_turns_is_quiet(tmp_path: Path) -> None:
    assert stressed(tmp_path, "0.5")[0] == 0
