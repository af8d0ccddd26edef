"""The exercise can be played as it is written: its first suite passes on its own agent."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from watchkeeper.lab.exercise import write_exercise, write_own_exercise


def test_the_agent_gives_the_answers_of_its_traces(tmp_path: Path) -> None:
    write_exercise(tmp_path / "kit", floor=0.8)
    suite = runpy.run_path(str(tmp_path / "kit" / "suite.py"))
    traces = [json.loads(line) for line in (tmp_path / "kit" / "traces.jsonl").read_text().splitlines()]
    assert len(traces) == len({each["input"] for each in traces}) == 40
    for each in traces:
        assert suite["target"]([{"role": "user", "content": each["input"]}]) == each["expected"]
    assert "below 0.8" in (tmp_path / "kit" / "EXERCISE.md").read_text()


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        write_own_exercise(tmp_path, {"model": "m"}, [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
