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


def test_a_written_map_is_named_by_its_content_and_says_when_a_route_takes_it_as_stale(tmp_path: Path) -> None:
    path, out = written(tmp_path / "a.jsonl", {"sums": 50, "dates": 5}), tmp_path / "map.json"
    done = CliRunner().invoke(main, ["eval", "map", path, *CELLS, "--out", str(out), "--json"])
    assert "do not say which composition" in done.stderr
    written_map = json.loads(out.read_bytes())
    assert written_map["digest"] == json.loads(done.stdout)["digest"]
    assert (written_map["score"], written_map["columns"]) == ("right", ["family"])
    again = CliRunner().invoke(main, ["eval", "map", path, *CELLS, "--bar", "0.7", "--out", str(out), "--json"])
    assert json.loads(again.stdout)["digest"] != written_map["digest"]


def test_a_composition_that_the_record_does_not_know_is_told(tmp_path: Path) -> None:
    path, out = written(tmp_path / "a.jsonl", {"sums": 50}), tmp_path / "map.json"
    words = ["--out", str(out), "--composition", "ab12", "--data", str(tmp_path / "data")]
    done = CliRunner().invoke(main, ["eval", "map", path, *CELLS, *words])
    assert done.exit_code == 0 and "does not know the composition ab12" in done.stderr
    assert json.loads(out.read_bytes())["compositions"] == [{"digest": "ab12", "components": {}}]


def test_the_page_has_the_grid(tmp_path: Path) -> None:
    path, html = written(tmp_path / "a.jsonl", {"sums": 50, "dates": 5}), tmp_path / "map.html"
    assert CliRunner().invoke(main, ["eval", "map", path, *CELLS, "--html", str(html)]).exit_code == 1
    page = html.read_text()
    assert 'class="heat"' in page and ">fails<" in page and ">passes<" in page


def test_the_share_of_live_calls_is_that_of_the_cells_that_they_declare(tmp_path: Path) -> None:
    path, out = written(tmp_path / "a.jsonl", {"sums": 50, "dates": 5}), tmp_path / "map.json"
    CliRunner().invoke(main, ["eval", "map", path, *CELLS, "--out", str(out)])
    rows = [{"attributes": {"watchkeeper.feature.family": "dates"}}, {"metadata": {"family": "sums"}},
            {"family": "sums"}, {"attributes": {"other": 1}}]  # fmt: skip
    live = tmp_path / "live.jsonl"
    live.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = CliRunner().invoke(main, ["eval", "map", "share", str(out), str(live), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["calls"], told["failing"]["value"], told["passing"]["value"]) == (4, 0.25, 0.5)
    assert told["busiest"] == [[["dates"], "failing", 1], [["unknown"], "unmeasured", 1]]


def test_a_file_that_is_no_map_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", {"sums": 50})
    done = CliRunner().invoke(main, ["eval", "map", "share", path, path])
    assert done.exit_code == 2 and "is no map" in done.output
