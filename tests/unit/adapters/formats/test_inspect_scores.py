"""Scores out of Inspect logs: archive and JSON say the same, and what is missing is a row and not a gap."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from watchkeeper.adapters.formats.inspect_scores import BadLog, is_inspect_log, rows_of_log, scores_of_log

LOGS = Path(__file__).resolve().parents[3] / "data" / "inspect-logs"


def log(path: Path, samples: list[dict[str, Any]], **head: Any) -> Path:
    path.write_text(json.dumps({"version": 2, "eval": {"task": "t", "model": "m", **head}, "samples": samples}))
    return path


def sample(name: Any, value: Any, epoch: int = 1, **fields: Any) -> dict[str, Any]:
    return {"id": name, "epoch": epoch, "scores": {"match": {"value": value}}, **fields}


def test_an_archive_and_its_json_say_the_same() -> None:
    rows = rows_of_log(LOGS / "sums.eval")
    assert sorted(rows, key=str) == sorted(rows_of_log(LOGS / "sums.json"), key=str)
    assert {row["id"]: (row["match"], row.get("metadata.kind")) for row in rows} == {
        "sum": (1.0, "sum"),
        "2": (0.0, None),
    }
    assert scores_of_log(LOGS / "sums.eval") == ("match", "includes")


@pytest.mark.parametrize(
    ("value", "number"), [("C", 1.0), ("P", 0.5), ("I", 0.0), ("N", 0.0), (True, 1.0), (0.25, 0.25), ("odd", "odd")]
)
def test_letters_count_as_in_inspect_s_own_metrics(tmp_path: Path, value: Any, number: Any) -> None:
    (row,) = rows_of_log(log(tmp_path / "a.json", [sample("a", value)]))
    assert row["match"] == number


def test_what_was_planned_and_is_not_there_is_a_row_without_scores(tmp_path: Path) -> None:
    planned = {"dataset": {"sample_ids": ["a", "b"]}, "config": {"epochs": 2}}
    rows = rows_of_log(
        log(tmp_path / "a.json", [sample("a", "C"), sample("b", "I", error={"message": "gone"})], **planned)
    )
    assert [(r["id"], r["epoch"], r["match"], r["error"]) for r in rows] == [
        ("a", 1, 1.0, None),
        ("b", 1, 0.0, "gone"),
        ("a", 2, None, "the log does not hold this sample"),
        ("b", 2, None, "the log does not hold this sample"),
    ]


def test_of_a_part_that_was_asked_for_nothing_is_missing(tmp_path: Path) -> None:
    planned = {"dataset": {"sample_ids": ["a", "b"]}, "config": {"limit": 1}}
    assert len(rows_of_log(log(tmp_path / "a.json", [sample("a", "C")], **planned))) == 1


def test_the_last_try_of_a_sample_counts(tmp_path: Path) -> None:
    (row,) = rows_of_log(log(tmp_path / "a.json", [sample("a", "I"), sample("a", "C")]))
    assert row["match"] == 1.0


def test_a_score_of_several_parts_is_several_columns(tmp_path: Path) -> None:
    (row,) = rows_of_log(log(tmp_path / "a.json", [sample("a", {"tone": 0.5, "facts": "C"})]))
    assert (row["match.tone"], row["match.facts"]) == (0.5, 1.0)


def test_what_is_no_log_is_told_apart_and_what_is_broken_is_told(tmp_path: Path) -> None:
    plain, none = tmp_path / "scores.json", tmp_path / "none.json"
    plain.write_text('[{"id": 1, "score": 1}]')
    none.write_text("{")
    assert not is_inspect_log(plain) and not is_inspect_log(none) and not is_inspect_log(tmp_path / "absent.eval")
    with pytest.raises(BadLog, match="without samples"):
        rows_of_log(log(tmp_path / "a.json", []))
    with pytest.raises(BadLog, match="no id"):
        rows_of_log(log(tmp_path / "a.json", [{"scores": {}}]))
    broken = tmp_path / "broken.eval"
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr("header.json", '{"eval": {}}')
        archive.writestr("samples/a_epoch_1.json", "{")
    assert is_inspect_log(broken)
    with pytest.raises(BadLog, match=r"a_epoch_1\.json"):
        rows_of_log(broken)
