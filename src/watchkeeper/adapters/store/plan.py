"""Checks a Select against the tables before any store answers it: known columns, right types, fitting groups."""

from __future__ import annotations

import re
from collections.abc import Sequence

from watchkeeper.adapters.store.errors import SelectError
from watchkeeper.queries.select import (
    Aggregate,
    Among,
    And,
    Attribute,
    Bucket,
    Column,
    Compare,
    Contains,
    Known,
    MapHas,
    Not,
    Or,
    Predicate,
    Projection,
    Select,
    Table,
)
from watchkeeper.queries.tables import SHAPES, FieldType
from watchkeeper.records.record import Scalar

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""Text that counts as a number in a map."""

EXACT = 2**53
"""Integers up to this size are exact as floating point; larger ones are compared as text in maps."""

Types = dict[str, FieldType]


def alias_of(projection: Projection) -> str:
    """The name under which a projection appears in the answer."""
    if isinstance(projection, Attribute):
        return projection.alias or projection.key
    if isinstance(projection, Column):
        return projection.alias or projection.name
    return projection.alias


def needle(value: Scalar) -> tuple[float | None, str | None]:
    """A value to compare map text with, as a number where it is one, and as text."""
    if isinstance(value, bool):
        return None, "true" if value else "false"
    if isinstance(value, (int, float)):
        return (float(value), str(value)) if abs(value) <= EXACT else (None, str(value))
    return None, value


def scope(select: Select) -> Types:
    """The columns that a Select can name: its table's, and the aliases that left joins add."""
    shape = SHAPES[select.table]
    types: Types = {field.name: field.type for field in shape.fields}
    for join in select.joins:
        if join.kind == "left":
            for name, kind in check(join.select).items():
                if name in types:
                    raise SelectError(
                        f"A left join adds {name!r}, which {select.table} has already; give it another alias."
                    )
                types[name] = kind
    return types


def check(select: Select) -> Types:
    """The names and types of a Select's answer; raises `SelectError` with the first thing that is wrong."""
    types = scope(select)
    _check_frame(select, types)
    if select.where is not None:
        _predicate(select.where, types, select.table)
    for join in select.joins:
        _check_join(join.select, join.on, types, select.table)
    outputs: Types = {}
    for projection in select.columns:
        alias = alias_of(projection)
        if alias in outputs:
            raise SelectError(f"Two columns of the answer are called {alias!r}; give one of them an alias.")
        outputs[alias] = _projection(projection, types, select.table)
    _check_group(select, outputs)
    sortable = outputs or types
    for order in select.order:
        if order.by not in sortable:
            raise SelectError(f"The answer cannot be sorted by {order.by!r}; it has {', '.join(sortable)}.")
    return outputs


def check_keys(table: Table, keys: Sequence[tuple[str, ...]]) -> None:
    """Raise `SelectError` for keys that do not fit a table."""
    names = SHAPES[table].key
    for key in keys:
        if not names or len(key) != len(names) or not all(isinstance(part, str) for part in key):
            fits = f"({', '.join(names)})" if names else "none: its rows have no key"
            raise SelectError(f"{key!r} is not a key of {table}; expected {fits}.")


def _check_frame(select: Select, types: Types) -> None:
    if (select.limit is not None and select.limit < 0) or select.offset < 0:
        raise SelectError(f"limit {select.limit} and offset {select.offset} must not be negative.")
    for name in select.latest_by:
        _type(name, types, select.table)


def _check_join(right: Select, on: tuple[tuple[str, str], ...], types: Types, table: str) -> None:
    outputs = check(right)
    if not outputs or not on:
        raise SelectError(f"A join of {table} with {right.table} needs named columns on its right side, and an `on`.")
    for left, other in on:
        if other not in outputs:
            raise SelectError(f"A join with {right.table} has no column {other!r}; it has {', '.join(outputs)}.")
        if _family(_type(left, types, table)) != _family(outputs[other]):
            raise SelectError(f"A join cannot compare {left!r} ({types[left]}) with {other!r} ({outputs[other]}).")


