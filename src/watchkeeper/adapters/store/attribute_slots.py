"""Gives the attributes that come often a column of their own, so that a filter on one reads one column.

Method. The table of spans has `SLOTS` text columns besides its own. A key that was seen `OFTEN` times gets the next
free one for good, and its values go there; all other entries stay together as JSON text. A directory in the file says
which key has which column, and between which times there are rows that hold the key in the JSON text: those from before
it had a column, or all of them where no column was free. A question about a key therefore reads its column, and the
JSON only where its time range meets those bounds; a key that never came is answered without a look at the table.

Measured on simulated spans with 33 attributes: a filter over JSON text alone read 0.8 microseconds a row; see the
benchmark `explorer` for the figures with columns.

Limits. Columns go to the first keys that come often, not to those that are asked for. What has no column is found as
before, by reading JSON. Of more than `KEPT_KEYS` keys without a column only common bounds are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from watchkeeper.adapters.store.rows import INT64_MAX, INT64_MIN
from watchkeeper.queries.tables import SPANS

SLOTS = 32
OFTEN = 64
KEPT_KEYS = 4_096
MOST_PLANS = 1_024
TABLE, COLUMN = "spans", "attributes"
_GRAIN_NS = 3600 * 1_000_000_000
_OTHERS = None
"""The directory's entry for all keys beyond `KEPT_KEYS`."""

_MAP, _CLOCK = SPANS.names().index(COLUMN), SPANS.names().index(SPANS.clock)
_encode = msgspec.json.Encoder().encode

Bounds = tuple[int, int]


class Place(NamedTuple):
    """Where an attribute lies: its column's number, and the times between which it lies in the JSON text."""

    slot: int | None
    outside: Bounds | None


def slot_column(number: int) -> str:
    """The name of a column for one attribute."""
    return f"attribute_{number:02}"


SLOT_COLUMNS = tuple(slot_column(number) for number in range(SLOTS))
DIRECTORY_SQL = "attribute_keys (key VARCHAR, slot BIGINT, first_ns BIGINT, last_ns BIGINT)"


class _Plan(NamedTuple):
    """Picks the columns out of a span's values with a None behind them; `rest` are the keys without a column."""

    pick: Callable[[tuple[str | None, ...]], tuple[str | None, ...]]
    rest: tuple[str, ...]


class AttributeSlots:
    """The directory of one index file. Changed by its writer only; readers may look while it grows."""

    def __init__(self) -> None:
        self._slots: dict[str, int] = {}
        self._outside: dict[str | None, Bounds] = {}
        self._seen: dict[str, int] = {}
        self._changed: set[str | None] = set()
        self._plans: dict[tuple[str, ...], _Plan] = {}

    @classmethod
    def read(cls, connection: Any) -> AttributeSlots:
        """The directory as the file has it."""
        slots = cls()
        for key, slot, first_ns, last_ns in connection.execute(
            "SELECT key, slot, first_ns, last_ns FROM attribute_keys ORDER BY slot"
        ).fetchall():
            if slot is not None:
                slots._slots[key] = slot
            if first_ns is not None:
                slots._outside[key] = (first_ns, last_ns)
        return slots

    def write(self, connection: Any) -> None:
        """Write what changed since the last time, within the transaction that writes the rows."""
        changed = list(self._changed)
        if not changed:
            return
        connection.execute(
            "DELETE FROM attribute_keys WHERE key IN (SELECT unnest($1::VARCHAR[])) OR (key IS NULL AND $2)",
            [[key for key in changed if key is not None], _OTHERS in self._changed],
        )
        bounds = [self._outside.get(key, (None, None)) for key in changed]
        connection.execute(
            "INSERT INTO attribute_keys SELECT unnest($1::VARCHAR[]), unnest($2::BIGINT[]), unnest($3::BIGINT[]), "
            "unnest($4::BIGINT[])",
            [
                changed,
                [None if key is None else self._slots.get(key) for key in changed],
                [first for first, _ in bounds],
                [last for _, last in bounds],
            ],
        )
        self._changed.clear()

    def split(self, attributes: Mapping[str, str], at_ns: int) -> tuple[str | None, tuple[str | None, ...]]:
        """The attributes of one span: JSON text of what has no column, and the columns."""
        keys = tuple(attributes)
        plan = self._plans.get(keys)
        if plan is None:
            plan = self._plan(keys)
        cells = plan.pick((*attributes.values(), None))
        if not plan.rest:
            return None, cells
        rest = {key: attributes[key] for key in plan.rest}
        self._note(rest, at_ns)
        return _encode(rest).decode(), cells

    def _plan(self, keys: tuple[str, ...]) -> _Plan:
        """How spans with these keys are split; spans of one program mostly have the same ones."""
        if len(self._plans) >= MOST_PLANS:
            self._plans.clear()
        places = {key: number for number, key in enumerate(keys)}
        chosen = [places.get(key, -1) for key in self._slots]
        chosen += [-1] * (SLOTS - len(chosen))
        rest = tuple(key for key in keys if key not in self._slots)
        plan = self._plans[keys] = _Plan(itemgetter(*chosen), rest)
        return plan

    def with_columns(self, rows: Iterable[list[Any]]) -> list[list[Any]]:
        """Rows of the table as it lies in the file, from rows whose attributes are still a map."""
        split, made = self.split, []
        for row in rows:
            rest, cells = split(row[_MAP] or {}, row[_CLOCK] or 0)
            made.append([*row[:_MAP], rest, *row[_MAP + 1 :], *cells])
        return made

    def names(self) -> list[str]:
        """The keys that have a column, in the order of the columns."""
        return list(self._slots)

    def place(self, key: str) -> Place:
        """Where an attribute lies."""
        return Place(self._slots.get(key), self._outside.get(key) or self._outside.get(_OTHERS))

    def _note(self, rest: Mapping[str, str], at_ns: int) -> None:
        """Count keys that have no column, give one to those that came often, and widen their bounds."""
        seen = self._seen
        for key in rest:
            self._widen(key, at_ns)
            if len(self._slots) >= SLOTS:
                continue
            if len(seen) > 2 * KEPT_KEYS:
                seen.clear()
            times = seen[key] = seen.get(key, 0) + 1
            if times >= OFTEN:
                self._slots[key] = len(self._slots)
                self._changed.add(key)
                self._plans.clear()
                del seen[key]

    def _widen(self, key: str, at_ns: int) -> None:
        """Bounds go up to the hour, so that they are written once an hour and not with every batch."""
        kept: str | None = key if key in self._outside or len(self._outside) < KEPT_KEYS else _OTHERS
        first_ns, last_ns = self._outside.get(kept, (at_ns, at_ns - 1))
        if first_ns <= at_ns <= last_ns:
            return
        low = at_ns - at_ns % _GRAIN_NS
        high = min(low + _GRAIN_NS - 1, INT64_MAX)
        self._outside[kept] = (min(first_ns, max(low, INT64_MIN)), max(last_ns, high))
        self._changed.add(kept)


def as_map(names: Sequence[str], value: object) -> dict[str, str]:
    """A map as it was: from JSON text, or from a list of JSON text and the columns that have these names."""
    if not isinstance(value, list):
        return {} if value is None else msgspec.json.decode(str(value))
    entries: dict[str, str] = msgspec.json.decode(value[0]) if value[0] is not None else {}
    return entries | {name: text for name, text in zip(names, value[1:], strict=False) if text is not None}
