"""Takes spans out of a house: rows of the index in, whole spans with their messages out, in a format to go on with."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import msgspec

from watchkeeper.adapters.formats.conversation import Conversation, Message, ToolCall, conversation_of, plain_messages
from watchkeeper.adapters.formats.otlp import span_at
from watchkeeper.adapters.formats.otlp_export import Names, framed, json_line
from watchkeeper.adapters.formats.told import Kept, Told, line_of
from watchkeeper.compose.payloads import REPLY_NAMES, REQUEST_NAMES
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.queries.tables import record_of, row_of
from watchkeeper.records.body import Body
from watchkeeper.records.record import as_json
from watchkeeper.records.span import Origin, Span

Format = Literal["otlp", "jsonl", "parquet"]
Encoding = Literal["protobuf", "json"]
AT_ONCE = 100
_FRAMES_HELD = 4
Row = Mapping[str, Any]


class Writer(Protocol):
    """A file in the making."""

    def add(self, told: list[Told]) -> None:
        """Write some spans."""
        ...

    def finish(self) -> None:
        """Write what is left."""
        ...

    def abandon(self) -> None:
        """Give up, and leave nothing behind."""
        ...


class Exporter:
    """Makes whole spans of index rows by reading the journal. `ask` finds what was said where only logs tell it."""

    def __init__(self, vault: Vault, ask: Callable[[Span], Mapping[str, Any]]) -> None:
        self._vault, self._ask = vault, ask
        self._frames: OrderedDict[Origin, tuple[FrameKind, bytes]] = OrderedDict()

    def whole(self, row: Row) -> Told:
        """A span with its messages and payloads; what was erased is told as such, and the rest of it kept."""
        nested = {key: as_json(value).decode() if isinstance(value, list | dict) and key != "attributes" else value
                  for key, value in row.items()}  # fmt: skip
        indexed = record_of("spans", nested)
        assert isinstance(indexed, Span)
        try:
            kind, payload = self._frame(indexed.origin)
            if kind == FrameKind.OTLP:
                told = self._exported(indexed, payload)
            else:
                told = self._recorded(indexed, self._vault.span(indexed.origin))
        except (KeyError, ValueError, OSError) as error:
            return Told(span=indexed, gone=_reason(error))
        if not told.conversation.input and not told.conversation.output and indexed.preview and not told.erased:
            told = msgspec.structs.replace(told, conversation=_conversation_in(self._ask(indexed)))
        return told

    def _frame(self, origin: Origin) -> tuple[FrameKind, bytes]:
        place = msgspec.structs.replace(origin, item=0)
        found = self._frames.get(place)
        if found is None:
            found = self._frames[place] = self._vault.payload(place)
            if len(self._frames) > _FRAMES_HELD:
                self._frames.popitem(last=False)
        return found

    def _exported(self, indexed: Span, payload: bytes) -> Told:
        attributes, events, conversation = span_at(payload, indexed.origin.item)
        scalars = {key: value for key, value in attributes.items() if isinstance(value, str | int | float | bool)}
        kept = {key: value for key, value in scalars.items() if key in indexed.attributes}
        return Told(
            span=msgspec.structs.replace(indexed, events=events, attributes=indexed.attributes | kept),
            conversation=conversation,
        )

    def _recorded(self, indexed: Span, whole: Span) -> Told:
        bodies = tuple(self._body(body) for body in whole.bodies)
        found = {each.name: each.data for each in bodies if each.data is not None}
        request = next((found[name] for name in REQUEST_NAMES if name in found), b"")
        reply = next((found[name] for name in REPLY_NAMES if name in found), b"")
        span = msgspec.structs.replace(
            whole,
            cost=indexed.cost or whole.cost,
            preview=indexed.preview or whole.preview,
            duplicate_of=indexed.duplicate_of,
            bodies=(),
        )
        return Told(span=span, conversation=conversation_of(request, reply), bodies=bodies)

    def _body(self, body: Body) -> Kept:
        redactions = int(getattr(body, "redactions", 0))
        try:
            data = self._vault.body(body)
        except (KeyError, ValueError, OSError) as error:
            return Kept(name=body.name, media=body.media, gone=_reason(error), redactions=redactions)
        return Kept(name=body.name, media=body.media, data=data, redactions=redactions)


def _reason(error: Exception) -> str:
    return str(error.args[0]) if error.args else type(error).__name__


def _conversation_in(detail: Mapping[str, Any]) -> Conversation:
    """The conversation in an answer of the API."""
    talk = detail.get("conversation") or {}
    return Conversation(input=_messages(talk.get("input")), output=_messages(talk.get("output")))


def _messages(said: Any) -> tuple[Message, ...]:
    return tuple(
        Message(
            role=str(each.get("role")),
            text=str(each.get("text") or ""),
            tool_calls=tuple(msgspec.convert(each.get("tool_calls") or (), tuple[ToolCall, ...])),
            tool_call_id=each.get("tool_call_id"),
            name=each.get("name"),
            reasoning=str(each.get("reasoning") or ""),
        )
        for each in said or ()
    )


class _Lines:
    """A file to which each batch of spans is appended."""

    def __init__(self, path: Path, encode: Callable[[list[Told]], bytes]) -> None:
        handle = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        self._file: BinaryIO = os.fdopen(handle, "wb")
        self._encode = encode

    def add(self, told: list[Told]) -> None:
        self._file.write(self._encode(told))

    def finish(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


class _Parquet:
    """A Parquet file of spans."""

    def __init__(self, path: Path) -> None:
        from watchkeeper.adapters.store.parquet import COLUMNS, ParquetFile
        from watchkeeper.queries.tables import SHAPES

        self._path = path
        self._file = ParquetFile(path)
        names = SHAPES["spans"].names()
        self._places = [names.index(name) for name in COLUMNS]
        self._maps = {names.index(field.name) for field in SHAPES["spans"].fields if field.type == "map"}

    def add(self, told: list[Told]) -> None:
        self._file.add([self._row(each) for each in told])

    def finish(self) -> None:
        self._file.finish()
        self._path.chmod(0o600)

    def abandon(self) -> None:
        self._file.abandon()

    def _row(self, told: Told) -> list[object]:
        values = row_of(told.span)
        row: list[object] = [as_json(values[n]).decode() if n in self._maps else values[n] for n in self._places]
        talk = told.conversation
        said = [as_json(plain_messages(each)).decode() if each else None for each in (talk.input, talk.output)]
        return [*row, *said, ", ".join(told.erased) or None]


def writer_of(path: Path, form: Format, encoding: Encoding, names: Names) -> Writer:
    """The writer of a format to a path."""
    if form == "parquet":
        return _Parquet(path)
    if form == "jsonl":
        return _Lines(path, lambda told: b"".join(line_of(each) for each in told))
    encode = framed if encoding == "protobuf" else json_line
    return _Lines(path, lambda told: encode(told, names))


def export(
    rows: Iterator[Row], exporter: Exporter, writer: Writer, told: Callable[[int, int], bool]
) -> tuple[int, int]:
    """Write the spans of some rows; returns how many, and how many of them are not whole.

    `told` is given both now and then, and says whether to go on.
    """
    waiting: list[Told] = []
    spans = partly = 0
    for row in rows:
        each = exporter.whole(row)
        waiting.append(each)
        spans += 1
        partly += bool(each.erased)
        if len(waiting) >= AT_ONCE:
            writer.add(waiting)
            waiting = []
            if not told(spans, partly):
                return spans, partly
    if waiting:
        writer.add(waiting)
    told(spans, partly)
    return spans, partly
