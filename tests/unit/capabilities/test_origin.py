"""The origin scorer sorts each row of its table to the fault that was planted."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from watchkeeper.capabilities.scorers.origin import Origin
from watchkeeper.kinds.scorer import Scorer, Subject
from watchkeeper.records.case import Case

TABLE = yaml.safe_load((Path(__file__).parents[2] / "cases" / "scorers" / "origin.yaml").read_text())


def subject_of(row: dict[str, Any]) -> Subject:
    texts = TABLE["texts"]
    sources = [
        {
            "document": f"doc-{number}",
            "entered": each["entered"],
            "status": "entered" if each["entered"] else "dropped",
            "reason": each.get("reason"),
            "text": texts.get(each.get("text")),
            "kept_chars": each.get("kept"),
        }
        for number, each in enumerate(row["sources"])
    ]
    corpus = None if "corpus" not in row else [texts[name] for name in row["corpus"]]
    evidence = {"question": TABLE["question"], "sources": sources, "corpus": corpus}
    case = Case(case_id="c", dataset="d", messages="[]", expected=row.get("expected", TABLE["expected"]))
    return Subject(kind="trace", subject_id="t", output=row["output"], evidence=json.dumps(evidence), case=case)


@pytest.mark.parametrize("row", TABLE["rows"], ids=[row["name"] for row in TABLE["rows"]])
def test_each_row_is_sorted_as_planted(row: dict[str, Any]) -> None:
    (mark,) = Origin().score(subject_of(row))
    assert (mark.name, mark.label) == ("origin", row["label"])
    assert mark.value == {"right": 1.0, "unknown": None}.get(row["label"], 0.0)
    assert row.get("explains", "") in (mark.explanation or "")


def test_evidence_that_cannot_be_read_is_unknown() -> None:
    case = Case(case_id="c", dataset="d", messages="[]", expected="The lamp is blue and small.")
    (mark,) = Origin().score(Subject(kind="trace", subject_id="t", output="no", evidence="{]", case=case))
    assert mark.label == "unknown"
    assert "cannot be read" in (mark.explanation or "")


def test_it_is_a_scorer() -> None:
    assert isinstance(Origin(), Scorer)
