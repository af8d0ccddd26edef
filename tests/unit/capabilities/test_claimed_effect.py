"""The scorer of claimed acts, by its table of cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from watchkeeper.capabilities.scorers.claimed_effect import ClaimedEffect
from watchkeeper.kinds.scorer import Subject
from watchkeeper.records.record import as_json

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "scorers" / "claimed_effect.yaml").read_text())["rows"]


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_row(row: dict[str, Any]) -> None:
    effects = row["effects"]
    listed = None if effects is None else [{"tool": tool, "status": status} for tool, status in effects.items()]
    evidence = None if listed is None else as_json({"effects": listed}).decode()
    subject = Subject(kind="job", subject_id="j", output=row["output"], evidence=evidence)
    (mark,) = ClaimedEffect(acts=row.get("acts")).score(subject)
    assert mark.label == row["label"], mark.explanation
    if "value" in row:
        assert mark.value == row["value"]
    assert (mark.value is None) == (mark.label == "unknown")


def test_without_a_reply_nothing_is_said() -> None:
    (mark,) = ClaimedEffect().score(Subject(kind="job", subject_id="j"))
    assert (mark.value, mark.label) == (None, "unknown")


def test_evidence_that_cannot_be_read_is_said_so() -> None:
    subject = Subject(kind="job", subject_id="j", output="I have refunded it.", evidence="[1]")
    (mark,) = ClaimedEffect().score(subject)
    assert "cannot be read" in (mark.explanation or "")
