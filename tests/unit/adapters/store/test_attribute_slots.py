"""Attributes that come often get a column, and no filter misses an entry, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest

from watchkeeper.adapters.store.attribute_slots import OFTEN, SLOTS, AttributeSlots, as_map
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.kinds.ports import Batch
from watchkeeper.queries.explorer import Spans
from watchkeeper.queries.select import Column, Known, Not, Order, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.span import Span

pytestmark = pytest.mark.anyio
NOW_NS = 1_780_000_000_000_000_000


def span(number: int, **attributes) -> Span:
    return Span(trace_id="a" * 32, span_id=f"{number:016x}", start_ns=NOW_NS + number, name="x", attributes=attributes)


def everything() -> Select:
    return Select(table="spans", since_ns=0, until_ns=FAR_NS, columns=(Column(name="attributes"),), order=())


async def kept(log: DuckDBLog) -> list[dict]:
    query = msgspec.structs.replace(
        everything(), columns=(Column(name="start_ns"), Column(name="attributes")), order=(Order(by="start_ns"),)
    )
    return [row[1] for row in (await log.select(query)).rows]


def test_a_key_that_came_often_has_a_column_from_then_on() -> None:
    slots = AttributeSlots()
    for number in range(OFTEN):
        rest, cells = slots.split({"tier": "pro"}, number)
        assert (rest, cells) == ('{"tier":"pro"}', (None,) * SLOTS)
    assert slots.split({"tier": "pro", "rare": "x"}, OFTEN) == ('{"rare":"x"}', ("pro",) + (None,) * (SLOTS - 1))
    assert slots.names() == ["tier"]
    assert slots.place("tier").slot == 0
    assert slots.place("rare").slot is None
    assert slots.place("rare").outside is not None
    assert slots.place("never") == (None, None)


def test_columns_run_out_and_the_rest_stays_together() -> None:
    slots = AttributeSlots()
    attributes = {f"key{n}": str(n) for n in range(SLOTS + 5)}
    for number in range(OFTEN + 1):
        rest, cells = slots.split(attributes, number)
    assert len(slots.names()) == SLOTS
    assert as_map(slots.names(), [rest, *cells]) == attributes
    assert len(msgspec.json.decode(rest or "{}")) == 5


async def test_attributes_come_back_whole_after_restarts_and_whatever_their_keys(tmp_path: Path) -> None:
    rng, path, written = Random(1), tmp_path / "log.duckdb", []
    odd = ["", 'quo"te', "a/b~c", "attribute_00", "ü", "attributes"]
    for _ in range(4):
        log = DuckDBLog.open(path)
        for _ in range(5):
            some = []
            for _ in range(40):
                keys = rng.sample([*odd, *(f"k{n}" for n in range(60))], rng.randrange(12))
                some.append(span(len(written) + len(some), **{key: str(rng.randrange(3)) for key in keys}))
            written += some
            await log.append(Batch(records=tuple(some)))
        assert await kept(log) == [each.attributes for each in written]
        await log.close()


async def test_filters_find_what_lies_in_columns_in_the_map_and_in_both(tmp_path: Path) -> None:
    rng = Random(2)
    log, plain = DuckDBLog.open(tmp_path / "log.duckdb"), MemoryLog()
    values = ["1", "2.5", "10", "abc", "true", "nan", " 7", "1e3", "", "ü", "9007199254740993"]
    spans = []
    for number in range(600):
        often = {"often": rng.choice(values)} if rng.random() < 0.7 else {}
        rare = {"rare": rng.choice(values)} if rng.random() < 0.05 else {}
        late = {"late": rng.choice(values)} if number > 400 else {}
        spans.append(span(number, **often, **rare, **late))
    for start in range(0, 600, 50):
        for each in (log, plain):
            await each.append(Batch(records=tuple(spans[start : start + 50])))
    assert set(log._slots.names()) == {"often", "late"}
    asked = 0
    for key in ("often", "rare", "late", "never"):
        for op in ("=", "!=", "<", ">="):
            for value in ("1", "2", "abc", "true", "10", "1e3", "nan"):
                question = Spans(attribute=f"{key}{op}{value}", limit=1000, since=NOW_NS + rng.choice([0, 300]))
                found = [await each.select(question.select()) for each in (log, plain)]
                assert found[0].rows == found[1].rows, question
                asked += bool(found[0].rows)
    assert asked > 40
    await log.close()


async def test_a_span_with_attributes_in_columns_only_has_attributes(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    await log.append(Batch(records=tuple(span(n, tier="pro") for n in range(OFTEN))))
    await log.append(Batch(records=(span(1000, tier="pro"), span(1001))))
    for predicate, expected in ((Known(column="attributes"), 65), (Not(inner=Known(column="attributes")), 1)):
        rows = await log.select(msgspec.structs.replace(everything(), where=predicate))
        assert len(rows.rows) == expected
    await log.close()


async def test_a_failed_batch_gives_no_column_away(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    wrong = msgspec.structs.replace(span(999), http_status="two hundred")
    with pytest.raises(Exception, match="two hundred"):
        await log.append(Batch(records=(*(span(n, lost="x") for n in range(OFTEN)), wrong)))
    assert log._slots.names() == []
    await log.append(Batch(records=tuple(span(n, kept="y") for n in range(OFTEN))))
    assert log._slots.names() == ["kept"]
    assert await kept(log) == [{"kept": "y"}] * OFTEN
    await log.close()


async def test_columns_and_their_names_survive_compacting(tmp_path: Path) -> None:
    log = DuckDBLog.open(tmp_path / "log.duckdb")
    await log.append(Batch(records=tuple(span(n, tier=str(n % 3), n=str(n)) for n in range(200))))
    before = await kept(log)
    await log.compact()
    assert await kept(log) == before
    found = await log.select(Spans(attribute="tier=1", limit=500).select())
    assert len(found.rows) == 67
    await log.close()
