"""Reads answers with their sources out of a file, has answer and reasons judged apart, and counts them two by two.

A row is an object with `output`, and as far as known `expected`, `question`, `sources` (texts, or objects with
`document` and `text`), `inputs` (an object) and columns to sort by. A row that `eval run --out` wrote, with the marks
of the scorer `overclaim` among its `scores`, is counted by those.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from watchkeeper.analysis.answers_and_reasons import Judged, Table, tables
from watchkeeper.analysis.cells import text
from watchkeeper.engines.experiments.rows import Row, TableError, rows_of
from watchkeeper.kinds.scorer import Scores, Subject
from watchkeeper.records.case import Case
from watchkeeper.records.record import Record

MOST_EXAMPLES = 20
_NAMES = ("overclaim.answer", "overclaim.reasons")


class Example(Record):
    """A right answer with unsupported reasons: which row, the first fault, and what was found."""

    row: int
    item: str | None
    fault: str | None
    explanation: str | None


class Overclaims(Record):
    """The tables (all, then by cohort), how often each fault came first, and the first examples."""

    tables: tuple[Table, ...]
    faults: dict[str, int]
    examples: tuple[Example, ...]


def overclaims(
    path: Path, score: Callable[[Subject], Scores], by: str | None = None, cluster: str | None = None
) -> Overclaims:
    """Judge and count the rows of a file; raises `TableError` for one that cannot be read."""
    judged: list[Judged] = []
    faults: dict[str, int] = {}
    examples: list[Example] = []
    needed = [name for name in (by, cluster) if name is not None]
    for number, row in rows_of(path, needed):
        marks = _kept(row) or _scored(path, number, row, score)
        (right, _, _), (supported, label, why) = (marks.get(name, (None, None, None)) for name in _NAMES)
        judged.append(
            Judged(
                right=None if right is None else right == 1,
                supported=None if supported is None else supported == 1,
                cohort="all" if by is None else text(row.get(by)) or "unknown",
                cluster=None if cluster is None else text(row.get(cluster)) or None,
            )
        )
        if supported == 0 and label is not None:
            faults[label] = faults.get(label, 0) + 1
        if right == 1 and supported == 0 and len(examples) < MOST_EXAMPLES:
            item = text(row.get("item")) or text(row.get("id")) or text(row.get("case_id")) or None
            examples.append(Example(row=number, item=item, fault=label, explanation=why))
    if not judged:
        raise TableError(f"{path} has no rows. Give JSON lines with `output`, `expected` and `sources`.")
    return Overclaims(tables=tables(judged), faults=dict(sorted(faults.items())), examples=tuple(examples))


_Mark = tuple[float | None, str | None, str | None]


def _kept(row: Row) -> dict[str, _Mark]:
    """The marks that a run's file has already."""
    found: dict[str, _Mark] = {}
    scores = row.get("scores")
    for each in scores if isinstance(scores, list) else ():
        if isinstance(each, dict) and each.get("name") in _NAMES:
            found[each["name"]] = (each.get("value"), each.get("label"), each.get("explanation"))
    return found


def _scored(path: Path, number: int, row: Row, score: Callable[[Subject], Scores]) -> dict[str, _Mark]:
    output = row.get("output")
    if not row.has("output"):
        raise TableError(
            f"{path}, row {number}: has no `output`. Give the model's answer there, or a file that 'eval run --out' "
            "wrote with the scorer overclaim."
        )
    expected = text(row.get("expected"))
    evidence = {
        "question": text(row.get("question")),
        "sources": _sources(path, number, row.get("sources")),
        "inputs": _object(row.get("inputs")),
    }
    name = text(row.get("id")) or str(number)
    subject = Subject(
        kind="case",
        subject_id=name,
        output=output if isinstance(output, str) or output is None else json.dumps(output, ensure_ascii=False),
        evidence=json.dumps(evidence, ensure_ascii=False),
        case=Case(
            case_id=name, dataset=path.name, messages=text(row.get("messages")) or "[]", expected=expected or None
        ),
    )
    return {mark.name: (mark.value, mark.label, mark.explanation) for mark in score(subject)}


def _sources(path: Path, number: int, value: Any) -> Sequence[Mapping[str, Any]]:
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _parsed(value)
    found: list[Mapping[str, Any]] = []
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str):
            found.append({"text": each})
        elif isinstance(each, dict):
            told = each.get("document") or each.get("id") or each.get("title") or ""
            found.append({"document": str(told), "text": None if each.get("text") is None else str(each["text"])})
        else:
            raise TableError(f"{path}, row {number}: a source is {each!r}; expected a text, or document and text.")
    return found


def _object(value: Any) -> Mapping[str, Any]:
    found = _parsed(value) if isinstance(value, str) and value.strip() else value
    return found if isinstance(found, dict) else {}


def _parsed(text_: str) -> Any:
    try:
        return json.loads(text_)
    except ValueError:
        return text_