def _check_group(select: Select, outputs: Types) -> None:
    plain = [alias_of(p) for p in select.columns if not isinstance(p, Aggregate)]
    grouped = bool(select.group) or len(plain) < len(select.columns)
    for name in select.group:
        if name not in plain or outputs[name] == "map":
            raise SelectError(
                f"Cannot group by {name!r}; of this answer's columns {', '.join(plain) or 'none'} can be."
            )
    loose = [name for name in plain if grouped and name not in select.group]
    if loose:
        raise SelectError(f"{', '.join(loose)} stand beside aggregates without being in `group`; add them to it.")


def _projection(projection: Projection, types: Types, table: str) -> FieldType:
    if isinstance(projection, Aggregate):
        return _aggregate(projection, types, table)
    if isinstance(projection, Attribute):
        _require(projection.column, types, table, ("map",), "an entry of")
        return "text"
    if isinstance(projection, Bucket):
        _require(projection.name, types, table, ("int",), "time buckets of")
        if projection.width_ns <= 0:
            raise SelectError(f"A bucket of {projection.name} is {projection.width_ns} ns wide; it must be positive.")
        return "int"
    return _type(projection.name, types, table)


def _aggregate(aggregate: Aggregate, types: Types, table: str) -> FieldType:
    if aggregate.where is not None:
        _predicate(aggregate.where, types, table)
    if aggregate.column is None:
        if aggregate.function != "count":
            raise SelectError(f"The aggregate {aggregate.function} ({aggregate.alias!r}) needs a column.")
        return "int"
    kind = _type(aggregate.column, types, table)
    if aggregate.function in ("count", "distinct"):
        return "int"
    if aggregate.function in ("min", "max"):
        _require(aggregate.column, types, table, ("text", "int", "real", "bool", "json"), aggregate.function)
        return kind
    if aggregate.function == "first":
        if aggregate.by is None:
            raise SelectError(f"The aggregate first ({aggregate.alias!r}) needs `by`, the column that orders it.")
        for name in (aggregate.column, aggregate.by):
            _require(name, types, table, ("text", "int", "real", "bool"), "first")
        return kind
    _require(aggregate.column, types, table, ("int", "real", "bool"), aggregate.function)
    if aggregate.function == "quantile" and (aggregate.q is None or not 0 <= aggregate.q <= 1):
        raise SelectError(f"The quantile {aggregate.alias!r} has q = {aggregate.q}; it must lie between 0 and 1.")
    return "int" if aggregate.function == "sum" and kind != "real" else "real"


def _predicate(predicate: Predicate, types: Types, table: str) -> None:
    if isinstance(predicate, Compare):
        _value(predicate.column, predicate.value, types, table)
    elif isinstance(predicate, Among):
        for value in predicate.values:
            _value(predicate.column, value, types, table)
        _type(predicate.column, types, table)
    elif isinstance(predicate, Contains):
        for name in predicate.columns:
            _require(name, types, table, ("text", "json"), "a substring of")
    elif isinstance(predicate, MapHas):
        _require(predicate.column, types, table, ("map",), "an entry of")
    elif isinstance(predicate, Known):
        _type(predicate.column, types, table)
    elif isinstance(predicate, Not):
        _predicate(predicate.inner, types, table)
    else:
        for inner in predicate.all if isinstance(predicate, And) else _any(predicate):
            _predicate(inner, types, table)


def _any(predicate: Or) -> tuple[Predicate, ...]:
    return predicate.any


def _type(name: str, types: Types, table: str) -> FieldType:
    if name not in types:
        raise SelectError(f"The table {table} has no column {name!r}; it has {', '.join(types)}.")
    return types[name]


def _require(name: str, types: Types, table: str, allowed: tuple[str, ...], what: str) -> None:
    kind = _type(name, types, table)
    if kind not in allowed:
        raise SelectError(f"{what} {name!r} is not to be had: the column holds {kind}, not {' or '.join(allowed)}.")


def _value(name: str, value: Scalar, types: Types, table: str) -> None:
    kind = _type(name, types, table)
    given = "bool" if isinstance(value, bool) else "number" if isinstance(value, (int, float)) else "text"
    if kind == "map" or (value is not None and given != _family(kind)):
        raise SelectError(f"The column {name!r} holds {kind} and cannot be compared with {value!r}.")


def _family(kind: FieldType) -> str:
    return {"int": "number", "real": "number", "bool": "bool", "map": "map"}.get(kind, "text")
