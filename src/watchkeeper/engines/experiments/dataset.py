"""Reads cases: rows of a JSONL or CSV file, or of a suite, each with an id that stays when rows are moved."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.records.case import Case
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Scalar, as_json

_COLUMNS = ("id", "input", "messages", "expected", "cluster", "tags")
_FIELD_LIMIT = 16 << 20


class SuiteError(ValueError):
    """A suite or a dataset cannot be used; the message names file, key or line, and the fix."""


class Item(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One case as people write it.

    `input` is a user's message; `messages` is a whole message list (or its JSON text) instead. `expected` is a text, or
    any JSON value, which is then compared as JSON text. `cluster` names cases that are not independent of each other.
    Rows of exported cases (`case_id`, `dataset`, `origin`, ...) are items too.
    """

    input: str | None = None
    messages: Any = None
    id: str | int | None = None
    case_id: str | None = None
    expected: Any = None
    cluster: str | None = None
    tags: tuple[str, ...] = ()
    attributes: dict[str, Scalar] = {}
    dataset: str | None = None
    origin: str | None = None
    at_ns: int = 0


def read_dataset(path: Path, parquet: Callable[[Path], list[dict[str, Any]]] | None = None) -> list[Item]:
    """The items of a .jsonl, .csv or .parquet file; raises `SuiteError` naming the line. `parquet` reads its rows."""
    try:
        if path.suffix == ".parquet" and parquet is not None:
            return [_row_item(row, f"{path}: row {number}") for number, row in enumerate(parquet(path), 1)]
        if path.suffix == ".csv":
            return _read_csv(path)
        if path.suffix in (".jsonl", ".ndjson"):
            return _read_jsonl(path)
    except FileNotFoundError as error:
        raise SuiteError(
            f"{path}: there is no such dataset. Name a file beside the suite, or its whole path."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteError(f"{path}: cannot be read ({error}). Make it a UTF-8 text file that you may read.") from error
    raise SuiteError(
        f"{path}: a dataset is a .jsonl, .csv or .parquet file, and this is {path.suffix or 'neither'}. Convert it."
    )


def cases_of(
    items: Iterable[Item], dataset: str, path: Path, places: Callable[[int], str] | None = None
) -> tuple[Case, ...]:
    """The cases of some items. Items without an id are named by the digest of what they ask and expect.

    `places` says where an item stands; in `path`'s own list of cases if not given.
    """
    named: Counter[str] = Counter()
    made = []
    for number, item in enumerate(items):
        place = f"{path}: `cases[{number}]`" if places is None else places(number)
        given = item.case_id or (None if item.id is None else str(item.id))
        messages = _messages(item, place)
        expected = item.expected if item.expected is None or isinstance(item.expected, str) else _text(item.expected)
        name = given or digest(as_json([messages, expected]))[:16]
        named[name] += 1
        if named[name] > 1:
            if given:
                raise SuiteError(f"{place} has the id {given!r} of an earlier case; give each case an id of its own.")
            name = f"{name}-{named[name]}"
        made.append(
            Case(
                case_id=item.case_id or f"{dataset}/{name}",
                dataset=item.dataset or dataset,
                messages=messages,
                expected=expected,
                cluster=item.cluster,
                origin=item.origin or f"file:{path.name}",
                at_ns=item.at_ns,
                tags=item.tags,
                attributes=item.attributes,
            )
        )
    return tuple(made)


def _messages(item: Item, place: str) -> str:
    if (item.input is None) == (item.messages is None):
        raise SuiteError(f"{place} needs `input` (a user's message) or `messages` (a list), and only one of them.")
    if item.input is not None:
        return _text([{"role": "user", "content": item.input}])
    messages = item.messages
    if isinstance(messages, str):
        try:
            messages = json.loads(messages)
        except ValueError as error:
            raise SuiteError(f"{place}.messages is not JSON: {error}. Write a list of messages.") from error
    good = isinstance(messages, list) and messages and all(isinstance(m, Mapping) and "role" in m for m in messages)
    if not good:
        raise SuiteError(
            f"{place}.messages must be a list of objects with `role` and `content`; it is {_short(messages)}."
        )
    return _text(messages)


def _read_jsonl(path: Path) -> list[Item]:
    items = []
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                items.append(msgspec.json.decode(line, type=Item))
            except msgspec.DecodeError as error:
                raise SuiteError(
                    f"{path}:{number}: {_told(error)} Mend that line; it holds {_short(line.strip())}."
                ) from error
    return items


def _read_csv(path: Path) -> list[Item]:
    import csv

    csv.field_size_limit(_FIELD_LIMIT)
    items = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, restkey="", strict=True)
        if not rows.fieldnames:
            raise SuiteError(f"{path}:1: the first line names no columns. Name them: {', '.join(sorted(_COLUMNS))}.")
        for name in rows.fieldnames:
            near = difflib.get_close_matches(name, _COLUMNS, n=1, cutoff=0.75)
            if name not in _COLUMNS and near:
                raise SuiteError(f"{path}:1: the column {name!r} is none that is known; did you mean {near[0]!r}?")
        if not {"input", "messages"} & set(rows.fieldnames):
            raise SuiteError(
                f"{path}:1: there is no column `input` (a user's message) or `messages` (a list as JSON); there are "
                f"{', '.join(map(repr, rows.fieldnames))}. Rename one."
            )
        try:
            for row in rows:
                if "" in row or None in row.values():
                    raise SuiteError(f"{path}:{rows.line_num}: the row has not as many cells as the first. Mend it.")
                items.append(_csv_item(row))
        except csv.Error as error:
            raise SuiteError(f"{path}:{rows.line_num}: is not valid CSV: {error}. Mend that line.") from error
    return items


def _row_item(row: dict[str, Any], place: str) -> Item:
    """A row of a table with types; columns that no item has become attributes where they are plain values."""
    known = {field.name for field in msgspec.structs.fields(Item)}
    item = {name: value for name, value in row.items() if name in known and value is not None}
    rest = {name: value for name, value in row.items() if name not in known and isinstance(value, str | int | float)}
    if rest:
        item["attributes"] = {**rest, **(item.get("attributes") or {})}
    try:
        return msgspec.convert(item, Item)
    except msgspec.ValidationError as error:
        raise SuiteError(f"{place}: {error}. Rename or convert that column.") from error


def _csv_item(row: Mapping[str, str]) -> Item:
    """An empty cell is nothing, except under `expected`, where it is the empty text; other columns are attributes."""
    return Item(
        id=row.get("id") or None,
        input=row.get("input") or None,
        messages=row.get("messages") or None,
        expected=row.get("expected"),
        cluster=row.get("cluster") or None,
        tags=tuple(row.get("tags", "").split()),
        attributes={name: value for name, value in row.items() if name not in _COLUMNS},
    )


def _told(error: msgspec.DecodeError) -> str:
    """msgspec's message; a field that is not known comes with the one that may be meant."""
    unknown = re.search(r"unknown field `(.+?)`", str(error))
    if unknown is None:
        return f"{error}."
    known = [field.name for field in msgspec.structs.fields(Item)]
    near = difflib.get_close_matches(unknown[1], known, n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}; put others under `attributes`."
    return f"`{unknown[1]}` is no field of a case; {hint}"


def _text(value: Any) -> str:
    """A value as JSON text that can be encoded: half a surrogate pair stays an escape."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if _encodes(text) else json.dumps(value, default=str)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
