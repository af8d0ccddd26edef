"""Reads a file of somebody else's records, whatever it is: chat JSONL, OTLP, a Langfuse export or an Inspect log.

The format is told by the content: gzip, Zstandard and ZIP by their magic, protobuf by its first bytes, JSON by the
fields of its first row. JSON may be one object per line, one list, or one object that holds a page of them in `data`.
The file is read row by row, except for protobuf and JSON that is not in lines, which are held in memory.
"""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import msgspec

from watchkeeper.adapters.formats import chat_jsonl, inspect_log, langfuse, otlp_file, told
from watchkeeper.adapters.formats.imported import Imported, Rejected
from watchkeeper.adapters.formats.unpacking import GZIP, LONGEST_LINE, ZIP, Broken, TooLarge, expanded, lines, whole
from watchkeeper.records.record import as_json

Format = Literal["auto", "chat", "otlp", "langfuse", "inspect", "watchkeeper"]
FORMATS: tuple[Format, ...] = ("auto", "chat", "otlp", "langfuse", "inspect", "watchkeeper")
MOST_BYTES = 1 << 30
_HEAD = 1 << 16


class UnknownFormat(ValueError):
    """A file that is none of the formats read here; the message says what it looks like and what is read."""


def read(source: Path | BinaryIO, format: Format = "auto", file_time_ns: int | None = None) -> Iterator[Imported]:
    """Everything a file holds, in its order: spans with their bodies, exports, scores, and the rows that were refused.

    `file_time_ns` stands in for times that rows do not have (default: the file's modification time, or now for a
    stream). Raises `UnknownFormat` when the content is none of the formats, and `OSError` when it cannot be read.
    """
    if format not in FORMATS:
        raise UnknownFormat(f"There is no format {format!r}. It is one of {', '.join(FORMATS)}.")
    if isinstance(source, Path):
        at_ns = source.stat().st_mtime_ns if file_time_ns is None else file_time_ns
        with source.open("rb") as file:
            yield from _read(file, format, at_ns)
    else:
        yield from _read(source, format, time.time_ns() if file_time_ns is None else file_time_ns)


def _read(file: BinaryIO, format: Format, file_time_ns: int) -> Iterator[Imported]:
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(cast("Any", file))
    kind = "gzip" if buffered.peek(2)[:2] == GZIP else "compressed"
    try:
        if buffered.peek(4)[:4] == ZIP:
            yield from _archive(buffered, format)
        else:
            yield from _plain(expanded(buffered), format, file_time_ns)
    except (*Broken, zipfile.BadZipFile) as error:
        yield Rejected(
            line=0, reason=f"the {kind} stream is broken here, so the rest of the file was not read: {error}"
        )
    except TooLarge as error:
        raise UnknownFormat(str(error)) from error


def _archive(file: io.BufferedReader, format: Format) -> Iterator[Imported]:
    held = file if file.seekable() else io.BytesIO(whole(file, MOST_BYTES))
    try:
        with zipfile.ZipFile(cast("BinaryIO", held)) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise UnknownFormat(f"The file begins like a ZIP archive ('PK') and is none: {error}.") from error
    if format not in ("auto", "inspect") or not inspect_log.is_archive(names):
        shown = ", ".join(names[:5]) or "nothing"
        raise UnknownFormat(f"The file is a ZIP archive that holds {shown}. Unpack it and import the files in it.")
    held.seek(0)
    yield from inspect_log.read_archive(cast("BinaryIO", held))


