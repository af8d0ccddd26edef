"""The doors take what is sound, name what is wrong, and say 200 only when it is in the journal."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from tests.unit.adapters.formats.exports import START_NS, TRACE, payload
from watchkeeper.adapters.formats import otlp, otlp_wire
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.capabilities.policies.budget import Budget
from watchkeeper.capabilities.policies.loop import Loop
from watchkeeper.engines.decide.chain import Chain
from watchkeeper.engines.decide.link import Link
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.intake import PATHS, Intake, TraceFormat
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.recorder.frames import RECORD_KINDS, FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.records.decision import Decision
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session

TRACES = TraceFormat(
    check=otlp.check,
    from_json=otlp_wire.from_json,
    stamp=otlp_wire.stamp,
    reply=otlp_wire.reply,
    failure=otlp_wire.failure,
)
PROTOBUF = {"content-type": "application/x-protobuf"}
JSON = {"content-type": "application/json"}


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]


class House:
    """An intake over a real journal, asked without a socket."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.journal = Journal(folder, "gateway", b"k" * 32, sync_every_s=0.01)
        self.decisions: list[Decision] = []
        self.cells = MemoryCells()
        budget = Link(policy=Budget(per="session", tokens=1000), instance="budget")
        links = (Link(policy=Loop(action="stop"), instance="loop"), budget)
        chain = Chain(links, self.cells, self.decisions.append, time.time_ns)
        self.keys = KeyRing(self.cells)
        self.intake = Intake(self.journal, TRACES, chain, self.keys, **options)

    async def post(
        self, path: str, body: bytes | object, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> Answer:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent: list[dict[str, Any]] = []
        pieces = [data[at : at + 65_536] for at in range(0, len(data), 65_536)] or [b""]

        async def receive() -> dict[str, Any]:
            piece = pieces.pop(0) if pieces else None
            if piece is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            sent.append(message)

        given = {"host": "127.0.0.1:8787"} | (JSON if headers is None else headers)
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        await self.intake(scope, receive, send)
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], answered, b"".join(each.get("body", b"") for each in sent[1:]))

    def frames(self) -> list[tuple[FrameKind, bytes]]:
        found = read_frames(self.folder / "gateway", 0, 0)
        return [(FrameKind(frame.head.kind), frame.payload) for frame in found]

    def records(self) -> list[Record]:
        return [unpack(RECORD_KINDS[kind], data) for kind, data in self.frames() if kind in RECORD_KINDS]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.journal.close()


pytestmark = pytest.mark.anyio


async def test_an_export_is_answered_when_its_bytes_are_in_the_journal(house: House) -> None:
    export = payload({}, {})
    answer = await house.post("/v1/traces", export, PROTOBUF)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "application/x-protobuf")
    ((kind, kept),) = house.frames()
    assert kind == FrameKind.OTLP and kept.endswith(export)
    assert len(otlp.decode(kept).spans) == 2
    assert house.intake.counts["spans"] == 2


async def test_rejected_spans_are_counted_in_a_partial_success(house: House) -> None:
    answer = await house.post("/v1/traces", payload({}, {"span_id": b""}), PROTOBUF)
    partial = ExportTraceServiceResponse.FromString(answer.body).partial_success
    assert (answer.status, partial.rejected_spans) == (200, 1)
    assert partial.error_message == "1 of 2 spans cannot be kept as spans: 1 invalid_span_id."


async def test_gzip_is_read_and_json_too(house: House) -> None:
    packed = await house.post("/v1/traces", gzip.compress(payload({})), PROTOBUF | {"content-encoding": "gzip"})
    span = {"traceId": TRACE.hex(), "spanId": "00000000000000aa", "startTimeUnixNano": str(START_NS)}
    export = {"resourceSpans": [{"scopeSpans": [{"spans": [span, {}]}]}]}
    plain = await house.post("/v1/traces", export)
    assert (packed.status, plain.status) == (200, 200)
    assert plain.json["partialSuccess"]["rejectedSpans"] == "1"
    assert len(house.frames()) == 2


