"""Tables of scores are read as they come, and what is wrong in them is named with its row."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.engines.experiments.tables import Columns, TableError, read_scores

PLAIN = Columns(item=("id",), score="ok")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scores"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("said", "means"),
    [("1", 1), ("0.25", 0.25), ("True", 1), ("FAIL", 0), ("yes", 1), ("", None), ("NaN", None), ("-3e2", -300)],
)
def test_a_cell_is_a_score_or_missing(tmp_path: Path, said: str, means: float | None) -> None:
    (row,) = read_scores(write(tmp_path, f"id,ok\na,{said}\n"), PLAIN)
    assert row.score == means


@pytest.mark.parametrize(("said", "means"), [(True, 1), (0, 0), (0.5, 0.5), (None, None), ("pass", 1)])
def test_a_json_value_is_a_score_or_missing(tmp_path: Path, said: Any, means: float | None) -> None:
    for text in (json.dumps({"id": 1, "ok": said}), json.dumps([{"id": 1, "ok": said}])):
        (row,) = read_scores(write(tmp_path, text), PLAIN)
        assert (row.item, row.score) == ("1", means)


def test_items_clusters_groups_runs_and_filters_come_from_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfs,t,m,r,ok,keep\nx,1,a,0,1,yes\nx,2,b,0,0,no\n"))
    columns = Columns(item=("s", "t"), score="ok", by="m", cluster=("s",), run="r", where=(("keep", "yes"),))
    (row,) = read_scores(path, columns)
    assert row == ("x / 1", "a", "x", "0", 1.0, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,ok\na,maybe\n", "row 1: ok is 'maybe'"),
        ("id,ok\na,inf\n", "infinite"),
        ("id,other\na,1\n", "no column 'ok'; it has: id, other"),
        ("id,ok\na,1,2\n", "row 1: has 3 cells"),
        ("id,ok\na\n", "row 1"),
        ("id,ok\n", "no rows"),
        ('{"id": 1, "ok": 1}\n{"id": 2,\n', "line 2: is not JSON"),
        ('{"id": 1, "ok": 1}\n[1]\n', "line 2: is list"),
        ('{"id": 1, "ok": {"a": 1}}\n', "is a dict"),
        ("[1, 2", "begins like a JSON list"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(TableError, match=says):
        read_scores(write(tmp_path, text), PLAIN)


def test_files_that_do_not_open_are_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        read_scores(tmp_path / "none", PLAIN)
    (tmp_path / "broken.gz").write_bytes(b"\x1f\x8b123")
    with pytest.raises(TableError, match="does not open"):
        read_scores(tmp_path / "broken.gz", PLAIN)
    (tmp_path / "latin").write_bytes(b"id,ok\n\xe4,1\n")
    with pytest.raises(TableError, match="UTF-8"):
        read_scores(tmp_path / "latin", PLAIN)


def test_a_filter_that_keeps_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="--where"):
        read_scores(write(tmp_path, "id,ok\na,1\n"), Columns(item=("id",), score="ok", where=(("id", "b"),)))
