"""The behaviour command names the consumer that breaks, and a file that cannot be used."""

import json
from pathlib import Path

from click.testing import CliRunner

from watchkeeper.cli import main


def written(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"output": text, "user": f"u{n % 7}"}) + "\n" for n, text in enumerate(texts)))
    return str(path)


def test_a_consumer_that_breaks_is_exit_code_one(tmp_path: Path) -> None:
    a = written(tmp_path / "a.jsonl", [f"Total: {n}" for n in range(30)])
    b = written(tmp_path / "b.jsonl", [f"```\nTotal is {n}\n```" for n in range(30)])
    consumers = tmp_path / "c.toml"
    consumers.write_text('[[consumers]]\nname = "ledger"\nregex = "Total: [0-9]+"\n')
    done = CliRunner().invoke(main, ["eval", "behaviour", a, b, "--consumers", str(consumers), "--sunset", "--json"])
    assert done.exit_code == 1, done.output
    found = json.loads(done.output)
    assert found["consumers"][0]["verdict"] == "breaks"
    assert found["sunset"]["stages"]
    assert (
        "ledger: breaks" in CliRunner().invoke(main, ["eval", "behaviour", a, b, "--consumers", str(consumers)]).output
    )


def test_equal_sides_are_exit_code_zero(tmp_path: Path) -> None:
    a = written(tmp_path / "a.jsonl", [f"Total: {n}" for n in range(30)])
    done = CliRunner().invoke(main, ["eval", "behaviour", a, a])
    assert done.exit_code == 0
    assert "features differs" in done.output


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["eval", "behaviour", str(tmp_path / "x"), str(tmp_path / "y")])
    assert done.exit_code == 2
    assert "cannot be read" in done.output
