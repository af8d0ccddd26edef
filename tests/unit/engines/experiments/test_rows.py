"""Rows come out of anybody's files the same, whatever wrote them, and what cannot be read is told with its place."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from watchkeeper.engines.experiments.rows import TableError, rows_of
from watchkeeper.engines.experiments.tables import Columns, read_scores


def scores(tmp_path: Path, raw: bytes, **columns: object) -> list[tuple[str | None, float | None]]:
    path = tmp_path / "t"
    path.write_bytes(raw)
    return [(row.item, row.score) for row in read_scores(path, Columns(**{"item": ("id",), "score": "ok", **columns}))]


SAME = [("a", 1.0), ("b", 0.5)]


@pytest.mark.parametrize(
    "raw",
    [
        b"id,ok\na,1\nb,0.5\n",
        b"id,ok\r\na,1\r\nb,0.5\r\n",
        b"id,ok\ra,1\rb,0.5\r",
        b"\xef\xbb\xbfid,ok\na,1\nb,0.5",
        "id,ok\na,1\nb,0.5\n".encode("utf-16"),
        "id,ok\na,1\nb,0.5\n".encode("utf-16-le"),
        "id,ok\na,1\nb,0.5\n".encode("utf-16-be"),
        b"id,ok\na,1,\nb,0.5,,\n",
        b"id;ok\na;1\nb;0,5\n",
        b"id\tok\na\t1\nb\t0.5\n",
        b"id|ok\na|1\nb|0.5\n",
        b'"id" , "ok"\n'.replace(b" ", b"") + b'"a","1"\n"b","0.5"\n',
        b'id,note,ok\na,"two\nlines, and a comma",1\nb,"she said ""no""",0.5\n',
        b"\n\nid,ok\n\na,1\n\nb,0.5\n\n",
        b'{"id": "a", "ok": 1}\n\n{"id": "b", "ok": "0.5"}\n',
        b'{"id": "a", "ok": true}\r{"ok": 0.5, "id": "b"}\r',
        b' [{"id": "a", "ok": 1}, {"id": "b", "ok": 0.5}]',
        gzip.compress(b"id,ok\na,1\nb,0.5\n", mtime=0),
        gzip.compress(b"id,ok\na,1\n", mtime=0) + gzip.compress(b"b,0.5\n", mtime=0),
    ],
)
def test_all_these_are_one_table(tmp_path: Path, raw: bytes) -> None:
    assert scores(tmp_path, raw) == SAME


def test_values_inside_others_are_named_with_dots(tmp_path: Path) -> None:
    raw = b'{"id": "a", "info": {"r": [{"ok": 1}]}}\n{"id": "b", "info": {}}\n'
    assert scores(tmp_path, raw, score="info.r.0.ok") == [("a", 1.0), ("b", None)]
    assert scores(tmp_path, b"id,info.ok\na,1\n", score="info.ok") == [("a", 1.0)]


def test_a_column_that_some_lines_lack_is_missing_there_and_one_that_all_lack_is_refused(tmp_path: Path) -> None:
    assert scores(tmp_path, b'{"id": 1, "ok": NaN}\n{"id": 2}\n{"ok": 1}\n') == [("1", None), ("2", None), (None, 1.0)]
    with pytest.raises(TableError, match="no column 'ok'; it has: id, other"):
        scores(tmp_path, b'{"id": 1}\n{"id": 2, "other": 1}\n')


def test_numbers_are_one_name_whatever_wrote_them(tmp_path: Path) -> None:
    assert scores(tmp_path, b'{"id": 7, "ok": 1}\n{"id": 7.0, "ok": 1}\n{"id": "7", "ok": 1}\n') == [("7", 1.0)] * 3
    assert scores(tmp_path, b"id,ok\n7.0,1\n7,1\n") == [("7", 1.0)] * 2
    assert [item for item, _ in scores(tmp_path, b"id,ok\n1.10,1\nv1.0,1\n01.0,1\n")] == ["1.10", "v1.0", "01.0"]


def test_names_of_several_columns_are_not_mixed_up(tmp_path: Path) -> None:
    raw = b'{"x": "a / b", "y": "c", "ok": 1}\n{"x": "a", "y": "b / c", "ok": 1}\n{"x": "", "y": null, "ok": 1}\n'
    names = [item for item, _ in scores(tmp_path, raw, item=("x", "y"))]
    assert len(set(names)) == 3
    assert names[2] is None


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ((("f", "true"),), "ac"),
        ((("f", "True"),), "ac"),
        ((("n", "1"),), "ab"),
        ((("n", "1.0"),), "ab"),
        ((("n", "1"), ("f", "true")), "a"),
        ((("n", "1"), ("n", "2")), "abc"),
        ((("n!", "1"),), "cd"),
        ((("n", ""),), "d"),
        ((("f", "ja"),), "d"),
    ],
)
def test_filters_compare_values_and_not_spellings(
    tmp_path: Path, where: tuple[tuple[str, str], ...], kept: str
) -> None:
    raw = (
        '{"id": "a", "ok": 1, "n": 1, "f": true}\n{"id": "b", "ok": 1, "n": "1.0", "f": "False"}\n'
        '{"id": "c", "ok": 1, "n": 2, "f": "TRUE"}\n{"id": "d", "ok": 1, "f": "ja"}\n'
    )
    assert "".join(item or "" for item, _ in scores(tmp_path, raw.encode(), where=where)) == kept


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"id,ok,ok\na,1,1\n", "two columns 'ok'"),
        (b"id,ok\na,1,5\n", "row 1: has 3 cells, where the head has 2"),
        (b"id,ok\na,85%\n", "85% as 0.85"),
        (b"id,ok\na,1e999\n", "infinite"),
        (b"id,ok\na,1_000\n", "no score"),
        (b"id,ok\na,1,000\n", "row 1"),
        (b'{\n "id": 1\n}\n', "not one over many lines"),
        (b'{"id": 1, "ok": [1]}\n', "named with a dot"),
        (b'{"id": 1, "ok": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deep"),
        (b'"just text"', "no rows"),
        (b"", "no rows"),
        (gzip.compress(b"id,ok\na,1\n", mtime=0)[:-9], "does not open"),
        (b"id,ok\na,\xff\xfe\n", "UTF-8"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(tmp_path: Path, raw: bytes, says: str) -> None:
    with pytest.raises(TableError, match=says):
        scores(tmp_path, raw)


def test_a_folder_is_no_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        list(rows_of(tmp_path))
