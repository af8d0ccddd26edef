"""Reads per-item scores out of anybody's CSV or JSONL, and says of every row that is not used why it is not.

A score is a number; true, yes, pass, correct and 1 are 1, false, no, fail, incorrect and 0 are 0. An empty cell, null
and NaN are no score: such a row is counted as missing and is never a 0.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.records.record import Record

_TRUE = frozenset(("true", "yes", "pass", "passed", "correct", "success"))
_FALSE = frozenset(("false", "no", "fail", "failed", "incorrect", "failure"))
_NONE = frozenset(("", "null", "none", "nan", "na", "n/a"))
_SHOWN = 12


class TableError(ValueError):
    """A file of scores cannot be used; the message says where and what to do."""


class Columns(Record, frozen=True, kw_only=True):
    """Which columns mean what. Several columns may name an item together; `where` keeps rows that are equal there."""

    item: tuple[str, ...]
    score: str
    by: str | None = None
    cluster: tuple[str, ...] = ()
    run: str | None = None
    where: tuple[tuple[str, str], ...] = ()


class Scored(NamedTuple):
    """One row: its item, its group, its cluster and run where there are such, and its score (None: missing)."""

    item: str
    group: str
    cluster: str | None
    run: str | None
    score: float | None


def read_scores(path: Path, columns: Columns) -> list[Scored]:
    """The rows that `where` keeps, in order; raises `TableError` for a file, column or score that cannot be read."""
    found: list[Scored] = []
    for number, row in _rows(path):
        if number == 1 or not found:
            _require(row, columns, path)
        if any(_text(row.get(name)) != value for name, value in columns.where):
            continue
        found.append(
            Scored(
                item=_joined(row, columns.item),
                group="all" if columns.by is None else _text(row.get(columns.by)),
                cluster=_joined(row, columns.cluster) if columns.cluster else None,
                run=None if columns.run is None else _text(row.get(columns.run)),
                score=_score(row.get(columns.score), path, number, columns.score),
            )
        )
    if not found:
        raise TableError(
            f"{path} has no row that --where keeps. Look at the values of those columns."
            if columns.where
            else f"{path} has no rows."
        )
    return found


def read_rows(path: Path) -> list[dict[str, str]]:
    """All rows with their values as text; raises `TableError` for a file that cannot be read or has none."""
    rows = [{name: _text(value) for name, value in row.items()} for _, row in _rows(path)]
    if not rows:
        raise TableError(f"{path} has no rows.")
    return rows


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Number (from 1) and values of each row; the first character tells JSONL from CSV."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}. Name a CSV or JSONL file.") from error
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as error:
            raise TableError(f"{path} is a gzip file that does not open: {error}.") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
    if text.lstrip()[:1] in ("{", "["):
        yield from _json_rows(path, text)
        return
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for number, row in enumerate(reader, 1):
        if None in row or None in row.values():
            raise TableError(
                f"{path}, row {number}: has {len(row)} cells, where the head has {len(reader.fieldnames or ())}."
            )
        yield number, row


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    whole = text.lstrip()
    lines: Iterable[Any]
    if whole.startswith("["):
        try:
            lines = json.loads(whole)
        except ValueError as error:
            raise TableError(f"{path} begins like a JSON list and is none: {error}.") from error
    else:
        lines = (line for line in text.splitlines() if line.strip())
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line) if isinstance(line, str) else line
        except ValueError as error:
            raise TableError(f"{path}, line {number}: is not JSON: {error}.") from error
        if not isinstance(row, dict):
            raise TableError(f"{path}, line {number}: is {type(row).__name__}, expected an object with the columns.")
        yield number, row


def _require(row: Mapping[str, Any], columns: Columns, path: Path) -> None:
    wanted = [
        *columns.item,
        columns.score,
        columns.by,
        *columns.cluster,
        columns.run,
        *(name for name, _ in columns.where),
    ]
    for name in wanted:
        if name is not None and name not in row:
            known = ", ".join(list(row)[:_SHOWN])
            raise TableError(f"{path} has no column {name!r}; it has: {known}.")


def _joined(row: Mapping[str, Any], names: Sequence[str]) -> str:
    return " / ".join(_text(row.get(name)) for name in names)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        value.strip() if isinstance(value, str) else json.dumps(value) if isinstance(value, dict | list) else str(value)
    )


def _score(value: Any, path: Path, number: int, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        word = value.strip().casefold()
        if word in _NONE:
            return None
        if word in _TRUE or word in _FALSE:
            return float(word in _TRUE)
        try:
            value = float(word)
        except ValueError:
            raise TableError(
                f"{path}, row {number}: {name} is {value[:80]!r}, which is no score. Expected a number, or one of "
                "true, false, yes, no, pass, fail."
            ) from None
    if not isinstance(value, int | float):
        raise TableError(f"{path}, row {number}: {name} is a {type(value).__name__}, expected a number.")
    if math.isinf(value):
        raise TableError(f"{path}, row {number}: {name} is infinite, which is no score. Leave such a row empty.")
    return None if math.isnan(value) else float(value)
