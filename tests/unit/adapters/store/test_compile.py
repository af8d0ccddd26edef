"""The SQL of a Select: values stay out of the text, identifiers are quoted, and another engine can follow."""

from __future__ import annotations

import pytest

from watchkeeper.adapters.store.compile import DUCKDB, Dialect, compile_select
from watchkeeper.queries.explorer import Spans, Traces
from watchkeeper.queries.registry import QUESTIONS, parameters, question_from
from watchkeeper.queries.select import Column, Compare, MapHas, Select

EITHER = {"body_rate": {"text": "t"}}
"""Questions that need one of two parameters."""


def test_values_never_enter_the_text() -> None:
    evil = "x'; DROP TABLE spans; --"
    compiled = compile_select(
        Traces(model=evil, session=evil, text=evil, attribute=f"{evil}={evil}", min_cost=0.5).select()
    )
    assert "DROP" not in compiled.sql
    assert evil in compiled.parameters
    assert 0.5 in compiled.parameters


def test_every_placeholder_has_a_parameter() -> None:
    for name in QUESTIONS:
        required = {each.name: "a" * 32 for each in parameters(QUESTIONS[name]) if each.required}
        compiled = compile_select(question_from(name, required | EITHER.get(name, {}), 10**18).select())
        marks = [f"${n}" for n in range(1, len(compiled.parameters) + 1)]
        assert all(mark in compiled.sql for mark in marks)
        assert f"${len(marks) + 1}" not in compiled.sql


@pytest.mark.parametrize(
    ("key", "path"), [("a.b", "/a.b"), ("a/b", "/a~1b"), ("a~b", "/a~0b"), ("~1", "/~01"), ("", "/")]
)
def test_a_key_is_a_json_pointer(key: str, path: str) -> None:
    assert DUCKDB.entry_path(key) == path


def test_a_text_needle_is_sought_before_json_is_read() -> None:
    query = Select(table="spans", since_ns=0, until_ns=1, columns=(Column(name="name"),),
                   where=MapHas(column="attributes", key='we"ird', op="=", value="ü"))  # fmt: skip
    assert '"we\\"ird":"ü"' in compile_select(query).parameters


def test_another_engine_changes_words_and_not_the_compiler() -> None:
    class Other(Dialect):
        schema = ""

        def placeholder(self, number: int) -> str:
            return f"{{p{number}}}"

        def name(self, identifier: str) -> str:
            return f"`{identifier}`"

    query = Select(table="drops", since_ns=1, until_ns=2, columns=(Column(name="what"),),
                   where=Compare(column="count", op=">", value=3), limit=4)  # fmt: skip
    compiled = compile_select(query, Other())
    assert compiled.sql == (
        "SELECT t1.`what` AS `what` FROM (SELECT * FROM `drops` WHERE `first_ns` >= {p1} AND `first_ns` < {p2}) t1 "
        "WHERE (t1.`count` > {p3}) LIMIT {p4}"
    )
    assert compiled.parameters == [1, 2, 3, 4]


def test_spans_of_a_day_are_bounded_by_their_clock() -> None:
    compiled = compile_select(Spans(since=5, until=9).select())
    assert compiled.parameters[:2] == [5, 9]
