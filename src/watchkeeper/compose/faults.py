"""Sorts wrong answers by where they went wrong: the lineage of a trace, a right answer and a corpus, to the scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.compose.discovery import discover
from watchkeeper.kinds.scorer import Mark, Subject
from watchkeeper.records.case import Case
from watchkeeper.records.record import as_json

TEXT_FIELDS = ("text", "content", "page_content", "body")


def fault_of(found: Mapping[str, Any], expected: str, question: str, corpus: Sequence[str] | None) -> Mark:
    """Where an answer went wrong; `found` is what the API says of its lineage, `corpus` None when it is not at hand."""
    answers = found["answers"]
    evidence = {
        "question": question or next((each["query"] for each in found["sources"] if each["query"]), ""),
        "sources": [
            {name: each[name] for name in ("document", "version", "entered", "status", "reason", "text")}
            | ({"kept_chars": each["kept_chars"]} if _cut(each) else {})
            for each in found["sources"]
        ],
        "corpus": None if corpus is None else list(corpus),
    }
    name = str(found["trace_id"])
    case = Case(case_id=name, dataset="lineage", messages="[]", expected=expected)
    subject = Subject(
        kind="trace",
        subject_id=name,
        output=answers[-1]["text"] if answers else None,
        evidence=as_json(evidence).decode(),
        case=case,
    )
    (mark,) = discover("scorers")["origin"]().score(subject)
    assert isinstance(mark, Mark)
    return mark


def _cut(source: Mapping[str, Any]) -> bool:
    """Whether only a part of a chunk entered."""
    kept, chars = source["kept_chars"], source["chars"]
    return isinstance(kept, int) and isinstance(chars, int) and kept < chars


def read_corpus(path: Path) -> list[str]:
    """The texts of a corpus: one JSON object with a `text` (or `content`) a line, or plain text by paragraph.

    Raises `OSError`, or `ValueError` naming the line that cannot be read.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix not in (".jsonl", ".json", ".ndjson"):
        return [part.strip() for part in text.split("\n\n") if part.strip()]
    texts = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line, type=dict[str, Any])
            texts.append(next(str(row[name]) for name in TEXT_FIELDS if row.get(name)))
        except (msgspec.MsgspecError, StopIteration) as error:
            names = ", ".join(TEXT_FIELDS)
            raise ValueError(f"{path}, line {number}: expected a JSON object with one of {names}.") from error
    return texts
