"""Reads per-item scores out of anybody's CSV or JSONL, and says of every row that is not used why it is not.

A score is a number; true, yes, pass, correct and 1 are 1, false, no, fail, incorrect and 0 are 0. An empty cell, null
and NaN are no score: such a row is counted as missing and is never a 0. A row whose item cannot be told is counted too.
Files are read as a stream, so a million rows take the memory of their scores and not of their texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from watchkeeper.analysis.cells import text
from watchkeeper.engines.experiments.rows import Row, TableError, rows_given, rows_of
from watchkeeper.records.record import Record

__all__ = ["Columns", "Scored", "TableError", "read_rows", "read_scores"]

_TRUE = frozenset(("true", "t", "yes", "y", "pass", "passed", "correct", "right", "success"))
_FALSE = frozenset(("false", "f", "no", "n", "fail", "failed", "incorrect", "wrong", "failure"))
_SHOWN = 8
_NONE = frozenset(("", "null", "none", "nan", "na", "n/a", "<na>", "nat"))
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,15})\.0")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")


class Columns(Record, frozen=True, kw_only=True):
    """Which columns mean what. Several columns may name an item together.

    `where` keeps rows that are equal there (a name that ends in "!": that are not equal). Conditions on one column are
    alternatives, those on several must all hold. A dot reaches into nested JSON: `info.reward`.
    """

    item: tuple[str, ...]
    score: str
    by: str | None = None
    cluster: tuple[str, ...] = ()
    run: str | None = None
    slice: str | None = None
    where: tuple[tuple[str, str], ...] = ()

    def names(self) -> tuple[str, ...]:
        """All columns that must be there."""
        optional = (name for name in (self.by, self.run, self.slice) if name is not None)
        return (*self.item, self.score, *optional, *self.cluster, *(name.rstrip("!") for name, _ in self.where))


class Scored(NamedTuple):
    """One row: its item (None: the row names none), its group, its cluster and run where there are such, its score.

    A score is None where it is missing.
    """

    item: str | None
    group: str
    cluster: str | None
    run: str | None
    score: float | None
    slice: str | None = None


def read_scores(path: Path, columns: Columns, rows: Iterable[Mapping[str, Any]] | None = None) -> list[Scored]:
    """The rows that `where` keeps, in order; raises `TableError` for a file, column or score that cannot be read.

    `rows` are those of a file that somebody else has read.
    """
    found: list[Scored] = []
    words: dict[str, str] = {}
    keeps = _filters(columns.where)
    seen: dict[str, dict[str, None]] = {name: {} for name, _ in keeps}
    read = rows_of(path, columns.names()) if rows is None else rows_given(path, rows, columns.names())
    for number, row in read:
        if not _kept(row, keeps):
            if not found:
                _note(row, seen)
            continue
        cluster = joined(row, columns.cluster)
        run = None if columns.run is None else text(row.get(columns.run))
        group = "all" if columns.by is None else text(row.get(columns.by))
        item = joined(row, columns.item, _item)
        part = None if columns.slice is None else text(row.get(columns.slice))
        found.append(
            Scored(
                item=None if item is None else words.setdefault(item, item),
                group=words.setdefault(group, group),
                cluster=None if cluster is None else words.setdefault(cluster, cluster),
                run=None if run is None else words.setdefault(run, run),
                score=score_in(row, path, number, columns.score),
                slice=None if part is None else words.setdefault(part, part),
            )
        )
    if not found:
        raise TableError(_nothing_kept(path, seen) if columns.where else f"{path} has no rows.")
    return found


def read_rows(
    path: Path, names: Sequence[str] = (), where: Sequence[tuple[str, str]] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and values, as text, of the rows that `where` keeps; raises `TableError` where there are none.

    With `names` each row has those columns and no others.
    """
    keeps, any_ = _filters(where), False
    seen: dict[str, dict[str, None]] = {name: {} for name, _ in keeps}
    for number, row in rows_of(path, (*names, *(name.rstrip("!") for name, _ in where))):
        if _kept(row, keeps):
            any_ = True
            yield number, {name: text(row.get(name)) for name in names or row.names}
        elif not any_:
            _note(row, seen)
    if not any_:
        raise TableError(_nothing_kept(path, seen) if where else f"{path} has no rows.")


