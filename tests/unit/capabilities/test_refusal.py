"""The refusal scorer does what each row of its table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from watchkeeper.capabilities.scorers.refusal import Refusal
from watchkeeper.kinds.scorer import Scorer, Subject
from watchkeeper.records.case import Case

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "scorers" / "refusal.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_each_row_holds(row: dict[str, Any]) -> None:
    case = Case(case_id="c", dataset="d", messages="[]", attributes={"locale": row["language"]})
    subject = Subject(
        kind="case", subject_id="c", output=row["output"], case=case, finish_reason=row.get("finish_reason")
    )
    (mark,) = Refusal().score(subject)
    assert mark.label == row["label"], mark.explanation
    assert mark.value == (None if row["label"] is None else float(row["label"] == "refusal"))
    assert mark.explanation


def test_without_a_language_nothing_is_judged() -> None:
    (mark,) = Refusal().score(Subject(kind="span", subject_id="s", output="I can't."))
    assert (mark.value, mark.label) == (None, None)
    assert isinstance(Refusal(language="de"), Scorer)
