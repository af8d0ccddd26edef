"""Columns that pass through the Arrow interface come out of DuckDB as they went in."""

from __future__ import annotations

import gc
import weakref

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchkeeper.adapters.store.arrow_stream import ColumnStream, split

INT = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))
REAL = st.one_of(st.none(), st.floats(allow_nan=False))
TEXT = st.one_of(st.none(), st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
ROW = st.tuples(INT, REAL, st.one_of(st.none(), st.booleans()), TEXT)


def through(names, kinds, columns):
    connection = duckdb.connect()
    connection.register("v", ColumnStream(names, kinds, columns))
    try:
        return connection.execute("SELECT * FROM v").fetchall()
    finally:
        connection.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=40))
def test_every_value_comes_out_as_it_went_in(rows) -> None:
    columns = list(zip(*rows, strict=True))
    assert through(["i", "r", "b", "t"], ["int", "real", "bool", "text"], columns) == rows


@pytest.mark.parametrize("text", ["", "a\x00b", "ä", "𝄞" * 5, "x" * 100_000])
def test_text_of_any_kind(text: str) -> None:
    assert through(["t"], ["text"], [[text, None, text]]) == [(text,), (None,), (text,)]


@pytest.mark.parametrize(("kind", "value"), [("int", 2**63), ("int", "1"), ("text", 5), ("text", "\ud800")])
def test_a_value_that_its_column_cannot_hold_is_refused(kind, value) -> None:
    with pytest.raises((TypeError, OverflowError, UnicodeEncodeError)):
        ColumnStream(["c"], [kind], [[value, None]])


def test_a_column_of_one_value_is_a_constant() -> None:
    columns = [(1, 2, 1), (7, 7, 7), (None, None, None), ("a", None, "a"), ("b", "b", "b")]
    assert split(columns) == ([0, 3], {1: 7, 2: None, 4: "b"})


def test_the_memory_of_a_stream_goes_with_it() -> None:
    stream = ColumnStream(["i"], ["int"], [[1, 2]])
    gone = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert gone() is None
    finally:
        gc.enable()
