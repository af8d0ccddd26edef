"""The overclaim command counts two by two, and says what a file lacks."""

import json
from pathlib import Path

from click.testing import CliRunner

from watchkeeper.cli import main

FACT = "Lamps can be returned within 30 days of delivery"


def test_right_answers_with_fake_sources_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"output": f"{FACT} [{cited}].\nAnswer: 30 days", "expected": "30 days", "who": who,
         "sources": [{"document": "returns.md", "text": f"{FACT}."}]}
        for cited, who in (("returns.md", "new"), ("other.md", "expert"))
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = CliRunner().invoke(main, ["eval", "overclaim", str(path), "--by", "who", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert [each["right_unsupported"] for each in found["tables"]] == [1, 1, 0]
    assert found["faults"] == {"fake_source": 1}
    assert "fake_source: 1" in CliRunner().invoke(main, ["eval", "overclaim", str(path)]).output


def test_a_column_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"output": "a"}\n')
    done = CliRunner().invoke(main, ["eval", "overclaim", str(path), "--by", "who"])
    assert done.exit_code == 2
    assert "who" in done.output
