"""Reads the top-level fields of a JSON body without parsing what is in them, and edits single ones, all else kept."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import msgspec

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.records.record import as_json

MOST_TOKENS = 1_000_000_000
MOST_CHOICES = 1024
Tokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]

MODEL_ALONE = frozenset({"model"})
"""What a limit rests on in a body of an interface that is not known: only the model is read."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_any = msgspec.json.Decoder()
_OPEN = re.compile(rb"[ \t\r\n]*\{")
_KEY = re.compile(rb'[ \t\r\n]*"((?:[^"\\]|\\.)*)"[ \t\r\n]*:[ \t\r\n]*', re.DOTALL)
_NEXT = re.compile(rb"[ \t\r\n]*([,}])")
_COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_LONG_VALUE = 512
_CONVERSATIONS = (("messages", b'"messages"'), ("input", b'"input"'))


def read_fields(body: bytes, limiting: frozenset[str] = MODEL_ALONE) -> dict[str, msgspec.Raw]:
    """The top-level fields of a JSON object as raw bytes; `limiting` are the names that a limit rests on.

    Raises a 400 when the body is not one JSON object, or names such a field twice or in other letters (`Max_Tokens`):
    which of the two the upstream would obey is not known, so no limit could be kept.
    """
    try:
        fields = _fields.decode(body)
    except msgspec.ValidationError as error:
        raise Refusal(400, "invalid_json", "The body is JSON but not an object. Send one JSON object.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "invalid_json", f"The body is not valid JSON: {error}. Send one JSON object.") from error
    except RecursionError as error:
        raise Refusal(400, "invalid_json", "The body is nested too deeply to be read.") from error
    for name in fields:
        if name not in limiting and not (name.isascii() and name.islower()) and name.casefold() in limiting:
            raise _miswritten(name)
    # A name that stands once in the body stands once in its object, unless its letters are written as \\u00xx.
    rest = _without_conversation(body, fields)
    if b"\\u00" in rest or any(rest.count(mark) > 1 for mark in _marks(limiting)):
        places_of(body, fields)
    return fields


@lru_cache(maxsize=64)
def _marks(limiting: frozenset[str]) -> tuple[bytes, ...]:
    """The names as they stand in a body."""
    return tuple(b'"%b"' % name.encode() for name in sorted(limiting))


def _without_conversation(body: bytes, fields: Mapping[str, msgspec.Raw]) -> bytes:
    """The body less the value of its conversation, in which no name of the body stands; whole if in doubt."""
    name, written = next((each for each in _CONVERSATIONS if each[0] in fields), ("", b""))
    value = bytes(fields[name]) if name else b""
    if len(value) < _LONG_VALUE:
        return body
    key = body.find(written)
    colon = _COLON.match(body, key + len(written)) if key >= 0 else None
    if colon is None or not body.startswith(value, colon.end()):
        return body
    return body[: colon.end()] + body[colon.end() + len(value) :]


def _miswritten(name: str) -> Refusal:
    return Refusal(
        400,
        "invalid_field",
        f"The field {name[:100]!r} is written like {name.casefold()[:100]!r} in other letters, and some models would "
        "read it as that. Write it in small letters.",
        param=name[:100],
    )


def places_of(body: bytes, fields: Mapping[str, msgspec.Raw]) -> dict[str, tuple[int, int]]:
    """Where the value of each top-level field begins and ends in the body; raises a 400 when a field is named twice."""
    places: dict[str, tuple[int, int]] = {}
    opening = _OPEN.match(body)
    at = opening.end() if opening else 0
    while len(places) < len(fields):
        key = _KEY.match(body, at)
        if key is None:
            raise _twice(None)
        name = key.group(1).decode() if b"\\" not in key.group(1) else str(_any.decode(b'"' + key.group(1) + b'"'))
        at = key.end()
        value = bytes(fields[name]) if name in fields else b""
        if name in places or not value or not body.startswith(value, at):
            raise _twice(name)
        places[name] = (at, at + len(value))
        following = _NEXT.match(body, at + len(value))
        if following is None:
            raise _twice(name)
        at = following.end()
    if fields and body[at - 1 : at] != b"}":
        raise _twice(None)
    return places


def _twice(name: str | None) -> Refusal:
    which = "a field" if name is None else f"the field {name[:100]!r}"
    return Refusal(
        400,
        "duplicate_field",
        f"The body names {which} more than once, so it is not clear which value counts. Send each field once.",
        param=name,
    )


def read_model(fields: Mapping[str, msgspec.Raw]) -> str:
    """The model a request asks for; raises a 400 when it is missing or not a name."""
    model: str | None = typed(fields, "model", str, "a model's name")
    if not model:
        raise no_model()
    return model


def no_model() -> Refusal:
    """The answer to a request that names no model."""
    return Refusal(
        400, "model_missing", "The body has no model. Set the field model to the name of one.", param="model"
    )


def typed(fields: Mapping[str, msgspec.Raw], name: str, kind: Any, expected: str) -> Any:
    """A field's value, None when it is absent or null; raises a 400 that says what was `expected`."""
    raw = fields.get(name)
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=kind | None)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise wrong(name, expected) from error


