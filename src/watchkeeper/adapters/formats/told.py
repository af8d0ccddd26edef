"""A span with all that was kept of it, as the exports write it and the importer of our own format reads it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from watchkeeper.adapters.formats.conversation import Conversation, plain_messages
from watchkeeper.adapters.formats.imported import Imported, ImportedSpan, Rejected
from watchkeeper.records.ids import is_span_id, is_trace_id
from watchkeeper.records.record import Record, as_json
from watchkeeper.records.span import NOWHERE, Span

VERSION = 1
_MARK = "watchkeeper"


class Kept(Record):
    """One payload of a span: its bytes, or None where they were erased or cannot be read, with the reason in `gone`."""

    name: str
    media: str
    data: bytes | None = None
    gone: str = ""
    redactions: int = 0


class Told(Record):
    """A span, its messages, its payloads, and why it is not whole where it is not."""

    span: Span
    conversation: Conversation = Conversation()
    bodies: tuple[Kept, ...] = ()
    gone: str = ""

    @property
    def erased(self) -> tuple[str, ...]:
        """What is missing: names of payloads, or "span" where only its index entry is left."""
        return (*(("span",) if self.gone else ()), *(each.name for each in self.bodies if each.data is None))


def line_of(told: Told) -> bytes:
    """A span as one line of JSON: the record, its messages in OpenAI's form, its payloads as text or base64."""
    span = msgspec.to_builtins(msgspec.structs.replace(told.span, bodies=(), origin=NOWHERE))
    span.pop("origin", None)
    row: dict[str, Any] = {_MARK: VERSION, "span": span}
    talk = told.conversation
    if talk.input or talk.output:
        row["messages"] = {"input": plain_messages(talk.input), "output": plain_messages(talk.output)}
    if told.bodies:
        row["bodies"] = [_body(each) for each in told.bodies]
    if told.gone:
        row["erased"] = told.gone
    return as_json(row) + b"\n"


def _body(kept: Kept) -> dict[str, Any]:
    row: dict[str, Any] = {"name": kept.name, "media": kept.media}
    if kept.redactions:
        row["redactions"] = kept.redactions
    if kept.data is None:
        return row | {"erased": kept.gone or "not kept"}
    try:
        return row | {"text": kept.data.decode()}
    except UnicodeDecodeError:
        return row | {"base64": base64.b64encode(kept.data).decode()}


def looks_like(row: Any) -> bool:
    """Whether a JSON row is a span of our own export."""
    return isinstance(row, dict) and type(row.get(_MARK)) is int and isinstance(row.get("span"), dict)


def read_rows(rows: Iterable[tuple[int, bytes]]) -> Iterator[Imported]:
    """Read lines of our own export; a span keeps its ids and says by which door it came to the house it is from."""
    for line, raw in rows:
        try:
            row = msgspec.json.decode(raw, type=dict[str, Any])
            yield _span(row)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
            yield Rejected(line=line, reason=f"is no span of an export: {str(error)[:300]}")


def _span(row: dict[str, Any]) -> ImportedSpan:
    if not looks_like(row):
        raise ValueError("it has no version and span")
    if row[_MARK] > VERSION:
        raise ValueError(f"it has version {row[_MARK]}; this program reads up to {VERSION}")
    span = msgspec.convert(row["span"], Span)
    if not is_trace_id(span.trace_id) or not is_span_id(span.span_id) or not 0 < span.start_ns < 1 << 63:
        raise ValueError("its span has no valid trace id, span id and start")
    if span.end_ns is not None and not span.start_ns <= span.end_ns < 1 << 63:
        raise ValueError("its span ends before it starts")
    bodies = dict(_payload(each) for each in row.get("bodies") or () if isinstance(each, dict) and "erased" not in each)
    messages = row.get("messages")
    if not bodies and isinstance(messages, dict):
        bodies = {f"messages.{side}": as_json(messages[side]) for side in ("input", "output") if messages.get(side)}
    kept = span.attributes if span.door == "import" else span.attributes | {"watchkeeper.door": span.door}
    mine = msgspec.structs.replace(
        span, door="import", origin=NOWHERE, bodies=(), revision=max(1, span.revision), attributes=kept
    )
    return ImportedSpan(span=mine, bodies=tuple(bodies.items()))


def _payload(row: dict[str, Any]) -> tuple[str, bytes]:
    if isinstance(row.get("text"), str) and "name" in row:
        return str(row["name"]), row["text"].encode()
    if not isinstance(row.get("base64"), str) or "name" not in row:
        raise ValueError("one of its payloads has neither text nor base64, or no name")
    return str(row["name"]), base64.b64decode(row["base64"], validate=True)
