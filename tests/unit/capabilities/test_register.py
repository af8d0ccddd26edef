"""The register scorer does what each row of its table says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from watchkeeper.capabilities.scorers.register import Register
from watchkeeper.kinds.scorer import Scorer, Subject
from watchkeeper.records.case import Case

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "scorers" / "register.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_each_row_holds(row: dict[str, Any]) -> None:
    case = Case(case_id="c", dataset="d", messages="[]", attributes={"locale": row["language"]})
    (mark,) = Register().score(Subject(kind="case", subject_id="c", output=row["output"], case=case))
    assert mark.label == row["label"]
    assert mark.value == (None if row["label"] is None else float(row["label"] == "formal"))
    assert mark.explanation


def test_without_a_language_nothing_is_judged() -> None:
    (mark,) = Register().score(Subject(kind="span", subject_id="s", output="Sie"))
    assert (mark.value, mark.label) == (None, None)
    assert isinstance(Register(), Scorer)


def test_the_explanation_names_language_strength_and_places() -> None:
    (mark,) = Register(language="de").score(Subject(kind="span", subject_id="s", output="Gern, Ihre Karte."))
    assert mark.explanation == "de, strength 1.00, marked by: formal 'Ihre' at 6-10 (Sie or Ihr with a capital)"


def test_many_marks_are_counted_not_listed() -> None:
    (mark,) = Register(language="de").score(Subject(kind="span", subject_id="s", output="du " * 8))
    assert mark.explanation is not None
    assert mark.explanation.endswith("and 3 more")


def test_a_weak_reply_is_not_judged_below_the_least_strength() -> None:
    reply = Subject(kind="span", subject_id="s", output="¿Cuál es su nombre?")
    (weak,), (strict,) = Register(language="es").score(reply), Register(language="es", least_strength=0.9).score(reply)
    assert (weak.label, strict.label, strict.value) == ("formal", None, None)
    assert strict.explanation is not None
    assert strict.explanation.startswith("marked too weakly to judge: es, strength")


def test_what_was_seen_but_did_not_suffice_is_told() -> None:
    (mark,) = Register(language="es").score(Subject(kind="span", subject_id="s", output="Juan llegó con su hermano."))
    assert mark.value is None
    assert mark.explanation is not None
    assert "seen were formal 'su' at 15-17" in mark.explanation
