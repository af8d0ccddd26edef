"""The map commands tell failing and lost cells by their exit code."""

import json
from pathlib import Path

from click.testing import CliRunner

from watchkeeper.cli import main

CELLS = ("--by", "family", "--score", "right")


def written(path: Path, rates: dict[str, int]) -> str:
    rows = [{"id": f"{f}{n}", "family": f, "right": int(n < right)} for f, right in rates.items() for n in range(50)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_file_alone_is_drawn(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", {"sums": 50, "dates": 5})
    done = CliRunner().invoke(main, ["eval", "map", path, *CELLS, "--json"])
    assert done.exit_code == 1, done.output
    assert {tuple(c["cell"]): c["state"] for c in json.loads(done.output)["cells"]} == {
        ("sums",): "passing",
        ("dates",): "failing",
    }


def test_a_lost_cell_is_exit_code_one(tmp_path: Path) -> None:
    a, b = written(tmp_path / "a.jsonl", {"sums": 45}), written(tmp_path / "b.jsonl", {"sums": 20})
    assert CliRunner().invoke(main, ["eval", "map", "diff", a, b, *CELLS]).exit_code == 1
    assert CliRunner().invoke(main, ["eval", "map", "diff", a, a, *CELLS]).exit_code == 0


def test_an_order_of_another_column_is_an_error(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", {"sums": 50})
    done = CliRunner().invoke(main, ["eval", "map", path, *CELLS, "--order", "x=a,b"])
    assert done.exit_code == 2
    assert "COL=EASY,HARD" in done.output
