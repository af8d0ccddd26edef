"""Cases from Parquet files and from recorded traffic, each with where it comes from."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml
from click.testing import CliRunner, Result

from watchkeeper.cli import main

TARGET = """
from watchkeeper.engines.experiments.suite import *
suite = Suite(name="s", scorers=(Use(use="exact"),), FIELDS)
def target(messages):
    return "yes" if "2" in messages[-1]["content"] else "no"
"""


def wk(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--data", str(folder / "data")], catch_exceptions=False)


def run(folder: Path, fields: str, *words: str) -> Result:
    (folder / "s.py").write_text(TARGET.replace("FIELDS", fields))
    return wk(folder, "eval", "run", str(folder / "s.py"), "--out", str(folder / "out.jsonl"), *words)


def out(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]


def test_a_parquet_file_is_a_dataset_and_other_columns_are_attributes(tmp_path: Path) -> None:
    duckdb.sql(
        "COPY (SELECT * FROM (VALUES (1, 'is it 1?', 'no', 'de', 0.5::DOUBLE), (2, 'is it 2?', 'yes', 'fr', NULL)) "
        f"t(id, input, expected, locale, weight)) TO '{tmp_path}/cases.parquet' (FORMAT parquet)"
    )
    done = run(tmp_path, "dataset='cases.parquet'", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["summary"]["exact"]["value"] == 1.0
    (row,) = [r for r in json.loads(wk(tmp_path, "ask", "cases", "--json").stdout)["items"] if r["case_id"] == "s/1"]
    assert row["attributes"]["locale"] == "de"


@pytest.mark.parametrize(
    ("content", "says"), [(b"no parquet at all", "no Parquet file"), (None, "there is no such dataset")]
)
def test_a_parquet_file_that_is_none_is_told(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "cases.parquet").write_bytes(content)
    done = run(tmp_path, "dataset='cases.parquet'")
    assert done.exit_code == 2 and says in done.stderr


@pytest.fixture
def house(tmp_path: Path) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"is it {n}?"},
                {"role": "assistant", "content": "yes" if n == 2 else "no"},
            ],
            "model": "gpt-4o" if n % 2 else "other",
            "session": f"s{n // 4}",
            "timestamp": time.time_ns() - 10**9,
        }
        for n in range(12)
    ]
    (tmp_path / "week.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert wk(tmp_path, "import", str(tmp_path / "week.jsonl")).exit_code == 0
    return tmp_path


def test_recorded_traffic_is_a_dataset_with_what_was_answered_then(house: Path) -> None:
    done = run(house, "recorded=Recorded(since='1d', n=5, expect='recorded')")
    assert done.exit_code == 0, done.stderr
    rows = out(house)
    assert len(rows) == 5 and all(row["case_id"].startswith("span:") for row in rows)
    first = [row["case_id"] for row in rows]
    run(house, "recorded=Recorded(since='1d', n=5, expect='recorded')")
    assert [row["case_id"] for row in out(house)] == first
    run(house, "recorded=Recorded(since='1d', n=5, seed=1)")
    assert [row["case_id"] for row in out(house)] != first


def test_only_what_fits_is_taken_and_nothing_found_is_told(house: Path) -> None:
    run(house, "recorded=Recorded(since='1d', model='gpt-4o', n=100)")
    assert len(out(house)) == 6
    done = run(house, "recorded=Recorded(since='1d', model='none')")
    assert done.exit_code == 2 and "0 chat calls" in done.stderr


def test_a_wrong_key_of_recorded_is_told_with_its_neighbours(tmp_path: Path) -> None:
    suite = {"name": "s", "scorers": [{"use": "exact"}], "target": {"model": "m", "base_url": "http://127.0.0.1:9/v1"}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({**suite, "recorded": {"sinse": "1d"}}))
    done = wk(tmp_path, "eval", "run", str(tmp_path / "s.yaml"))
    assert done.exit_code == 2 and "did you mean `since`?" in done.stderr