def _note(row: Row, seen: Mapping[str, dict[str, None]]) -> None:
    """Remember the first values of the columns of --where, to tell them if no row is kept."""
    for name, values in seen.items():
        if len(values) < _SHOWN:
            values[text(row.get(name))[:40]] = None


def _nothing_kept(path: Path, seen: Mapping[str, Mapping[str, None]]) -> str:
    told = "; ".join(f"{name} is " + ", ".join(value or "(empty)" for value in values) for name, values in seen.items())
    return f"{path} has no row that --where keeps. Seen there: {told}."


def joined(row: Row, names: Sequence[str], as_text: Callable[[Any], str] | None = None) -> str | None:
    """The values of some columns as one name, which no other values have; None where all of them are empty."""
    parts = [(as_text or text)(row.get(name)) for name in names]
    if len(parts) == 1:
        return parts[0] or None
    if not any(parts):
        return None
    return " / ".join(part.replace("\\", "\\\\").replace(" / ", " \\/ ") for part in parts)


def _item(value: Any) -> str:
    """A value as the name of an item: a table that went through a float column names item 1 "1.0"."""
    said = text(value)
    return said.partition(".")[0] if said[-2:] == ".0" and _WHOLE.fullmatch(said) else said


def _filters(where: Sequence[tuple[str, str]]) -> Mapping[tuple[str, bool], frozenset[str]]:
    """For each column, and whether its values are wanted, the words that are meant."""
    found: dict[tuple[str, bool], set[str]] = {}
    for name, value in where:
        found.setdefault((name.rstrip("!"), not name.endswith("!")), set()).add(alike(value))
    return {key: frozenset(words) for key, words in found.items()}


def _kept(row: Row, keeps: Mapping[tuple[str, bool], frozenset[str]]) -> bool:
    return all((alike(row.get(name)) in words) is wanted for (name, wanted), words in keeps.items())


def alike(value: Any) -> str:
    """What --where compares: 1, 1.0 and "1.0" are alike, and so are true, "True" and "TRUE"."""
    said = text(value)
    if said.casefold() in ("true", "false"):
        return said.casefold()
    if _NUMBER.fullmatch(said) and len(said) < 16:
        return text(float(said))
    return said


def score_in(row: Row, path: Path, number: int, name: str) -> float | None:
    """The score in a column of a row, None where it is missing; raises `TableError` for what is none."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        word = value.strip().casefold().replace("\N{MINUS SIGN}", "-")
        if _NUMBER.fullmatch(word):
            value = float(word)
        elif word in _NONE:
            return None
        elif word in _TRUE or word in _FALSE:
            return float(word in _TRUE)
        elif row.decimal_comma and _DECIMAL_COMMA.fullmatch(word):
            return float(word.replace(",", "."))
        else:
            value = _odd(word, value, path, number, name)
    if not isinstance(value, int | float):
        inside = f"{name}.0" if isinstance(value, list) else f"{name}.KEY"
        raise TableError(
            f"{path}, row {number}: {name} is a {type(value).__name__}, expected a number. A value inside it is named "
            f"with a dot: {inside}."
        )
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if math.isinf(value):
        raise TableError(f"{path}, row {number}: {name} is infinite, which is no score. Leave such a row empty.")
    return None if math.isnan(value) else value


def _odd(word: str, value: str, path: Path, number: int, name: str) -> float:
    """Infinity under one of its names; raises `TableError` for what is no number."""
    if word.lstrip("+-") in ("inf", "infinity"):
        return math.inf
    hint = " Write 85% as 0.85." if word.endswith("%") else ""
    raise TableError(
        f"{path}, row {number}: {name} is {value[:80]!r}, which is no score. Expected a number, or one of "
        f"true, false, yes, no, pass, fail.{hint}"
    )
