"""Places an item or a live call in a cell of a capability map by the features that it declares, and by nothing else.

One way of placing for what was measured, what is recorded and what is routed: a share of traffic that was read from the
record and a route then mean the same cells. A feature that is not declared is not guessed, so its cell is unmeasured.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from watchkeeper.records.capability_map import CapabilityMap, Cell, Key, State
from watchkeeper.records.ids import digest
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import as_json

FEATURE = "watchkeeper.feature."
"""What stands before a feature's name in the attributes of a span or an event."""

UNKNOWN = "unknown"
UNTOLD = "what it was measured on is not told"
_INSIDE = ("attributes", "metadata", "span.attributes")
Get = Callable[[str], Any]


def text(value: Any) -> str:
    """A value as text: 1, 1.0 and "1" are the same name; nothing is the empty text."""
    if isinstance(value, str):
        return value.strip()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, dict | list):
        import json

        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    return str(value)


def feature(get: Get, name: str) -> str:
    """A declared feature: a value of its own, or one of the `attributes` or the `metadata`; empty when there is none.

    `get` gives a value by its name, None where there is none; a row of an export has its `attributes` in its `span`.
    """
    for each in (name, FEATURE + name):
        if found := text(get(each)):
            return found
    for inside in _INSIDE:
        values = get(inside)
        if isinstance(values, Mapping):
            for each in (name, FEATURE + name):
                if found := text(values.get(each)):
                    return found
    return ""


def cell_of(get: Get, columns: Sequence[str]) -> Key:
    """The cell of something: its features in the order of the columns, "unknown" where it declares none."""
    return tuple(feature(get, name) or UNKNOWN for name in columns)


def found_in(drawn: CapabilityMap, key: Key) -> Cell | None:
    """The cell of a map, None where the map has none or something was not declared."""
    if UNKNOWN in key:
        return None
    place = bisect_left(drawn.cells, key, key=lambda each: each.cell)
    return drawn.cells[place] if place < len(drawn.cells) and drawn.cells[place].cell == key else None


def state_of(drawn: CapabilityMap, key: Key) -> State:
    """The state of a cell; "unmeasured" where the map has no such cell or something was not declared."""
    cell = found_in(drawn, key)
    return "unmeasured" if cell is None else cell.state


def content_digest(drawn: CapabilityMap) -> str:
    """The digest that names a map: of all that it holds, but for that name itself."""
    return digest(as_json(msgspec.structs.replace(drawn, digest="")))


def told(columns: Sequence[str], key: Key) -> str:
    """A cell in words: "family=dates, difficulty=easy"."""
    return ", ".join(f"{name}={value}" for name, value in zip(columns, key, strict=True))


def differs(measured: Sequence[Manifest], served: Manifest, same: Sequence[str]) -> tuple[str, ...]:
    """In which components what is served differs from what was measured; none where it is the same.

    `same` are the components that have to agree. Of several compositions the nearest counts; a map that tells of none
    differs in that.
    """
    if any(each.digest == served.digest for each in measured):
        return ()
    known = [each for each in measured if each.components]
    if not known or not served.components:
        return (UNTOLD,)
    found = [tuple(name for name in same if each.components.get(name) != served.components.get(name)) for each in known]
    return min(found, key=len)
