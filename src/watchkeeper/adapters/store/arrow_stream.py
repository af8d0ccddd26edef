"""Hands columns to DuckDB as an Arrow C stream, made with `ctypes` alone: neither pyarrow nor NumPy is needed.

Method: the Arrow C data and stream interfaces (https://arrow.apache.org/docs/format/CDataInterface.html). A column
becomes one buffer of values, for text one of offsets and one of UTF-8 bytes, and validity bits where some are missing.
A column whose values are all the same is not sent at all: `split` gives it back as a constant.

Limits: text, 64-bit integers, doubles and booleans; less than 2 GiB of text in one column of a batch. A stream can be
read once, and must stay alive while it is read.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, ClassVar

from watchkeeper.queries.tables import FieldType

NULLABLE = 2
_FORMATS: dict[FieldType, bytes] = {"text": b"u", "int": b"l", "real": b"g", "bool": b"b", "map": b"u", "json": b"u"}


class _Schema(ctypes.Structure):
    """`struct ArrowSchema`."""


class _Array(ctypes.Structure):
    """`struct ArrowArray`."""


class _Stream(ctypes.Structure):
    """`struct ArrowArrayStream`."""


_ReleaseSchema = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))
_ReleaseArray = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))
_ReleaseStream = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Stream))
_GetSchema = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema))
_GetNext = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))
_GetError = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(_Stream))

_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.POINTER(_Schema)),
    ("release", _ReleaseSchema),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.POINTER(_Array)),
    ("release", _ReleaseArray),
    ("private_data", ctypes.c_void_p),
]
_Stream._fields_ = [
    ("get_schema", _GetSchema),
    ("get_next", _GetNext),
    ("get_last_error", _GetError),
    ("release", _ReleaseStream),
    ("private_data", ctypes.c_void_p),
]

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


# The consumer calls these when it is done with a part; the memory is Python's and goes with the stream's object.
def _let_go_of_schema(schema: Any) -> None:
    schema.contents.release = _ReleaseSchema()


def _let_go_of_array(part: Any) -> None:
    part.contents.release = _ReleaseArray()


def _let_go_of_stream(stream: Any) -> None:
    stream.contents.release = _ReleaseStream()


def _no_error(stream: Any) -> None:
    return None


_release_schema, _release_array = _ReleaseSchema(_let_go_of_schema), _ReleaseArray(_let_go_of_array)
_release_stream, _error = _ReleaseStream(_let_go_of_stream), _GetError(_no_error)


def split(columns: Sequence[Sequence[object]]) -> tuple[list[int], dict[int, object]]:
    """The places of the columns whose values differ, and the value of each of the others."""
    varying, constant = [], {}
    for place, values in enumerate(columns):
        first = values[0]
        if first is not values[-1] and first != values[-1]:
            varying.append(place)
        elif values.count(first) == len(values):  # an int equals the bool and the float of its size: types do not mix
            constant[place] = first
        else:
            varying.append(place)
    return varying, constant


class ColumnStream:
    """Some columns of equal length, once, as DuckDB reads them from a registered view."""

    _CAPSULE: ClassVar[bytes] = b"arrow_array_stream"

    def __init__(self, names: Sequence[str], kinds: Sequence[FieldType], columns: Sequence[Sequence[Any]]) -> None:
        """Raises `OverflowError`, `UnicodeEncodeError` or `TypeError` for a value that its column cannot hold."""
        self._rows = len(columns[0])
        self._kept: list[Any] = []
        arrays = [self._column(kind, values) for kind, values in zip(kinds, columns, strict=True)]
        fields = [
            _Schema(_FORMATS[kind], name.encode(), None, NULLABLE, 0, None, None, _release_schema, None)
            for name, kind in zip(names, kinds, strict=True)
        ]
        self._calls = _callbacks(self._rows, fields, arrays)
        self._stream = _Stream(*self._calls, _error, _release_stream, None)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The stream as a capsule, as the interface asks for it."""
        return _new_capsule(ctypes.addressof(self._stream), self._CAPSULE, None)

    def _column(self, kind: FieldType, values: Sequence[Any]) -> _Array:
        missing = values.count(None)
        valid = _bits([value is not None for value in values]) if missing else None
        buffers: tuple[bytes | array[Any], ...]
        if kind == "int":
            buffers = (array("q", [value or 0 for value in values] if missing else values),)
        elif kind == "real":
            buffers = (array("d", [value or 0.0 for value in values] if missing else values),)
        elif kind == "bool":
            buffers = (_bits(values),)
        else:
            buffers = _text(values, bool(missing))
        places = [None if valid is None else _address(valid), *(_address(buffer) for buffer in buffers)]
        pointers = (ctypes.c_void_p * len(places))(*places)
        self._kept += [valid, buffers, pointers]
        return _Array(self._rows, missing, 0, len(places), 0, pointers, None, None, _release_array, None)


def _callbacks(rows: int, fields: list[Any], arrays: list[Any]) -> tuple[Any, Any]:
    """What gives the schema and the one batch; free of references to the stream, so that its memory goes at once."""
    schemas = (ctypes.POINTER(_Schema) * len(fields))(*map(ctypes.pointer, fields))
    parts = (ctypes.POINTER(_Array) * len(arrays))(*map(ctypes.pointer, arrays))
    valid = (ctypes.c_void_p * 1)(None)
    batch = _Array(rows, 0, 0, 1, len(parts), valid, parts, None, _release_array, None)
    waiting = [batch]

    def schema(stream: Any, out: Any) -> int:
        out[0] = _Schema(b"+s", b"", None, 0, len(schemas), schemas, None, _release_schema, None)
        return 0

    def following(stream: Any, out: Any) -> int:
        out[0] = batch if waiting else _Array()  # a copy: what it points to lives as long as this function
        waiting.clear()
        return 0

    return _GetSchema(schema), _GetNext(following)


def _text(values: Sequence[Any], missing: bool) -> tuple[array[int], bytes]:
    """Offsets and UTF-8 bytes; raises `UnicodeEncodeError` for a lone surrogate."""
    texts: Sequence[str] = [value or "" for value in values] if missing else values
    joined = "".join(texts)
    data = joined.encode()
    sizes = map(len, texts) if len(data) == len(joined) else (len(text.encode()) for text in texts)
    return array("i", accumulate(sizes, initial=0)), data


def _bits(values: Sequence[Any]) -> bytes:
    """One bit a value, the first one lowest."""
    digits = "".join(["1" if value else "0" for value in values])[::-1]
    return int(digits, 2).to_bytes((len(values) + 7) // 8, "little")


def _address(buffer: bytes | array[Any]) -> int | None:
    if isinstance(buffer, array):
        return buffer.buffer_info()[0]
    return ctypes.cast(ctypes.c_char_p(buffer), ctypes.c_void_p).value