def count(fields: Mapping[str, msgspec.Raw], name: str, low: int, high: int) -> int | None:
    """A whole number from `low` to `high` (5.0 is one too), None when it is absent or null; raises a 400 otherwise."""
    value = typed(fields, name, int | float, f"a whole number from {low} to {high}")
    if value is None:
        return None
    if not low <= value <= high or value != int(value):
        raise wrong(name, f"a whole number from {low} to {high}")
    return int(value)


def wrong(name: str, expected: str) -> Refusal:
    """The answer to a field whose value cannot be used."""
    return Refusal(400, "invalid_value", f"The field {name} should be {expected}. Correct it.", param=name)


def rewrite(body: bytes, fields: Mapping[str, msgspec.Raw], changes: Mapping[str, bytes]) -> bytes:
    """The body with the values of some top-level fields replaced (or added at its front); all other bytes are kept."""
    places = places_of(body, fields)
    pieces: list[bytes] = []
    end = len(body)
    for name, value in sorted(changes.items(), key=lambda change: places.get(change[0], (0, 0)), reverse=True):
        if name in places:
            begin, stop = places[name]
            pieces += [body[stop:end], value]
            end = begin
        else:
            opening = body.index(b"{") + 1
            pieces += [body[opening:end], as_json(name) + b":" + value + b","]
            end = opening
    pieces.append(body[:end])
    return b"".join(reversed(pieces))


def inflate(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """Undo a request's content coding, at most up to the limit; raises 400, 413 or 415."""
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Refusal(
            415,
            "unsupported_encoding",
            f"The body's content-encoding {coding[:50]!r} is not known here. Send it plain or as gzip.",
        )
    unpacker = zlib.decompressobj(15 if coding == "deflate" else 31)
    try:
        plain = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise Refusal(
            400, "invalid_encoding", f"The body is not valid {coding}, as its content-encoding says."
        ) from error
    if len(plain) > limit_bytes:
        raise too_large(limit_bytes)
    if not unpacker.eof:
        raise Refusal(400, "invalid_encoding", f"The {coding} body ends before its end. Send it whole.")
    return plain


def too_large(limit_bytes: int) -> Refusal:
    """The answer to a body over the limit."""
    return Refusal(
        413,
        "body_too_large",
        f"The body is larger than the {limit_bytes:,} bytes that are accepted here. Send less, or raise the limit.",
        close=True,
    )


def check_media(media: bytes | None) -> None:
    """Raise a 415 for a body that does not say it is JSON."""
    if media is None or media == b"application/json":
        return
    kind = media.partition(b";")[0].strip().lower()
    if kind not in (b"application/json", b"") and not kind.endswith(b"+json"):
        raise Refusal(
            415,
            "unsupported_media_type",
            f"The content-type is {kind.decode('latin-1')[:80]!r}, expected application/json. "
            "Send JSON and say so in the header Content-Type.",
        )
