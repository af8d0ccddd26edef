"""The overclaim scorer judges the answer and its reasons apart, as each row of its table says."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from watchkeeper.capabilities.scorers.overclaim import Overclaim
from watchkeeper.kinds.scorer import Scorer, Subject
from watchkeeper.records.case import Case

TABLE = yaml.safe_load((Path(__file__).parents[2] / "cases" / "scorers" / "overclaim.yaml").read_text())


def subject_of(row: dict[str, Any]) -> Subject:
    sources = [{"document": name, "text": text} for name, text in TABLE["sources"].items()]
    evidence = {"question": "", "sources": sources, "inputs": row.get("inputs", {})}
    case = Case(case_id="c", dataset="d", messages="[]", expected=row.get("expected", TABLE["expected"]))
    return Subject(kind="case", subject_id="c", output=row["output"], evidence=json.dumps(evidence), case=case)


@pytest.mark.parametrize("row", TABLE["rows"], ids=[row["name"] for row in TABLE["rows"]])
def test_each_row_is_judged_as_planted(row: dict[str, Any]) -> None:
    answer, reasons, both = Overclaim().score(subject_of(row))
    assert answer.value == row["answer"]
    assert reasons.label == row["reasons"], reasons.explanation
    assert reasons.value == {"supported": 1.0, "none": None}.get(row["reasons"], 0.0)
    if reasons.value is not None:
        assert both.value == float(not (answer.value == 1 and reasons.value == 0))
    else:
        assert both.label == "unknown"


def test_passages_that_the_messages_number_are_the_sources() -> None:
    messages = json.dumps(
        [{"role": "user", "content": "[1] The lamp is blue and small.\n[2] The box is red.\nColour?"}]
    )
    case = Case(case_id="c", dataset="d", messages=messages, expected="blue")
    said = "The lamp is blue and small [{}].\nAnswer: blue"
    labels = [
        Overclaim().score(Subject(kind="case", subject_id="c", output=said.format(n), case=case))[1].label
        for n in (1, 2, 3)
    ]
    assert labels == ["supported", "miscited", "fake_source"]


def test_without_numbered_passages_the_whole_prompt_is_the_source() -> None:
    messages = json.dumps([{"role": "user", "content": "1. Be short.\nThe lamp is blue and small. What colour is it?"}])
    case = Case(case_id="c", dataset="d", messages=messages, expected="blue")
    said = ("The lamp is blue and small.\nAnswer: blue", "The lamp is blue and small [1].\nAnswer: blue")
    marks = [Overclaim().score(Subject(kind="case", subject_id="c", output=each, case=case))[1] for each in said]
    assert [mark.label for mark in marks] == ["supported", "fake_source"]


def test_with_nothing_given_the_reasons_are_not_judged() -> None:
    answer, reasons, both = Overclaim().score(Subject(kind="case", subject_id="c", output="It is blue because so."))
    assert (answer.label, reasons.label, both.label) == ("unknown", "unknown", "unknown")
    assert "no source" in (reasons.explanation or "")


def test_evidence_that_cannot_be_read_is_unknown() -> None:
    marks = Overclaim().score(Subject(kind="case", subject_id="c", output="yes", evidence="{]"))
    assert {mark.label for mark in marks} == {"unknown"}
    assert "cannot be read" in (marks[0].explanation or "")


def test_it_is_a_scorer() -> None:
    assert isinstance(Overclaim(), Scorer)
