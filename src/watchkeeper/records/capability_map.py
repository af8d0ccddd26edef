"""What a version can do, cell by cell: each cell with the rate that was measured in it, and nothing in between."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from watchkeeper.records.estimate import Estimate
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record

Key = tuple[str, ...]
"""A cell: its value in each column of the map."""

State = Literal["passing", "failing", "open", "unmeasured"]


class Cell(Record):
    """A cell: its values, its rate over `rate.n` items (None: no item), and its state.

    "passing": the whole interval is at or above the bar; "failing": all of it is below. "unmeasured": no item, or so
    few that the cell would not pass if all of them were right. "open": enough items, and the evidence does not say.
    """

    cell: Key
    rate: Estimate | None
    state: State


class Inversion(Record):
    """Two neighbouring cells of which the easier (first in the column's order) has the lower rate."""

    column: str
    easy: Key
    hard: Key
    easy_rate: Estimate
    hard_rate: Estimate
    difference: Estimate
    p_value: float
    separated: bool


class CapabilityMap(Record):
    """The map: its columns, cells in the order of their values, and inversions, separated ones first.

    `compositions` are what answered when it was measured, `digest` names its content, `orders` says of a column which
    values are easier. `unjudged` counts answers without a score, which are in no cell.
    """

    columns: tuple[str, ...]
    bar: float
    cells: tuple[Cell, ...]
    inversions: tuple[Inversion, ...] = ()
    unjudged: int = 0
    score: str = ""
    orders: dict[str, tuple[str, ...]] = {}
    compositions: tuple[Manifest, ...] = ()
    at_ns: int = 0
    digest: str = ""

    def __post_init__(self) -> None:
        """Refuse cells that cannot be looked up; raises `ValueError`."""
        keys = [each.cell for each in self.cells]
        if any(len(key) != len(self.columns) for key in keys):
            raise ValueError(f"every cell needs a value for each of the columns {', '.join(self.columns)}")
        if any(a >= b for a, b in pairwise(keys)):
            raise ValueError("the cells must be in the order of their values, each once")
