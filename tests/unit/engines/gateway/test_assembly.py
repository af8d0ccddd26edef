"""Sources come in through their door: kept with their text once, named where they are wrong, harmless when repeated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.engines.gateway.test_intake import House
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.records.source import Source

TRACE = "a" * 32
TEXT = "The Alder lamp can be returned within 30 days of delivery. " * 20
pytestmark = pytest.mark.anyio


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.journal.close()


def source(**fields: Any) -> dict[str, Any]:
    return {"document": "returns.md", "trace_id": TRACE, "status": "entered", "text": TEXT, "id": "s1", **fields}


def kept(house: House) -> list[Source]:
    return [each for each in house.records() if isinstance(each, Source)]


async def test_a_source_is_kept_with_its_text(house: House, tmp_path: Path) -> None:
    answer = await house.post("/api/v1/sources", source(version="3", score=0.5, rank=1, reason="over_budget"))
    assert (answer.status, answer.json) == (200, {"id": "s1"})
    (found,) = kept(house)
    assert (found.version, found.rank, found.chars, found.revision) == ("3", 1, len(TEXT), 0)
    assert found.content is not None
    vault = Vault(tmp_path)
    assert vault.body(found.content).decode() == TEXT
    vault.close()


async def test_a_text_that_is_retrieved_again_is_stored_once(house: House) -> None:
    await house.post("/api/v1/sources", [source(id=f"s{n}") for n in range(50)])
    chunks = [data for kind, data in house.frames() if kind == FrameKind.CHUNK]
    assert len(kept(house)) == 50
    assert chunks == [TEXT.encode()]


async def test_a_source_without_its_text_gives_digest_and_length(house: House) -> None:
    await house.post("/api/v1/sources", source(text=None, digest="d1", chars=400))
    (found,) = kept(house)
    assert (found.content, found.digest, found.chars) == (None, "d1", 400)


async def test_sending_twice_is_harmless(house: House) -> None:
    for _ in range(2):
        assert (await house.post("/api/v1/sources", source(at=1_760_000_000_000_000_000))).status == 200
    assert len(kept(house)) == 1


async def test_who_it_was_for_comes_from_the_body_where_no_header_says(house: House) -> None:
    await house.post("/api/v1/sources", source(identity={"user": "mia", "session": "s-1"}))
    (found,) = kept(house)
    assert (found.identity.user, found.identity.sources["user"]) == ("mia", "body")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"trace_id": "nope"}, "trace_id"),
        ({"span_id": "nope"}, "span_id"),
        ({"document": ""}, "document"),
        ({"status": "eaten"}, "status"),
        ({"rank": 0}, "rank"),
        ({"prompt_start": 9, "prompt_end": 3}, "prompt_end"),
        ({"documents": "x"}, "documents"),
        ({"score": "high"}, "score"),
        ({"text": "x" * 1_000_001}, "text"),
    ],
)
async def test_a_wrong_field_is_named_and_nothing_is_kept(house: House, wrong: dict[str, Any], says: str) -> None:
    answer = await house.post("/api/v1/sources", [source(), source(id="s2", **wrong)])
    assert answer.status == 422
    assert says in answer.error["message"]
    assert kept(house) == []


async def test_a_lone_surrogate_in_a_text_does_no_harm(house: House) -> None:
    answer = await house.post(
        "/api/v1/sources", b'{"document":"d","trace_id":"' + TRACE.encode() + b'","text":"a\\ud800b"}'
    )
    assert answer.status in (200, 400, 422)