async def test_an_export_without_spans_is_fine_and_leaves_no_frame(house: House) -> None:
    assert (await house.post("/v1/traces", b"", PROTOBUF)).status == 200
    assert house.frames() == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "says"),
    [
        (payload({})[:-4], PROTOBUF, 400, b"no OTLP trace export"),
        (b"not gzip", PROTOBUF | {"content-encoding": "gzip"}, 400, b"gzip"),
        (gzip.compress(payload({}), mtime=0)[:-12], PROTOBUF | {"content-encoding": "gzip"}, 400, b"gzip"),
        (b"x", PROTOBUF | {"content-encoding": "br"}, 415, b"content-encoding"),
        (b"{}", {"content-type": "text/plain"}, 415, b"application/x-protobuf"),
        (b"{}", {}, 415, b"without a content type"),
        (b"{", JSON, 400, b"JSON"),
        (gzip.compress(bytes(3_000_000), mtime=0), PROTOBUF | {"content-encoding": "gzip"}, 413, b"larger than"),
        (bytes(2_000_001), PROTOBUF, 413, b"larger than"),
    ],
    ids=["cut off", "no gzip", "gzip cut off", "brotli", "text", "no type", "no JSON", "gzip bomb", "too large"],
)
async def test_what_is_no_export_is_refused_in_a_sentence(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int, says: bytes
) -> None:
    house = House(tmp_path, max_body_bytes=2_000_000)
    answer = await house.post("/v1/traces", body, headers)
    assert answer.status == status and says in answer.body
    assert house.frames() == []


async def test_an_export_of_fifty_megabytes_is_kept(house: House) -> None:
    big = payload(*({"attributes": {"gen_ai.input.messages": "x" * 1_000_000}} for _ in range(50)))
    assert (await house.post("/v1/traces", big, PROTOBUF)).status == 200
    assert len(otlp.decode(house.frames()[0][1]).spans) == 50


async def test_a_full_disk_is_answered_503_with_a_time_to_retry_and_counted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    traces = await house.post("/v1/traces", payload({}, {}), PROTOBUF)
    scores = await house.post("/api/v1/outcomes", {"session": "s", "success": True})
    assert (traces.status, traces.headers["retry-after"]) == (503, "5")
    assert (scores.status, scores.error["code"]) == (503, "recording_unavailable")
    assert house.intake.counts["unrecorded"] == 3
    monkeypatch.undo()
    assert (await house.post("/v1/traces", payload({}), PROTOBUF)).status == 200


async def test_a_durable_door_waits_for_the_disk(tmp_path: Path) -> None:
    house = House(tmp_path, durable=True)
    assert (await house.post("/v1/traces", payload({}), PROTOBUF)).status == 200
    await house.journal.synced()


async def test_scores_are_kept_and_their_ids_answered(house: House) -> None:
    one = {"subject_kind": "span", "subject_id": "00000000000000aa", "name": "helpful", "value": True, "id": "mine"}
    single = await house.post("/api/v1/scores", one)
    many = await house.post("/api/v1/scores", [one | {"id": "a", "label": "good", "at": START_NS}, one | {"id": "b"}])
    assert (single.status, single.json, many.json) == (200, {"id": "mine"}, {"ids": ["a", "b"]})
    scores = [each for each in house.records() if isinstance(each, Score)]
    assert [(score.score_id, score.value, score.label) for score in scores] == [
        ("mine", 1.0, None),
        ("a", 1.0, "good"),
        ("b", 1.0, None),
    ]
    assert scores[1].event_ns == START_NS < scores[1].at_ns


async def test_sending_the_same_id_again_changes_nothing_and_a_new_content_restates_it(house: House) -> None:
    score = {"subject_kind": "trace", "subject_id": TRACE.hex(), "name": "n", "value": 1, "id": "once", "at": START_NS}
    assert (await house.post("/api/v1/scores", score)).json == (await house.post("/api/v1/scores", score)).json
    assert len(house.records()) == 1
    await house.post("/api/v1/scores", score | {"value": 0})
    assert [each.value for each in house.records() if isinstance(each, Score)] == [1.0, 0.0]


