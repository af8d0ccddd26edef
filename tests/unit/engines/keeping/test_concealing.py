"""After a while a user is a pseudonym, in every file and in the index; figures per user stay, and the proof holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.planted import found_in
from tests.unit.engines.keeping.scene import Scene, big
from watchkeeper.adapters.formats import otlp_wire
from watchkeeper.compose.keeping import pseudonyms_of
from watchkeeper.compose.store import StoreHouse, rebuild_index
from watchkeeper.engines.keeping.cards import Card
from watchkeeper.engines.keeping.concealing import due
from watchkeeper.engines.keeping.rules import DAY_NS, Rules
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.queries.explorer import Spans
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.decision import Decision
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.finding import Finding
from watchkeeper.records.identity import Identity
from watchkeeper.records.session import Session

pytestmark = pytest.mark.anyio
ALICE, BOB = "alice.wonder@example.org", "bob4711"


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(tmp_path / "house", monkeypatch, share=0.0, bodies="30d", identities="60d")
    yield scene
    scene.close()


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": big(text)}]


def fill(scene: Scene) -> None:
    """A gateway's calls in two states, telemetry, a ruling, a session and a finding, of two users."""
    traffic, now = scene.traffic, scene.clock.now_ns
    for number, user in enumerate((ALICE, ALICE, BOB)):
        identity = Identity(tenant="acme", user=user)
        trace = traffic.call(said(f"I am {user}"), reply=f"hello {user}, fine", identity=identity, revision=0)
        status = "error" if number == 0 else "ok"
        traffic.call(
            said(f"I am {user}"), reply=f"hello {user}, fine", identity=identity, trace_id=trace, status=status,
            span_id=f"{2 * number + 1:016x}", attributes={"by": user, "n": 3},
        )  # fmt: skip
    attributes = [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "user.id", "value": {"stringValue": ALICE}},
        {"key": "note", "value": {"stringValue": f"ticket of {ALICE}"}},
    ]
    span = {
        "traceId": "ab" * 16, "spanId": "cd" * 8, "name": "chat", "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now + 5), "attributes": attributes,
    }  # fmt: skip
    export = otlp_wire.from_json(b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + json.dumps(span).encode() + b"]}]}]}")
    traffic.journal.append_raw(FrameKind.OTLP, otlp_wire.stamp(export, now, Identity(tenant="acme")))
    traffic.journal.append(
        Decision(
            verdict="deny", reason="budget_exceeded", sentence=f"The cap of {ALICE} is reached.", decision_id="d1",
            at_ns=now, identity=Identity(tenant="acme", user=ALICE),
        )
    )  # fmt: skip
    traffic.journal.append(Session(session_id="s1", at_ns=now, user=ALICE))
    traffic.seal()
    traffic.journal.append(
        Finding(
            finding_id="f1", monitor="spend", version="1", subject=f"spend:{ALICE}", at_ns=now, window_start_ns=now,
            window_end_ns=now + 1, severity="page", sentence=f"Half of it was spent by {ALICE}.",
            estimate=Estimate(value=1.0, low=1.0, high=1.0, n=1, method="count", unit="USD"),
        )
    )  # fmt: skip
    traffic.seal()


async def users(house: StoreHouse) -> dict[str, Any]:
    return {row["span_id"]: row["user"] for row in (await house.reader.ask(Spans(limit=100))).items}


async def test_after_the_time_no_file_holds_the_name_and_figures_per_user_stay(scene: Scene) -> None:
    fill(scene)
    async with scene.house() as house:
        before = await users(house)
        assert sorted(before.values()) == [ALICE] * 3 + [BOB]
        scene.clock.days(40)
        await house.keeper.run()
        assert await users(house) == before, "bodies went, names stay until their time"
        scene.clock.days(21)
        assert {step.why for step in (await house.keeper.plan()).due} == {"identities"}
        done = await house.keeper.run()
        assert {each.why for each in done} == {"identities"}
        house.journal()._roll()
        await house.ingester.drain()
        done = await house.keeper.run()
        renamed = [each.rewritten for each in done if each.why == "identities"]
        assert renamed == [1], "telemetry that was written anew, once its segment is sealed"
        await house.ingester.drain()
        names = pseudonyms_of(scene.config, scene.home)
        after = await users(house)
        assert after == {span: names.of(str(user)) for span, user in before.items()}
        assert len(set(after.values())) == 2, "one pseudonym for each user, wherever it stood"
        assert found_in(scene.home.path, ALICE, BOB) == []
        assert await house.keeper.run() == [], "doing it again finds nothing to do"
        assert prove(scene.home.journal).holds
    await rebuild_index(scene.config, scene.home, lambda count: None)
    async with scene.house() as house:
        assert await users(house) == after, "an index made anew says the same"


async def test_what_is_younger_keeps_its_name(scene: Scene) -> None:
    fill(scene)
    scene.clock.days(59)
    async with scene.house() as house:
        await house.keeper.run()
        assert ALICE in (await users(house)).values()


def test_a_segment_is_due_when_all_of_it_is_or_some_for_a_day() -> None:
    card = Card(
        writer="w", segment=1, size=1, frames=2, first_seq=1, last_seq=2, previous="", last_digest="",
        oldest_ns=0, youngest_ns=2 * DAY_NS, amounts={},
    )  # fmt: skip
    rules = Rules(identities_ns=10 * DAY_NS)
    assert [days for days in range(9, 14) if due(card, rules, days * DAY_NS)] == [11, 12, 13]
    assert not due(msgspec.structs.replace(card, named_ns=FAR_NS), rules, 13 * DAY_NS), "looked through"
    assert not due(card, Rules(), 13 * DAY_NS), "for ever, unless it is set"
