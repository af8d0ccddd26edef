"""One way of placing: an item, a recorded span, an exported row and a live call with the same features are one cell."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.analysis.cells import UNKNOWN, UNTOLD, cell_of, differs, feature, found_in, state_of, text, told
from watchkeeper.engines.experiments.rows import Row
from watchkeeper.records.capability_map import CapabilityMap, Cell
from watchkeeper.records.manifest import Manifest

BY = ("family", "difficulty")
SHAPES: dict[str, dict[str, Any]] = {
    "a table": {"family": "dates", "difficulty": 1},
    "a case": {"attributes": {"family": "dates", "difficulty": 1.0}},
    "a span": {"attributes": {"watchkeeper.feature.family": "dates", "watchkeeper.feature.difficulty": "1"}},
    "a live call": {"watchkeeper.feature.family": "dates", "watchkeeper.feature.difficulty": "1"},
    "a request": {"metadata": {"family": "dates", "difficulty": "1"}},
    "an export": {"span": {"attributes": {"watchkeeper.feature.family": " dates ", "difficulty": 1}}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_same_features_are_the_same_cell_however_they_come(shape: str) -> None:
    assert cell_of(Row(SHAPES[shape]).get, BY) == ("dates", "1")


def test_a_value_of_its_own_goes_before_others() -> None:
    row = Row({"family": "a", "attributes": {"family": "b"}, "metadata": {"family": "c"}})
    assert feature(row.get, "family") == "a"


@pytest.mark.parametrize("row", [{}, {"family": None}, {"family": "  "}, {"family": float("nan")}, {"attributes": "x"}])
def test_what_is_not_declared_is_unknown(row: dict[str, Any]) -> None:
    assert cell_of(Row(row).get, ("family",)) == (UNKNOWN,)


@pytest.mark.parametrize(
    ("value", "said"), [(1, "1"), (1.0, "1"), (True, "true"), (None, ""), (1.5, "1.5"), ([1], "[1]"), (" a ", "a")]
)
def test_equal_values_are_one_name(value: Any, said: str) -> None:
    assert text(value) == said


def map_of(*keys: tuple[str, ...]) -> CapabilityMap:
    cells = tuple(Cell(cell=key, rate=None, state="passing") for key in sorted(keys))
    return CapabilityMap(columns=BY, bar=0.8, cells=cells)


def test_a_cell_is_found_and_another_is_unmeasured() -> None:
    drawn = map_of(("a", "x"), ("b", "x"), ("b", "y"))
    assert all(found_in(drawn, each.cell) is each for each in drawn.cells)
    assert state_of(drawn, ("b", "y")) == "passing"
    for key in (("a", "y"), ("c", "x"), ("", ""), ("b", "z")):
        assert found_in(drawn, key) is None and state_of(drawn, key) == "unmeasured"


def test_an_undeclared_feature_is_unmeasured_even_where_such_items_were_measured() -> None:
    assert state_of(map_of(("a", UNKNOWN)), ("a", UNKNOWN)) == "unmeasured"


def test_a_cell_is_told_by_its_columns() -> None:
    assert told(BY, ("dates", "easy")) == "family=dates, difficulty=easy"


SAME = ("model", "system")
SERVED = Manifest(digest="d1", components={"model": "m", "system": "s", "policies": "p"})


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([SERVED], ()),
        ([Manifest(digest="d1", components={})], ()),
        ([Manifest(digest="d2", components={"model": "m", "system": "s", "policies": "q"})], ()),
        ([Manifest(digest="d2", components={"model": "m", "system": "t"})], ("system",)),
        ([Manifest(digest="d2", components={}), Manifest(digest="d3", components={"model": "m"})], ("system",)),
        ([Manifest(digest="d2", components={})], (UNTOLD,)),
        ([], (UNTOLD,)),
    ],
)  # fmt: skip
def test_what_is_served_differs_from_what_was_measured_in_these(
    measured: list[Manifest], expected: tuple[str, ...]
) -> None:
    assert differs(measured, SERVED, SAME) == expected


def test_what_is_served_and_not_known_differs() -> None:
    assert differs([SERVED], Manifest(digest="", components={}), SAME) == (UNTOLD,)