async def test_an_outcome_is_a_score_of_its_session_and_has_one_id(house: House) -> None:
    first = await house.post(
        "/api/v1/outcomes", {"session": "s-1", "success": True, "value": 12.5, "at": "2026-01-02T03:04:05Z"}
    )
    again = await house.post("/api/v1/outcomes", {"session": "s-1", "success": False})
    assert first.json == again.json
    score, restated = house.records()
    assert isinstance(score, Score) and isinstance(restated, Score)
    assert (score.name, score.subject_kind, score.subject_id, score.value, score.worth_usd) == (
        "outcome",
        "session",
        "s-1",
        1.0,
        12.5,
    )
    assert score.event_ns == 1_767_323_045_000_000_000
    assert (restated.value, restated.worth_usd) == (0.0, None)


async def test_feedback_and_sessions_are_kept(house: House) -> None:
    await house.post("/api/v1/feedback", {"span": "00000000000000aa", "verdict": "edited", "diff": "-a\n+b"})
    await house.post("/api/v1/sessions", {"session": "s-1", "user": "u", "journey": "checkout"})
    feedback, session = house.records()
    assert isinstance(feedback, Score) and isinstance(session, Session)
    assert (feedback.label, feedback.value, feedback.explanation) == ("edited", 0.0, "-a\n+b")
    assert (session.session_id, session.user, session.journey) == ("s-1", "u", "checkout")


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/api/v1/scores", b"{", 400, None),
        ("/api/v1/scores", {"subject_kind": "span", "subject_id": "x", "name": "n"}, 422, "value"),
        ("/api/v1/scores", {"subject_kind": "planet", "subject_id": "x", "name": "n", "value": 1}, 422, "subject_kind"),
        ("/api/v1/scores", {"subject_kind": "span", "subject_id": "", "name": "n", "value": 1}, 422, "subject_id"),
        ("/api/v1/scores", {"subject_kind": "span", "subject_id": "x", "name": "n", "value": "1"}, 422, "value"),
        ("/api/v1/scores", {"subject_kind": "span", "subject_id": "x", "name": "n", "valeu": 1}, 422, "valeu"),
        ("/api/v1/scores", [{"subject_kind": "span"}], 422, "[0].subject_id"),
        ("/api/v1/outcomes", {"session": "s"}, 422, "success"),
        ("/api/v1/outcomes", {"session": "s", "success": 1}, 422, "success"),
        ("/api/v1/outcomes", {"session": "s", "success": True, "at": "2026-01-01T00:00:00"}, 422, "at"),
        ("/api/v1/outcomes", {"session": "s", "success": True, "at": 5}, 422, "at"),
        ("/api/v1/feedback", {"span": "xyz", "verdict": "accepted"}, 422, "span"),
        ("/api/v1/feedback", {"span": "00000000000000aa", "verdict": "liked"}, 422, "verdict"),
        ("/api/v1/sessions", {"user": "u"}, 422, "session"),
        ("/api/v1/decide", {"stage": "never"}, 422, "stage"),
        ("/api/v1/decide", {"stage": "tool_call", "trace_id": "1"}, 422, "trace_id"),
    ],
)
async def test_a_wrong_body_is_refused_and_its_field_named(
    house: House, path: str, body: object, status: int, field: str | None
) -> None:
    answer = await house.post(path, body)
    assert (answer.status, answer.error["param"]) == (status, field)
    assert answer.error["type"] == "watchkeeper_invalid_request" and answer.error["message"].endswith(".")
    assert house.records() == []


@pytest.mark.parametrize("path", sorted(PATHS))
async def test_a_page_of_another_site_a_get_and_a_form_are_refused_everywhere(house: House, path: str) -> None:
    foreign = await house.post(path, b"{}", JSON | {"origin": "https://evil.example"})
    site = await house.post(path, b"{}", JSON | {"sec-fetch-site": "cross-site"})
    read = await house.post(path, b"", JSON, method="GET")
    form = await house.post(path, b"a=1", {"content-type": "application/x-www-form-urlencoded"})
    assert (foreign.status, site.status, read.status, form.status) == (403, 403, 405, 415)
    assert read.headers["allow"] == "POST"


