"""What every Log does when rows are to go: they are gone, the rest stays, and work goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from watchkeeper.adapters.store.errors import SelectError
from watchkeeper.kinds.ports import Batch, Log, Watermark
from watchkeeper.queries.select import Aggregate, Column, Order, Select
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.drop import Drop
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span

pytestmark = pytest.mark.anyio
SECRET = "quixotic-zebra-4711"


def span(number: int, **changes) -> Span:
    return Span(
        trace_id=f"{number // 4:032x}", span_id=f"{number:016x}", start_ns=1000 + number, name="chat", **changes
    )


def batch(*records, at: int) -> Batch:
    return Batch(records=records, watermark=Watermark(writer="w", segment=1, offset=at, seq=at))


async def numbers(log: Log, table: str = "spans", clock: str = "start_ns") -> list[int]:
    query = Select(table=table, since_ns=0, until_ns=FAR_NS, columns=(Column(name=clock),), order=(Order(by=clock),))
    return [row[0] for row in (await log.select(query)).rows]


async def test_rows_before_a_moment_go_and_the_moment_itself_stays(log: Log) -> None:
    await log.append(batch(*(span(n) for n in range(10)), at=1))
    assert await log.remove("spans", before_ns=1004) == 4
    assert await numbers(log) == list(range(1004, 1010))
    assert await log.remove("spans", before_ns=1004) == 0


async def test_rows_go_by_key_and_only_those(log: Log) -> None:
    await log.append(batch(*(span(n) for n in range(10)), at=1))
    keys = [(span(n).trace_id, span(n).span_id) for n in (2, 7, 99)] + [("f" * 32, span(3).span_id)]
    assert await log.remove("spans", keys=keys) == 2
    assert await numbers(log) == [1000, 1001, 1003, 1004, 1005, 1006, 1008, 1009]


async def test_all_revisions_of_a_key_go(log: Log) -> None:
    first = Score(score_id="s", subject_kind="span", subject_id="x", name="n", at_ns=1, event_ns=10, value=1.0)
    other = msgspec.structs.replace(first, score_id="t", event_ns=11)
    await log.append(batch(first, msgspec.structs.replace(first, at_ns=2), other, at=1))
    assert await log.remove("scores", keys=[("s",)]) == 2
    assert await numbers(log, "scores", "event_ns") == [11]


async def test_what_was_removed_stays_away_and_the_watermark_stands(log: Log) -> None:
    await log.append(batch(span(1), at=5))
    await log.remove("spans", before_ns=FAR_NS)
    assert (await log.append(batch(span(1), at=5))).written == {}
    assert (await log.watermarks())["w"].offset == 5
    assert (await log.append(batch(span(1), at=6))).written == {"spans": 1}


async def test_a_key_that_does_not_fit_is_refused(log: Log) -> None:
    with pytest.raises(SelectError, match="expected \\(trace_id, span_id\\)"):
        await log.remove("spans", keys=[("only one",)])
    with pytest.raises(SelectError, match="its rows have no key"):
        await log.remove("drops", keys=[("x",)])


async def test_nothing_to_remove_is_no_mistake(log: Log) -> None:
    assert await log.remove("spans") == 0
    assert await log.remove("drops", before_ns=FAR_NS) == 0
    await log.compact()


async def test_what_is_left_reads_the_same_after_compacting(full: Log, traffic: list[Span]) -> None:
    gone = [(each.trace_id, each.span_id) for each in traffic[::3]]
    await full.remove("spans", keys=gone)
    everything = Select(table="spans", since_ns=0, until_ns=FAR_NS, order=(Order(by="start_ns"), Order(by="span_id")))
    before = await full.select(everything), await full.watermarks()
    await full.compact()
    assert (await full.select(everything), await full.watermarks()) == before
    assert len(before[0].rows) == len(traffic) - len(gone)


async def test_no_byte_of_a_removed_row_is_left_after_compacting(
    log: Log, tmp_path: Path, files_of: Callable[[Path], dict[str, bytes]]
) -> None:
    spoiled = [span(n, preview=f"{SECRET} {n}", attributes={"note": SECRET}, message=SECRET) for n in range(300)]
    await log.append(batch(*spoiled, *(span(n, preview="harmless") for n in range(300, 900)), at=1))
    await log.remove("spans", before_ns=1150)
    await log.remove("spans", keys=[(s.trace_id, s.span_id) for s in spoiled[150:]])
    await log.compact()
    assert len(await numbers(log)) == 600
    for name, data in files_of(tmp_path).items():
        assert SECRET.encode() not in data, name


async def test_appends_and_questions_go_on_beside_removing_and_compacting(log: Log) -> None:
    """Every row that was appended meanwhile is there, every replaced one once, and nothing that was removed."""
    await log.append(batch(*(span(n, revision=0) for n in range(20_000)), at=1))
    stopping = asyncio.Event()
    appended = 20_000

    async def append() -> None:
        nonlocal appended
        for at in range(2, 10_000):
            fresh = [span(n, revision=1) for n in range(appended, appended + 100)]
            finished = [span(n, revision=1, status="ok") for n in range(10_000 + at * 10, 10_010 + at * 10)]
            await log.append(batch(*fresh, *finished, at=at))
            appended += 100
            if stopping.is_set():
                return
            await asyncio.sleep(0)

    async def look() -> None:
        while not stopping.is_set():
            query = Select(
                table="spans", since_ns=0, until_ns=FAR_NS, columns=(Aggregate(function="count", alias="n"),)
            )
            assert (await log.select(query)).rows[0][0] >= 10_000
            await asyncio.sleep(0)

    work = [asyncio.create_task(append()), asyncio.create_task(look())]
    assert await log.remove("spans", before_ns=1000 + 5_000) == 5_000
    await log.compact()
    assert await log.remove("spans", before_ns=1000 + 10_000) == 5_000
    await log.compact()
    stopping.set()
    await asyncio.gather(*work)
    assert await numbers(log) == list(range(1000 + 10_000, 1000 + appended))


async def test_drops_go_by_time(log: Log) -> None:
    drops = [Drop(what="span", reason="late", count=1, first_ns=n, last_ns=n) for n in (5, 6)]
    await log.append(batch(*drops, at=1))
    assert await log.remove("drops", before_ns=6) == 1
