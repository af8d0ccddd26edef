"""Reads the rows of CSV and JSONL files as a stream: gzip, byte order marks, delimiters and nested values included."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

_DELIMITERS = ",;\t|"
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_SHOWN = 12


class TableError(ValueError):
    """A file of scores cannot be used; the message says where and what to do."""


class Row:
    """One row by the names of its columns. `decimal_comma` says that a comma cannot part columns in this file."""

    __slots__ = ("_values", "decimal_comma")

    def __init__(self, values: Mapping[str, Any], decimal_comma: bool = False) -> None:
        self._values = values
        self.decimal_comma = decimal_comma

    @property
    def names(self) -> Sequence[str]:
        """The columns of this row."""
        return list(self._values)

    def has(self, name: str) -> bool:
        """Whether the row has a column, itself or inside another: `info.reward`."""
        return self._find(name) is not _ABSENT

    def get(self, name: str) -> Any:
        """A column's value, None where the row has none."""
        found = self._find(name)
        return None if found is _ABSENT else found

    def _find(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        inside: Any = self._values
        if "." not in name:
            return _ABSENT
        for part in name.split("."):
            if isinstance(inside, Mapping) and part in inside:
                inside = inside[part]
            elif isinstance(inside, list) and part.isdecimal() and int(part) < len(inside):
                inside = inside[int(part)]
            else:
                return _ABSENT
        return inside


_ABSENT = object()


def rows_of(path: Path, needed: Sequence[str] = ()) -> Iterator[tuple[int, Row]]:
    """Number (from 1) and values of each row; the first character tells JSONL from CSV.

    A CSV must have all `needed` columns in its head; of JSON lines each column must be in one row at least. Raises
    `TableError` for a file that cannot be read, and says where.
    """
    try:
        with path.open("rb") as raw:
            begin = raw.read(2)
            raw.seek(0)
            unpacked = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if begin == b"\x1f\x8b" else raw
            yield from _checked(path, _parsed(path, unpacked), needed)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{path} is a gzip file that does not open: {error}. Fetch it again.") from error
    except UnicodeError as error:
        raise TableError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}. Name a CSV or JSONL file.") from error


def rows_given(path: Path, rows: Iterable[Mapping[str, Any]], needed: Sequence[str] = ()) -> Iterator[tuple[int, Row]]:
    """The same for rows that somebody else has read out of a file."""
    return _checked(path, ((number, Row(row)) for number, row in enumerate(rows, 1)), needed)


def _checked(path: Path, rows: Iterator[tuple[int, Row]], needed: Sequence[str]) -> Iterator[tuple[int, Row]]:
    absent = dict.fromkeys(needed)
    names: dict[str, None] = {}
    for number, row in rows:
        if absent:
            for name in [name for name in absent if row.has(name)]:
                del absent[name]
            if len(names) < _SHOWN:
                names.update(dict.fromkeys(row.names))
        yield number, row
    if absent and names:
        known = ", ".join(list(names)[:_SHOWN])
        raise TableError(f"{path} has no column {next(iter(absent))!r}; it has: {known}.")


def _parsed(path: Path, raw: BinaryIO) -> Iterator[tuple[int, Row]]:
    buffered = io.BufferedReader(cast("io.RawIOBase", raw))
    begin = buffered.peek(4)[:4]
    encoding = next((name for mark, name in _BOMS if begin.startswith(mark)), None) or _by_zeros(begin)
    stream = io.TextIOWrapper(buffered, encoding=encoding, newline="")
    lines = iter(stream)
    first = next((line for line in lines if line.strip()), "")
    start = first.lstrip()[:1]
    if start == "[":
        yield from _json_list(path, first + stream.read())
    elif start == "{":
        yield from _json_lines(path, first, lines)
    elif first:
        yield from _csv_rows(path, first, lines)


def _by_zeros(begin: bytes) -> str:
    """UTF-16 without a mark, as Windows tools write it, by the zeros beside its first letters; otherwise UTF-8."""
    if len(begin) < 2 or begin[:2].count(0) != 1:
        return "utf-8"
    return "utf-16-le" if begin[1] == 0 else "utf-16-be"


def _json_list(path: Path, whole: str) -> Iterator[tuple[int, Row]]:
    try:
        rows = _json(whole)
    except ValueError as error:
        raise TableError(f"{path} begins like a JSON list and is none: {error}.") from error
    for number, row in enumerate(rows, 1):
        yield number, _object(path, number, row)


def _json_lines(path: Path, first: str, rest: Iterator[str]) -> Iterator[tuple[int, Row]]:
    number = 0
    for whole in _chained(first, rest):
        # Files of old machines end their lines with a carriage return alone.
        for line in whole.split("\r"):
            if not line.strip():
                continue
            number += 1
            try:
                row = _json(line)
            except ValueError as error:
                hint = " One object a line is expected, not one over many lines." if line.strip() in "{}" else ""
                raise TableError(f"{path}, line {number}: is not JSON: {error}.{hint}") from error
            yield number, _object(path, number, row)


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _json(said: str) -> Any:
    """A JSON value; NaN, which Python and JavaScript tools write although JSON has none, is read too."""
    try:
        return msgspec.json.decode(said)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return json.loads(said)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _object(path: Path, number: int, row: Any) -> Row:
    if not isinstance(row, dict):
        raise TableError(f"{path}, line {number}: is {type(row).__name__}, expected an object with the columns.")
    return Row(row)


def _csv_rows(path: Path, first: str, rest: Iterator[str]) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(sys.maxsize)
    delimiter = _delimiter(first)
    reader = csv.reader(_chained(first, rest), delimiter=delimiter)
    try:
        head = [name.strip() for name in next(reader)]
        twice = next((name for name in head if name and head.count(name) > 1), None)
        if twice is not None:
            raise TableError(f"{path} has two columns {twice!r}. Rename one, so that it is clear which is meant.")
        number = 0
        for cells in reader:
            if not cells:
                continue
            number += 1
            # Commas that end a line and nothing else hold no cell.
            while len(cells) > len(head) and not cells[-1].strip():
                del cells[-1]
            if len(cells) != len(head):
                raise TableError(
                    f"{path}, row {number}: has {len(cells)} cells, where the head has {len(head)}. Put a cell that "
                    f"holds {delimiter!r} or a line break between quotes."
                )
            yield number, Row(dict(zip(head, cells, strict=True)), decimal_comma=delimiter != ",")
    except csv.Error as error:
        raise TableError(f"{path}, line {reader.line_num}: is not CSV: {error}.") from error


def _delimiter(head: str) -> str:
    """What parts most columns of the head, quoted names aside; a comma if nothing does."""
    bare = "".join(head.split('"')[::2])
    return max(_DELIMITERS, key=lambda mark: (bare.count(mark), -_DELIMITERS.index(mark)))
