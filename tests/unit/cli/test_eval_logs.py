"""Inspect logs go where tables and runs go: summed up by sample and compared sample by sample."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
from click.testing import CliRunner, Result

from watchkeeper.cli import main

LOGS = Path(__file__).resolve().parents[2] / "data" / "inspect-logs"


def wk(*words: str) -> Result:
    return CliRunner().invoke(main, ["eval", *words], catch_exceptions=False)


def test_a_log_is_summed_up_by_the_names_of_its_scores() -> None:
    done = wk("summarize", str(LOGS / "sums.eval"), "--item", "id", "--score", "match", "--run", "epoch", "--json")
    (row,) = json.loads(done.stdout)
    assert (done.exit_code, row["n"], row["mean"]) == (0, 2, 0.5)


def test_two_logs_are_compared_without_naming_columns() -> None:
    done = wk("compare", str(LOGS / "sums.eval"), str(LOGS / "sums.json"), "--json")
    scores = json.loads(done.stdout)["scores"]
    assert done.exit_code == 0
    assert {each["score"]: each["comparison"]["n"] for each in scores} == {"match": 2, "includes": 2}


def test_a_score_that_the_log_does_not_have_is_told_with_those_it_has() -> None:
    done = wk("summarize", str(LOGS / "sums.json"), "--item", "id", "--score", "mtach")
    assert done.exit_code == 2 and "match, includes" in done.stderr


def test_a_broken_log_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"eval": {}, "samples": [{"no": "id"}]}')
    done = wk("summarize", str(tmp_path / "a.json"), "--item", "id", "--score", "match")
    assert done.exit_code == 2 and "no id" in done.stderr
    done = wk("compare", str(tmp_path / "a.json"), str(LOGS / "sums.json"))
    assert done.exit_code == 2 and "no id" in done.stderr


def test_a_parquet_file_is_a_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    made = f"copy (select i::double as id, i % 2 = 0 as ok from range(10) t(i)) to '{path}' (format parquet)"
    duckdb.connect().execute(made)
    done = wk("summarize", str(path), "--item", "id", "--score", "ok", "--json")
    (row,) = json.loads(done.stdout)
    assert (done.exit_code, row["n"], row["mean"]) == (0, 10, 0.5)
    path.write_bytes(b"PAR1 and no more")
    assert "no Parquet file" in wk("summarize", str(path), "--item", "id", "--score", "ok").stderr
