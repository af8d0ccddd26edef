"""Which answers rest on a document is answered as by brute force, whatever was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from tests.reading import NOW, LogReader, S
from watchkeeper.adapters.store.duckdb_log import DuckDBLog
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.kinds.ports import Log
from watchkeeper.queries.lineage import Documents, RestedOn, Sourced, Sources, Unseen, Withdrawals
from watchkeeper.queries.whole import Whole
from watchkeeper.records.audit import Audit
from watchkeeper.records.identity import Identity
from watchkeeper.records.source import SIGHTED, Fate, Seen, Source

pytestmark = pytest.mark.anyio


def sources(seed: int, count: int = 400) -> list[Source]:
    """Chunks of a few documents in some hundred traces, with every status and every kind of evidence."""
    chance = Random(seed)
    return [
        Source(
            source_id=f"s{number}",
            trace_id=f"{chance.randrange(120):032x}",
            document=f"doc-{chance.randrange(9)}",
            version=chance.choice([None, "1", "2"]),
            at_ns=NOW + chance.randrange(3_600) * S,
            status=chance.choice(list(Fate)),
            seen=chance.choice(list(Seen)),
            identity=Identity(user=f"u{chance.randrange(5)}", session=f"x{chance.randrange(20)}"),
            revision=1,
        )
        for number in range(count)
    ]


def rested(made: Sequence[Source], document: str, version: str | None, since: int) -> dict[str, tuple[int, int]]:
    """By brute force: each answer with the number of its chunks, and of those that were found."""
    found: dict[str, tuple[int, int]] = {}
    for each in made:
        entered = each.seen in SIGHTED or each.status in ("entered", "truncated")
        if each.document == document and version in (None, each.version) and each.at_ns >= since and entered:
            chunks, seen = found.get(each.trace_id, (0, 0))
            found[each.trace_id] = (chunks + 1, seen + (each.seen in SIGHTED))
    return found


def log_named(name: str, folder: Path) -> Log:
    return MemoryLog() if name == "memory" else DuckDBLog.open(folder / "log.duckdb")


@pytest.mark.parametrize("name", ["memory", "duckdb"])
async def test_the_answers_of_a_document_are_those_of_brute_force(name: str, tmp_path: Path) -> None:
    log = log_named(name, tmp_path)
    reader, made = LogReader(log), sources(7)
    await reader.add(made)
    for number in range(10):
        for version in (None, "1", "2", "3"):
            for since in (0, NOW + 1_800 * S):
                asked = RestedOn(document=f"doc-{number}", version=version, since=since, limit=100_000)
                items = (await reader.ask(asked)).items
                told = {each["trace_id"]: (each["chunks"], each["seen"]) for each in items}
                assert told == rested(made, f"doc-{number}", version, since)
                assert all(each["chunks"] == each["seen"] + each["declared"] for each in items)
    await log.close()


@pytest.mark.parametrize("name", ["memory", "duckdb"])
async def test_documents_are_counted_by_version(name: str, tmp_path: Path) -> None:
    log = log_named(name, tmp_path)
    reader, made = LogReader(log), sources(8)
    await reader.add(made)
    items = (await reader.ask(Documents(limit=1000))).items
    for item in items:
        own = [each for each in made if (each.document, each.version) == (item["document"], item["version"])]
        assert item["retrieved"] == len(own)
        assert item["entered"] == sum(each.entered for each in own)
        assert item["answers"] == len({each.trace_id for each in own if each.entered})
        assert item["dropped"] == sum(each.status == "dropped" for each in own)
    assert sum(item["retrieved"] for item in items) == len(made)
    assert await reader.ask(Sourced()) == len({each.trace_id for each in made if each.entered})
    await log.close()


async def test_what_entered_and_what_did_not_are_told_apart() -> None:
    reader, made = LogReader(MemoryLog()), sources(9)
    await reader.add(made)
    for wanted in (True, False):
        items = (await reader.ask(Sources(entered=wanted, limit=1000))).items
        assert {each["source_id"] for each in items} == {each.source_id for each in made if each.entered is wanted}


async def test_a_later_revision_takes_the_place_of_a_pending_one() -> None:
    reader = LogReader(MemoryLog())
    first = Source(source_id="s", trace_id="a" * 32, document="d", at_ns=NOW, status="dropped")
    await reader.add([first])
    assert len((await reader.ask(Unseen())).items) == 1
    await reader.add([Source(source_id="s", trace_id="a" * 32, document="d", at_ns=NOW, seen="exact", revision=1)])
    await reader.add([first])
    (found,) = await reader.ask(Whole(Sources(), Source))
    assert (found.seen, found.entered) == ("exact", True)
    assert (await reader.ask(Unseen())).items == ()


async def test_withdrawals_are_the_audited_acts_about_documents() -> None:
    reader = LogReader(MemoryLog())
    acts = {"document.withdrawn": "document:a", "document.consent_revoked": "document:b", "key.created": "document:a"}
    await reader.add(
        [
            Audit(audit_id=str(n), at_ns=NOW + n, act=act, actor="local", subject=subject)
            for n, (act, subject) in enumerate(acts.items())
        ]
    )
    assert [each["subject"] for each in (await reader.ask(Withdrawals())).items] == ["document:b", "document:a"]
    assert [each["act"] for each in (await reader.ask(Withdrawals(documents=("a",)))).items] == ["document.withdrawn"]