async def test_a_key_is_asked_for_bound_and_kept_apart(tmp_path: Path) -> None:
    house = House(tmp_path, require_keys=True)
    made = await house.keys.create("ci", tenant="acme", user="bot")
    outcome = {"session": "s", "success": True, "id": "o-1"}
    assert (await house.post("/api/v1/outcomes", outcome)).status == 401
    wrong = await house.post("/api/v1/outcomes", outcome, JSON | {"x-watchkeeper-key": "wk-0000000000-" + "0" * 48})
    assert wrong.status == 401 and "0000" not in wrong.error["message"]
    mine = JSON | {"x-watchkeeper-key": made.secret}
    assert (await house.post("/api/v1/outcomes", outcome, mine)).json == {"id": "acme:o-1"}
    export = payload({"attributes": {"user.id": "claimed"}})
    await house.post("/v1/traces", export, PROTOBUF | {"x-watchkeeper-key": made.secret})
    (kept,) = [data for kind, data in house.frames() if kind == FrameKind.OTLP]
    (span,) = otlp.decode(kept).spans
    assert (span.identity.tenant, span.identity.user, span.identity.key) == ("acme", "bot", made.key.key_id)
    assert made.secret.encode() not in kept


async def test_where_a_key_is_needed_the_form_of_the_owners_token_opens_nothing(tmp_path: Path) -> None:
    """A gRPC door beyond loopback has no front before it, which would have compared the token."""
    house = House(tmp_path)
    made = await house.keys.create("ci", tenant="acme")
    for shown in ({}, {b"x-watchkeeper-key": b"wko-guessed"}, {b"authorization": b"Bearer wko-guessed"}):
        with pytest.raises(Refusal) as refused:
            await house.intake.identify(shown, needs_key=True)
        assert refused.value.status == 401
    found = await house.intake.identify({b"x-watchkeeper-key": made.secret.encode()}, needs_key=True)
    assert found.tenant == "acme"


async def test_decide_rules_on_tool_calls_over_their_run(house: House) -> None:
    said = []
    for number in range(7):
        step = {"tool": "search", "arguments": "a" * 32, "call_id": f"span:{number:016x}"}
        before = {"tool": "search", "arguments": "a" * 32, "result": "r" * 32, "call_id": f"span:{number - 1:016x}"}
        steps = [before, step] if number else [step]
        body = {"stage": "tool_call", "tool": "search", "steps": steps, "identity": {"run": "r-1"}}
        said.append((await house.post("/api/v1/decide", body)).json)
    assert [each["allowed"] for each in said] == [True] * 5 + [False, False]
    stop = said[-1]["stop"]
    assert (stop["policy"], stop["reason"]) == ("loop", "loop_repeat")
    assert "tool_call" in said[0]["stages"] and said[0]["trace_id"] and said[0]["span_id"]
    assert [each.reason for each in house.decisions] == ["loop_repeat", "loop_repeat"]


async def test_what_a_request_reserved_here_is_settled_by_its_reply(house: House) -> None:
    bound = {"input_tokens": 300, "output_tokens": 300}
    request = {"stage": "request", "model": "m", "identity": {"session": "s-1"}, "bound": bound}
    first = (await house.post("/api/v1/decide", request)).json
    assert first["allowed"]
    assert not (await house.post("/api/v1/decide", request)).json["allowed"], "600 of 1,000 are reserved"
    used = {"input_tokens": 90, "output_tokens": 10}
    reply = {"stage": "reply", "span_id": first["span_id"], "trace_id": first["trace_id"], "usage": used}
    (settled,) = (await house.post("/api/v1/decide", reply)).json["settled"]["settled"].values()
    assert settled == 100
    assert (await house.post("/api/v1/decide", request)).json["allowed"], "100 of 1,000 are used"
    again = (await house.post("/api/v1/decide", reply)).json["settled"]
    assert "nothing that was reserved through this door" in again["note"], "a reservation is settled once"


async def test_decide_digests_plain_arguments_and_leaves_key_and_headers_their_say(house: House) -> None:
    body = {
        "stage": "tool_call",
        "tool": "f",
        "arguments": {"b": 1, "a": 2},
        "identity": {"run": "claimed", "user": "u"},
    }
    answer = await house.post("/api/v1/decide", body, JSON | {"x-watchkeeper-run": "from-header"})
    assert answer.json["allowed"] is True
    keys = [key for key, _ in (await house.cells.scan("run/")).items]
    assert len(keys) == 1 and "from-header" in keys[0]