def _plain(file: io.BufferedReader, format: Format, file_time_ns: int) -> Iterator[Imported]:
    raw = file.peek(_HEAD)[:_HEAD]
    head = raw.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        raise UnknownFormat("The file is empty; there is nothing to import.")
    if format in ("auto", "otlp") and otlp_file.looks_binary(raw):
        data = whole(file, MOST_BYTES)
        if head[:1] not in (b"{", b"[") or otlp_file.is_export(data):
            yield from otlp_file.read_binary(data)
            return
        file = io.BufferedReader(cast("Any", io.BytesIO(data)))
    if head[:1] not in (b"{", b"["):
        shown = head[:40].decode("utf-8", "replace")
        raise UnknownFormat(
            f"The file is neither JSON nor an OTLP export; it begins with {shown!r}. "
            "Read here are chat logs as JSON lines, OTLP as protobuf or JSON lines, Langfuse exports and Inspect logs."
        )
    long: list[int] = []
    rows = _rows(file, long)
    first = next(rows, None)
    if first is None:
        raise UnknownFormat("The file holds no JSON rows; there is nothing to import.")
    chosen = _format_of(first[1]) if format == "auto" else format
    yield from _rows_as(chosen, _again(first, rows), file_time_ns)
    for line in long:
        yield Rejected(line=line, reason=f"has more than {LONGEST_LINE >> 20} MiB in one line, which is not read")


def _rows_as(format: str, rows: Iterator[tuple[int, bytes]], file_time_ns: int) -> Iterator[Imported]:
    if format == "otlp":
        return otlp_file.read_rows(rows)
    if format == "langfuse":
        return langfuse.read_rows(rows)
    if format == "watchkeeper":
        return told.read_rows(rows)
    if format == "inspect":
        return inspect_log.read_rows(rows)
    return chat_jsonl.read_rows(rows, file_time_ns)


def _format_of(raw: bytes) -> Format:
    """The format of a row. A first row that cannot be read says nothing; a log of chats is then the likeliest."""
    try:
        row = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "chat"
    if told.looks_like(row):
        return "watchkeeper"
    if otlp_file.looks_like(row):
        return "otlp"
    if inspect_log.looks_like(row):
        return "inspect"
    if langfuse.looks_like(row):
        return "langfuse"
    if chat_jsonl.looks_like(row):
        return "chat"
    keys = ", ".join(sorted(row)[:8]) if isinstance(row, dict) else type(row).__name__
    raise UnknownFormat(
        f"The first row is none of the formats read here; it has {keys or 'no fields'}. A chat row has messages or a "
        "request and a response, an OTLP row resourceSpans, a Langfuse row a trace or a traceId, an Inspect log eval."
    )


def _again(first: tuple[int, bytes], rest: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    yield first
    yield from rest


def _rows(file: io.BufferedReader, long: list[int]) -> Iterator[tuple[int, bytes]]:
    """The rows with their line numbers; lines that are not read are put into `long`.

    A first line that is no whole value means that the file is one value.
    """
    numbered = lines(cast("BinaryIO", file))
    for line, first in numbered:
        if first is None:
            raise TooLarge(f"Its first line has more than {LONGEST_LINE >> 20} MiB. Split it and import the parts.")
        if line == 1:
            first = first.removeprefix(b"\xef\xbb\xbf")
        if not first.strip():
            continue
        if first.lstrip()[:1] != b"{" or (value := _value_in(first)) is None:
            yield from _one_value(first, line, file)
            return
        yield from _spread(value, first, line)
        break
    for line, raw in numbered:
        if raw is None:
            long.append(line)
        elif raw.strip():
            yield from _spread(_value_in(raw) if _PAGE in raw[:_HEAD] else {}, raw, line)


_PAGE = b'"data"'


def _value_in(raw: bytes) -> Any:
    """The JSON value in a line; None where it is none, or not a whole one."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _spread(value: Any, raw: bytes, line: int) -> Iterator[tuple[int, bytes]]:
    """A row, or the rows of a page that an API answered with."""
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        yield line, raw
        return
    for row in value["data"]:
        yield line, as_json(row)


def _one_value(first: bytes, line: int, file: io.BufferedReader) -> Iterator[tuple[int, bytes]]:
    rest = whole(cast("BinaryIO", file), MOST_BYTES)
    value = _value_in(first + rest)
    if value is None:
        # Lines after all, the first of which is broken: it is listed with the others.
        for number, raw in enumerate((first + rest).splitlines(), line):
            if raw.strip():
                yield number, raw
        return
    if isinstance(value, dict) and isinstance(value.get("data"), list):
        value = value["data"]
    for number, row in enumerate(value if isinstance(value, list) else [value], 1):
        yield number, as_json(row)
