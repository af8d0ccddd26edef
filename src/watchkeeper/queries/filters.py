"""Predicates that questions share: equal where given, an attribute written key=value, a substring."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from watchkeeper.queries.question import Answer
from watchkeeper.queries.select import (
    Aggregate,
    Among,
    And,
    Column,
    Compare,
    Comparison,
    Contains,
    Known,
    MapHas,
    Not,
    Predicate,
    Projection,
    Rows,
    Table,
)
from watchkeeper.queries.tables import SHAPES
from watchkeeper.records.record import Scalar
from watchkeeper.records.span import Operation

_ATTRIBUTE = re.compile(r"(?P<key>.+?)(?P<op>!=|<=|>=|=|<|>)(?P<value>.*)", re.DOTALL)
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")

TEXT_COLUMNS = ("preview", "message", "name")

SUMMARIES = (Operation.AGENT.value, Operation.WORKFLOW.value)
"""Operations whose spans repeat what the calls within them used, so that sums leave them out."""

CALLS = (Operation.CHAT.value, Operation.COMPLETION.value, Operation.EMBEDDINGS.value)
"""Operations that call a model."""

FIRST = Known(column="duplicate_of", known=False)
"""Holds for spans that are not a second telling of a call that another span tells of."""

OWN = And(all=(Not(inner=Among(column="operation", values=SUMMARIES)), FIRST))
"""Holds for spans that used what they report themselves, and are the ones that count."""

CALL = And(all=(Among(column="operation", values=CALLS), FIRST))
"""Holds for calls of a model, each told once."""


def equal(**columns: Scalar) -> list[Predicate]:
    """One comparison for each column whose value is given."""
    return [Compare(column=name, op="=", value=value) for name, value in columns.items() if value is not None]


def at_least(**columns: float | int | None) -> list[Predicate]:
    """One lower bound for each column whose value is given."""
    return [Compare(column=name, op=">=", value=value) for name, value in columns.items() if value is not None]


def attribute(text: str | None, column: str = "attributes") -> list[Predicate]:
    """A map entry compared with a value, from "key=value"; raises `ValueError` when there is no operator.

    A value that reads as a number is compared as one where the entry is a number too.
    """
    if text is None:
        return []
    match = _ATTRIBUTE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an attribute filter; write for example customer.tier=pro or latency_ms>=250")
    value: Scalar = match["value"]
    if _NUMBER.fullmatch(match["value"]):
        value = msgspec.json.decode(match["value"])
    return [MapHas(column=column, key=match["key"], op=msgspec.convert(match["op"], Comparison), value=value)]


def containing(text: str | None, columns: tuple[str, ...] = TEXT_COLUMNS) -> list[Predicate]:
    """A substring of one of the columns, when given."""
    return [] if not text else [Contains(columns=columns, text=text)]


def all_of(*groups: list[Predicate]) -> Predicate | None:
    """All predicates of all groups; None when there are none."""
    predicates = [predicate for group in groups for predicate in group]
    return And(all=tuple(predicates)) if predicates else None


def columns(*names: str) -> tuple[Projection, ...]:
    """Columns by name; "name=alias" renames one."""
    return tuple(_column(name) for name in names)


def _column(word: str) -> Column:
    name, _, alias = word.partition("=")
    return Column(name=name, alias=alias or None)


def every_column(table: Table) -> tuple[Projection, ...]:
    """All columns of a table."""
    return columns(*SHAPES[table].names())


def count(alias: str, where: Predicate | None = None) -> Aggregate:
    """How many rows."""
    return Aggregate(function="count", alias=alias, where=where)


def total(column: str, alias: str | None = None, where: Predicate | None = OWN) -> Aggregate:
    """The sum of a column over spans that used it themselves; null when nothing is known."""
    return Aggregate(function="sum", column=column, alias=alias or column, where=where)


def page(rows: Rows, table: Table | None = None) -> Answer:
    """Rows as an answer; with a table, the JSON text of its nested columns is read."""
    items: list[dict[str, Any]] = rows.dicts()
    if table is not None:
        nested = [field.name for field in SHAPES[table].fields if field.type == "json" and field.name in rows.columns]
        for item in items:
            for name in nested:
                if item[name] is not None:
                    item[name] = msgspec.json.decode(item[name])
    return Answer(items=tuple(items), complete=rows.complete)
