"""What has consequences stays whole, a random share stays, the rest keeps its metadata, and nothing else is touched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.planted import found_in
from tests.unit.engines.keeping.scene import DAY_NS, Scene, big
from watchkeeper.adapters.formats import otlp_logs, otlp_wire
from watchkeeper.compose.payloads import Gone
from watchkeeper.compose.store import StoreHouse
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.verify import prove
from watchkeeper.queries.explorer import Trace
from watchkeeper.queries.logs import Logs
from watchkeeper.queries.tables import record_of
from watchkeeper.records.decision import deny
from watchkeeper.records.effect import Effect
from watchkeeper.records.identity import Identity
from watchkeeper.records.score import Score
from watchkeeper.records.span import Span

pytestmark = pytest.mark.anyio


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(tmp_path / "house", monkeypatch, share=0.0)
    yield scene
    scene.close()


async def request_of(house: StoreHouse, trace_id: str) -> bytes | None:
    """The request as it was kept, None when it is gone."""
    rows = await house.reader.select(Trace(trace_id=trace_id).select())
    span = record_of("spans", rows.dicts()[0])
    assert isinstance(span, Span)
    try:
        return await house.payloads.body(await house.payloads.whole(span), "request")
    except Gone:
        return None


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": big(text)}]


async def test_after_the_window_bodies_go_and_metadata_stays(scene: Scene) -> None:
    plain = scene.traffic.call(said("plain"))
    failed = scene.traffic.call(said("failed"), status="error")
    scene.traffic.seal()
    scene.clock.days(7.5)
    fresh = scene.traffic.call(said("fresh"))
    async with scene.house() as house:
        (done,) = await house.keeper.run()
        assert (done.stage, done.traces, done.kept_traces) == ("sampled", 2, 1)
        assert await request_of(house, plain) is None
        assert json.loads(await request_of(house, failed) or b"")["messages"] == said("failed")
        assert await request_of(house, fresh) is not None
        rows = (await house.reader.select(Trace(trace_id=plain).select())).dicts()
        assert (rows[0]["model"], rows[0]["preview"], rows[0]["input_tokens"]) == ("small-1", "fine", 10)
        assert await house.keeper.run() == [], "doing it again finds nothing to do"
    assert prove(scene.home.journal).holds


async def test_within_the_window_nothing_goes(scene: Scene) -> None:
    trace = scene.traffic.call(said("plain"))
    scene.traffic.seal()
    scene.clock.days(6.9)
    async with scene.house() as house:
        assert await house.keeper.run() == []
        assert await request_of(house, trace) is not None


async def test_every_reason_keeps_its_trace(scene: Scene) -> None:
    traffic, now = scene.traffic, scene.clock.now_ns
    for number in range(120):
        traffic.call(said(f"ordinary {number}"))
    kept: dict[str, str] = {
        "error": traffic.call(said("a"), status="denied"),
        "cost_outlier": traffic.call(said("b"), cost={"usd": 9.0, "source": "lab"}),
        "slow_reply": traffic.call(said("c"), end_ns=now + 90_000_000_000),
        "guard_hit": traffic.call(said("d")),
        "irreversible_effect": traffic.call(said("e")),
        "complaint": traffic.call(said("f")),
        "low_score": traffic.call(said("g"), session="s-low"),
    }
    ruling: Any = deny("pii", "It holds a card number.")
    traffic.journal.append(
        type(ruling)(
            verdict="hold", reason="pii", sentence="-", decision_id="d1", at_ns=now, trace_id=kept["guard_hit"]
        )
    )
    traffic.journal.append(
        Effect(effect_id="e1", key="k", tool="pay", at_ns=now, status="done", trace_id=kept["irreversible_effect"])
    )
    traffic.journal.append(score("s1", "trace", kept["complaint"], "feedback", label="down"))
    traffic.journal.append(score("s2", "session", "s-low", "helpful", value=0.1))
    traffic.journal.append(score("s3", "trace", traffic.call(said("praised")), "feedback", value=1.0))
    traffic.seal()
    scene.clock.days(8)
    async with scene.house() as house:
        (done,) = await house.keeper.run()
        assert done.kept_traces == len(kept)
        await house.ingester.drain()
        rows = await house.reader.select(_kept_traces())
        found = {str(row["trace_id"]): json.loads(str(row["reasons"])) for row in rows.dicts()}
        assert found == {trace: [reason] for reason, trace in kept.items()}
        assert all(row["probability"] == 1.0 for row in rows.dicts())
        for trace in kept.values():
            assert await request_of(house, trace) is not None


def score(
    score_id: str, kind: str, subject: str, name: str, value: float | None = None, label: str | None = None
) -> Score:
    return Score(
        score_id=score_id, subject_kind=kind, subject_id=subject, name=name, at_ns=1_790_000_000_000_000_000,
        event_ns=1_790_000_000_000_000_000, value=value, label=label,
    )  # fmt: skip


def _kept_traces() -> Any:
    from watchkeeper.queries.filters import columns
    from watchkeeper.queries.select import Known, Select

    return Select(
        table="kept", since_ns=0, until_ns=1 << 62, where=Known(column="trace_id"),
        columns=columns("trace_id", "reasons", "probability"),
    )  # fmt: skip


async def test_a_late_complaint_within_the_window_protects_its_trace_and_one_after_it_does_not(scene: Scene) -> None:
    early, late = scene.traffic.call(said("early")), scene.traffic.call(said("late"))
    scene.traffic.seal()
    scene.clock.days(6.5)
    scene.traffic.journal.append(score("s1", "trace", early, "feedback", label="down"))
    scene.clock.days(1)
    async with scene.house() as house:
        await house.keeper.run()
        scene.traffic.journal.append(score("s2", "trace", late, "feedback", label="down"))
        await house.ingester.drain()
        await house.keeper.run()
        assert await request_of(house, early) is not None
        assert await request_of(house, late) is None


async def test_a_history_shared_with_newer_traces_survives_until_they_go(scene: Scene) -> None:
    talk = said("the beginning of a long conversation")
    first = scene.traffic.call(talk)
    journal = scene.traffic.journal
    first_segment = journal._segment
    journal._roll()
    scene.clock.days(3)
    talk = [*talk, {"role": "assistant", "content": big("and its middle")}]
    second = scene.traffic.call(talk)
    journal._roll()
    scene.clock.days(4.5)
    async with scene.house() as house:
        (done,) = await house.keeper.run()
        assert (done.segment, done.kept_traces) == (first_segment, 0)
        assert json.loads(await request_of(house, second) or b"")["messages"] == talk, "it rests on the old chunk"
        scene.clock.days(3)
        (done,) = await house.keeper.run()
        assert await request_of(house, second) is None and await request_of(house, first) is None
        card = house.keeper.cards.get("gateway", first_segment)
        assert card.amounts["chunk"].frames == card.amounts["chunk"].erased, "nobody needs the old chunk any more"
    assert prove(scene.home.journal).holds


async def test_a_chunk_that_a_kept_trace_needs_stays(scene: Scene) -> None:
    talk = said("the beginning")
    scene.traffic.call(talk)
    scene.traffic.journal._roll()
    talk = [*talk, {"role": "assistant", "content": big("the middle")}]
    failed = scene.traffic.call(talk, status="error")
    scene.traffic.seal()
    scene.clock.days(8)
    async with scene.house() as house:
        assert len(await house.keeper.run()) == 2
        assert json.loads(await request_of(house, failed) or b"")["messages"] == talk


async def test_an_export_is_thinned_span_by_span(scene: Scene) -> None:
    traces = [f"{n:032x}" for n in range(1000, 1010)]
    scene.traffic.export(traces)
    scene.traffic.journal.append(score("s1", "trace", traces[3], "feedback", label="down"))
    scene.traffic.seal()
    scene.clock.days(8)
    async with scene.house() as house:
        (done,) = await house.keeper.run()
        assert (done.traces, done.kept_traces, done.rewritten) == (10, 1, 1)
        await house.ingester.drain()
        for trace in traces:
            row = (await house.reader.select(Trace(trace_id=trace).select())).dicts()[0]
            detail = await house.payloads.detail(record_of("spans", row))  # type: ignore[arg-type]
            text = " ".join(message.text or "" for message in detail.conversation.input)
            assert (trace in text) == (trace == traces[3])
            assert detail.attributes["custom.team"] == "sales" and row["preview"].startswith("Tell me")
            assert (detail.attributes.get("watchkeeper.removed") == "bodies") == (trace != traces[3])
        assert await house.keeper.run() == []
    assert prove(scene.home.journal).holds
    left = b"".join(path.read_bytes() for path in scene.home.journal.rglob("*.wkj"))
    assert f"Because {traces[3]}".encode() in left or b"\x28\xb5\x2f\xfd" in left
    assert f"Because {traces[4]}".encode() not in left


async def test_a_random_share_is_kept_whole_with_its_probability(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path / "house", monkeypatch, share=0.25)
    traces = [scene.traffic.call(said(f"n {n}")) for n in range(200)]
    scene.traffic.journal._roll()
    for trace in traces:
        scene.traffic.call(said(f"again {trace}"), trace_id=trace)
    scene.traffic.seal()
    scene.clock.days(8)
    async with scene.house() as house:
        first, second = await house.keeper.run()
        assert first.kept_traces == second.kept_traces and 25 <= first.kept_traces <= 80
        await house.ingester.drain()
        rows = (await house.reader.select(_kept_traces())).dicts()
        assert len(rows) == first.kept_traces, "a trace is drawn once, whichever segment it is met in"
        assert {row["probability"] for row in rows} == {0.25}
        assert {str(row["reasons"]) for row in rows} == {'["random"]'}
    scene.close()


async def test_nothing_goes_while_the_index_is_behind(scene: Scene) -> None:
    scene.traffic.call(said("plain"))
    scene.traffic.seal()
    scene.clock.days(8)
    house = StoreHouse(scene.config, scene.home, scene.clock)
    assert await house.keeper.run() == []
    assert "not read" in str((await house.keeper.plan()).waiting)
    await house.stop()


@pytest.mark.parametrize(
    ("days", "stage", "preview", "spans"),
    [(8, "sampled", "fine", 1), (91, "bodies", "fine", 1), (181, "fields", "", 1), (401, "metadata", None, 0)],
)
async def test_stages_come_in_order(scene: Scene, days: float, stage: str, preview: str | None, spans: int) -> None:
    trace = scene.traffic.call(said("failed"), status="error", attributes={"secretive": "yes"})
    scene.traffic.export(["ab" * 16], status=2)
    scene.traffic.journal.append(score("s1", "trace", trace, "helpful", value=0.9))
    scene.traffic.seal()
    scene.clock.days(days)
    async with scene.house() as house:
        done = await house.keeper.run()
        assert [each.stage for each in done] == [stage]
        await house.ingester.drain()
        for each in (trace, "ab" * 16):
            rows = (await house.reader.select(Trace(trace_id=each).select())).dicts()
            assert len(rows) == spans
            for row in rows:
                assert (row["preview"] == "") == (preview == "")
                assert (row["model"], row["status"]) == (row["model"], "error")
        assert (await request_of(house, trace) is not None) == (stage == "sampled") if spans else True
        assert await house.keeper.run() == []
        scores = (await house.reader.select(_scores())).rows
        assert len(scores) == 1, "what people and scorers said outlives the spans"
    assert prove(scene.home.journal).holds
    assert DAY_NS


async def test_a_log_record_loses_its_preview_in_the_index_with_its_body(scene: Scene) -> None:
    def record(trace: str, text: str) -> dict[str, Any]:
        return {"timeUnixNano": str(scene.clock.now_ns), "traceId": trace, "spanId": "cd" * 8, "body": text_of(text)}

    def text_of(text: str) -> dict[str, Any]:
        return {"stringValue": text}

    kept = scene.traffic.call(said("failed"), status="error")
    records = [record("ab" * 16, "PLANTED-0815 was said"), record(kept, "and this stays")]
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}
    payload = otlp_logs.from_json(json.dumps(body).encode())
    scene.traffic.journal.append_raw(FrameKind.OTLP_LOGS, otlp_wire.stamp(payload, scene.clock.now_ns, Identity()))
    scene.traffic.seal()
    async with scene.house() as house:
        assert found_in(scene.home.path, "PLANTED-0815")
        scene.clock.days(8)
        assert [each.quieted for each in await house.keeper.run()] == [1]
        await house.ingester.drain()
        rows = (await house.reader.ask(Logs())).items
        assert sorted(row["preview"] for row in rows) == ["", "and this stays"], "one row each, before and after"
        assert found_in(scene.home.path, "PLANTED-0815") == []
    assert prove(scene.home.journal).holds


def _scores() -> Any:
    from watchkeeper.queries.filters import columns
    from watchkeeper.queries.select import Select

    return Select(table="scores", since_ns=0, until_ns=1 << 62, columns=columns("score_id"))
