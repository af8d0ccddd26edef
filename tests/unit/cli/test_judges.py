"""`judge audit` reads anybody's judgments, finds its columns, and says which it could not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from watchkeeper.cli import main

ROWS = "evaluator,label,winner_noswap,winner_swap,part\na,1,1,1,x\na,2,2,1,x\nb,1,,2,x\nb,2,1,1,y\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "judgments.csv"
    path.write_text(ROWS)
    return path


def wk(*words: str) -> Result:
    return CliRunner().invoke(main, ["judge", "audit", *words], catch_exceptions=False)


def test_each_judge_is_audited(file: Path) -> None:
    a, b = json.loads(wk(str(file), "--json").stdout)
    assert (a["judge"], a["pairs"], a["right"]["value"]) == ("a", 2, 0.75)
    assert (b["judge"], b["unreadable"], b["right"]["value"]) == ("b", 1, 0)
    assert "could not be read" in wk(str(file)).stdout


def test_columns_are_named_and_rows_filtered(file: Path) -> None:
    words = ("--verdict", "winner_swap", "--label", "label", "--by", "part", "--where", "part=y", "--json")
    (found,) = json.loads(wk(str(file), *words).stdout)
    assert (found["judge"], found["pairs"]) == ("y", 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--label", "gold"), "no column 'gold'; it has: evaluator"),
        (("--by", "none"), "no column 'none'"),
        (("--where", "part=z"), "keeps"),
        (("--where", "none=z"), "no column 'none'"),
        (("--label", "part"), "expected 1 or 2"),
        (("--verdict", "part"), "part is 'x', expected 1 or 2"),
    ],
)
def test_what_is_wrong_is_told(file: Path, words: tuple[str, ...], says: str) -> None:
    done = wk(str(file), *words)
    assert done.exit_code == 2
    assert says in done.output


def test_a_judge_is_corrected_by_labels(tmp_path: Path) -> None:
    path = tmp_path / "scored.csv"
    rows = [(i, m, int(i % 3 > 0), int(i % 2) if i % 4 < 2 else "") for i in range(80) for m in ("old", "new")]
    path.write_text("id,m,j,y\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    words = ("judge", "estimate", str(path), "--item", "id", "--score", "j", "--label", "y", "--by", "m")
    done = CliRunner().invoke(main, [*words, "--json"], catch_exceptions=False)
    new, old = json.loads(done.stdout)
    assert (new["group"], old["labelled"], old["unlabelled"]) == ("new", 40, 40)
    assert new["estimate"]["low"] < 0.5 < new["estimate"]["high"]
    (apart,) = json.loads(CliRunner().invoke(main, [*words, "--a", "old", "--b", "new", "--json"]).stdout)
    assert apart["estimate"]["value"] == 0
    assert "labels alone" in CliRunner().invoke(main, list(words)).stdout
    assert CliRunner().invoke(main, [*words, "--a", "old"]).exit_code == 2


def test_single_answers_and_places_are_told(tmp_path: Path) -> None:
    path = tmp_path / "judgments.csv"
    path.write_text("label,verdict,verdict_swapped\n" + "1,1,2\n2,2,1\n" * 10)
    (found,) = json.loads(wk(str(path), "--as-shown", "--json").stdout)
    assert found["consistent"]["value"] == 1
    path.write_text("label,verdict\n" + "1,1\n0,1\n0,0\n" * 10)
    assert "passes what people fail: 50.0%" in wk(str(path)).stdout


def test_orders_stand_beside_the_rest_without_labels(tmp_path: Path) -> None:
    path = tmp_path / "judgments.csv"
    path.write_text("verdict,verdict_swapped\n" + "1,2\n" * 10)
    (found,) = json.loads(wk(str(path), "--json").stdout)
    assert (found["consistent"]["value"], found["order_bias"]["value"], found["flags"]) == (0, 1, ["order bias"])
    assert "+100.0%" in wk(str(path)).stdout
