"""Puts pseudonyms in place of names in OTLP exports: in the attributes that say whose a span is, and in texts.

Limits: the rest is written anew by the protobuf library, so fields that it does not know are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from watchkeeper.adapters.formats import otlp_logs
from watchkeeper.adapters.formats.otlp_wire import Stamp, parse, parse_as, read_stamp, stamped
from watchkeeper.adapters.formats.semconv import PLACES, place_of
from watchkeeper.records.identity import Identity

Sub = Callable[[str], str]
_PLAIN = frozenset(("schema_url", "key"))


def rename_spans(payload: bytes, came_ns: int, fields: Collection[str], of: Sub, sub: Sub) -> bytes:
    """A trace export in which attributes that fill one of `fields` are put through `of`, and other texts through `sub`.

    `came_ns` is when it came in, for one whose stamp does not say it.
    """
    return _renamed(parse(payload), payload, came_ns, fields, of, sub)


def rename_logs(payload: bytes, came_ns: int, fields: Collection[str], of: Sub, sub: Sub) -> bytes:
    """The same for a log export."""
    return _renamed(parse_as(otlp_logs._request_type(), payload, "log"), payload, came_ns, fields, of, sub)


def _renamed(request: Any, payload: bytes, came_ns: int, fields: Collection[str], of: Sub, sub: Sub) -> bytes:
    request.DiscardUnknownFields()
    _message(request, fields, of, sub)
    mark = read_stamp(payload) or Stamp(received_ns=came_ns)
    return stamped(request.SerializeToString(), _marked(mark, _identity(mark.identity, fields, of)))


def _marked(mark: Stamp, identity: Identity) -> Stamp:
    return type(mark)(received_ns=mark.received_ns, door=mark.door, identity=identity)


def _identity(identity: Identity, fields: Collection[str], of: Sub) -> Identity:
    new = {field: of(name) for field in fields if (name := getattr(identity, field))}
    return msgspec.structs.replace(identity, **new)


def _message(message: Any, fields: Collection[str], of: Sub, sub: Sub) -> None:
    if message.DESCRIPTOR.name == "KeyValue" and _place(message.key) in fields and _named(message.value, of):
        return
    for field, value in list(message.ListFields()):
        many = hasattr(value, "__len__") and not isinstance(value, str | bytes) and not hasattr(value, "DESCRIPTOR")
        if field.type == field.TYPE_MESSAGE:
            for each in value if many else (value,):
                _message(each, fields, of, sub)
        elif field.type == field.TYPE_STRING and field.name not in _PLAIN:
            if many:
                value[:] = [sub(each) for each in value]
            elif (said := sub(value)) != value:
                setattr(message, field.name, said)


def _named(value: Any, of: Sub) -> bool:
    """Put a name in an attribute through `of`; False for a value that is no name."""
    which = value.WhichOneof("value")
    if which not in ("string_value", "int_value"):
        return False
    if (name := str(getattr(value, which))) != "":
        value.string_value = of(name)
    return True


def _place(key: str) -> str | None:
    field: str | None = (PLACES.get(key) or place_of(key)).field
    return field
