"""The scorer of names does what each row of its table says, and knows the people whom the generator puts in."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from watchkeeper.analysis.asked import asked_text
from watchkeeper.capabilities.generators.names import Names as OtherNames
from watchkeeper.capabilities.scorers.names import Names
from watchkeeper.kinds.scorer import Scorer, Subject
from watchkeeper.records.case import Case

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "scorers" / "names.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_each_row_holds(row: dict[str, Any]) -> None:
    said = {name: row[name] for name in ("locale", "given", "family")}
    case = Case(case_id="c", dataset="d", messages="[]", attributes=said)
    scorer = Names(honorific=row.get("honorific", False))
    (mark,) = scorer.score(Subject(kind="case", subject_id="c", output=row["output"], case=case))
    assert mark.label == row["label"], mark.explanation
    assert mark.value == (None if row["label"] is None else float(row["label"] == "right"))
    assert mark.explanation


@pytest.mark.parametrize(("form", "value"), [("usual", 1.0), ("turned", 0.0)])
def test_the_people_of_the_generator_are_known_in_a_reply(form: str, value: float) -> None:
    asked = Case(case_id="c", dataset="d", messages=json.dumps([{"role": "user", "content": "{name}"}]))
    for culture, locale in (("japanese", "ja"), ("korean", "ko"), ("german", "de"), ("vietnamese", "vi")):
        generator = OtherNames(cultures=(culture,), forms=(form,))  # type: ignore[arg-type]
        for case in generator.generate([asked], Random(1)):
            reply = asked_text(case.messages)
            (mark,) = Names(language=locale).score(Subject(kind="case", subject_id="c", output=reply, case=case))
            assert mark.value == value, mark.explanation


def test_without_a_language_or_a_person_nothing_is_judged() -> None:
    case = Case(case_id="c", dataset="d", messages="[]", attributes={"given": "Emma"})
    for scorer, subject in (
        (Names(), Subject(kind="case", subject_id="c", output="Emma", case=case)),
        (Names(language="de"), Subject(kind="span", subject_id="s", output="Emma")),
    ):
        (mark,) = scorer.score(subject)
        assert (mark.value, mark.label) == (None, None)
        assert isinstance(scorer, Scorer)
