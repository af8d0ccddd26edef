"""Reads the attributes of exported spans for the index: each distinct attribute once, from its bytes.

The spans of one program repeat most of their attributes byte for byte (operation, provider, model, agent, host), so
what an attribute means is remembered under its bytes. Text and whole numbers in the plain form that every exporter
writes are read here; any other form is left to protobuf. The same attributes read one by one through protobuf, as the
span's page does it in `otlp`, give the same.

Limits: raises `MalformedExport` or `UnicodeDecodeError` where the bytes are no attribute; the caller then lets protobuf
judge the export as a whole.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

from watchkeeper.adapters.formats.otlp_wire import parse_attribute
from watchkeeper.adapters.formats.semconv import Place, place_of
from watchkeeper.records.record import Scalar, as_json

LONGEST_VALUE = 256
MOST_ATTRIBUTES = 128
_LONGEST_REMEMBERED = 128
_MOST_REMEMBERED = 8_192
_MOST_KEYS = 4_096
_SIGN = 1 << 63
_UNTOLD = 99


Reading = tuple[str, str | None, int, Any, bool, Scalar, bool]
"""One attribute: its key, the field it fills (None: none) and its rank there, its value, whether it stands in the map
and as what, and whether it is content. A plain tuple, because one is made for every attribute that is new."""

Sorted = tuple[dict[str, Any], dict[str, Any]]

_known: dict[bytes, Reading] = {}
_keys: dict[bytes, tuple[str, Place]] = {}


def read_attributes(raw: Sequence[bytes], kept: dict[str, Scalar]) -> Sorted:
    """Sort a span's attributes, each given as its bytes; see `sort`."""
    known = _known.get  # asked for short ones only: hashing a message takes as long as reading it
    return sort([(len(each) <= _LONGEST_REMEMBERED and known(each)) or _learnt(each) for each in raw[:]], kept)


def read_messages(attributes: Iterable[Any], kept: dict[str, Scalar]) -> Sorted:
    """The same for attributes that protobuf has read."""
    return sort([reading(kv.key, place_of(kv.key), any_value(kv.value)) for kv in attributes], kept)


def sort(readings: Iterable[Reading], kept: dict[str, Scalar]) -> Sorted:
    """Put attributes into the map `kept`, and into the fields (the best name wins) and the content returned."""
    fields: dict[str, Any] = {}
    content: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    unindexed = 0
    for key, field, rank, value, mapped, shown, is_content in readings:
        if field is not None and value is not None and rank < ranks.get(field, _UNTOLD):
            ranks[field] = rank
            fields[field] = value
        if mapped:
            kept[key] = shown
        elif is_content:
            content[key] = value
        else:
            unindexed += 1
    if len(kept) > MOST_ATTRIBUTES:
        unindexed += _cut(kept)
    if unindexed:
        kept["watchkeeper.unindexed_attributes"] = unindexed
    return fields, content


def _cut(kept: dict[str, Scalar]) -> int:
    """Leave the first entries in the map; returns how many went."""
    surplus = list(kept)[MOST_ATTRIBUTES:]
    for key in surplus:
        del kept[key]
    return len(surplus)


def reading(key: str, place: Place, value: Any) -> Reading:
    """What an attribute means, from its plain value: text, a number, a list, a mapping or None."""
    field, rank, kept, content = place
    if content:
        return key, None, 0, value, False, None, True
    if not kept:
        return key, None, 0, None, False, None, False
    kind = value.__class__
    if kind is str:
        return key, field, rank, value, len(value) <= LONGEST_VALUE, value, False
    if kind is list or kind is dict:
        text = as_json(value).decode()
        return key, field, rank, value, len(text) <= LONGEST_VALUE, text, False
    return key, field, rank, value, True, value, False


def _learnt(raw: bytes) -> Reading:
    """Read an attribute, and remember it unless it is long."""
    found = _plainly(raw)
    if found is None:
        kv = parse_attribute(raw)
        found = reading(kv.key, place_of(kv.key), any_value(kv.value))
    if len(raw) <= _LONGEST_REMEMBERED:
        if len(_known) >= _MOST_REMEMBERED:
            _known.clear()
        _known[raw] = found
    return found


def _plainly(raw: bytes) -> Reading | None:
    """An attribute whose bytes are a short key and then one text or whole number; None for every other form."""
    size = len(raw)
    if size < 8 or raw[0] != 0x0A:
        return None
    end = raw[1] + 2
    if end > 0x81 or end + 4 > size or raw[end] != 0x12:
        return None
    # A length takes one byte, or two from 128 on; the field whose length it is has to fill the rest.
    at = end + 2 if raw[end + 1] == size - end - 2 < 0x80 else _long(raw, end + 1, size)
    if not at:
        return None
    tag = raw[at]
    if tag == 0x0A:
        at = at + 2 if raw[at + 1] == size - at - 2 < 0x80 else _long(raw, at + 1, size)
        if not at:
            return None
        value: Any = raw[at:].decode()
    elif tag == 0x18:
        value = _whole(raw, at + 1, size)
        if value is None:
            return None
    else:
        return None
    name = raw[2:end]
    key, place = _keys.get(name) or _named(name)
    return reading(key, place, value)


def _long(raw: bytes, at: int, size: int) -> int:
    """Where a field of 128 bytes to 2 MiB begins whose length stands at `at` and which fills the rest; else 0."""
    if size - at < 130:
        return 0
    first, second, third = raw[at], raw[at + 1], raw[at + 2]
    if first < 0x80:
        return 0
    if second < 0x80:
        return at + 2 if first & 0x7F | second << 7 == size - at - 2 else 0
    if third < 0x80:
        return at + 3 if first & 0x7F | (second & 0x7F) << 7 | third << 14 == size - at - 3 else 0
    return 0


def _whole(raw: bytes, at: int, size: int) -> int | None:
    """The number from 0 to 2^56 that fills the rest; None when it does not, or is another."""
    number = shift = 0
    for byte in raw[at:]:
        if shift > 49 or (byte < 0x80) != (at + shift // 7 + 1 == size):
            return None
        number |= (byte & 0x7F) << shift
        shift += 7
    return number if shift else None


def _named(name: bytes) -> tuple[str, Place]:
    key = name.decode()
    found = (key, place_of(key))
    if len(_keys) >= _MOST_KEYS:
        _keys.clear()
    _keys[name] = found
    return found


def any_value(value: Any) -> Any:
    """An AnyValue as a plain value: scalars, lists, mappings, bytes as base64 text."""
    return value.string_value or other_value(value)


def other_value(value: Any) -> Any:
    """An AnyValue that is no text, or empty text."""
    which = value.WhichOneof("value")
    if which == "int_value":
        return value.int_value
    if which == "array_value":
        return [any_value(each) for each in value.array_value.values]
    if which == "kvlist_value":
        return {each.key: any_value(each.value) for each in value.kvlist_value.values}
    if which == "bytes_value":
        return base64.b64encode(value.bytes_value).decode()
    return None if which is None else getattr(value, which)
