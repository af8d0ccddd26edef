"""Searching the journal: what is there is found in its spans, what is not is not, and the coverage is told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random

import msgspec
import pytest

from watchkeeper.compose.searching import told
from watchkeeper.engines.recorder import journal as journals
from watchkeeper.engines.recorder.erasure import Place, erase
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.grams import Grams
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.search import Found, PayloadSearch, Sought
from watchkeeper.queries.timespan import FAR_NS
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Span

WORDS = (
    "ship",
    "parcel",
    "refund",
    "order",
    "customer",
    "agent",
    "policy",
    "flight",
    "seat",
    "change",
    "return",
    "why",
)


class Scene:
    """A journal with small segments, and the search over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journal"
        self.journal = Journal(self.folder, "w0", b"k" * 32)
        self.grams = Grams(folder / "index" / "search", self.folder, b"g" * 32)
        self.searching = PayloadSearch(self.folder, self.grams, told)
        self.count = 0

    def call(self, text: str, history: tuple[str, ...] = (), **changes) -> Span:
        """Record a call whose request holds a history and a text."""
        self.count += 1
        messages = [{"role": "user", "content": each} for each in (*history, text)]
        payload = json.dumps({"model": "m", "messages": messages}).encode()
        body = self.journal.put(payload, "request")
        span = Span(
            trace_id=f"{self.count:032x}", span_id=f"{self.count:016x}", start_ns=time.time_ns(), name="chat m",
            operation="chat", status="ok", revision=1, bodies=(body,), **changes,
        )  # fmt: skip
        self.journal.append(span)
        return span

    def find(self, text: str, deadline_s: float = 60, **more) -> Found:
        """Search everything."""
        return self.searching.search(Sought(**{"text": text, "since_ns": 0, "until_ns": FAR_NS, **more}), deadline_s)

    def index(self) -> int:
        """Make the files of all sealed segments."""
        return sum(self.grams.build(*each) > 0 for each in self.grams.missing())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 200_000)
    monkeypatch.setattr("watchkeeper.engines.recorder.grams.BLOCK_BYTES", 30_000)
    return Scene(tmp_path)


def babble(rng: Random, words: int = 300) -> str:
    return " ".join(f"{rng.choice(WORDS)}{rng.randrange(10)}" for _ in range(words))


def ids(found: Found) -> list[str]:
    return [hit.span_id for hit in found.hits]


@pytest.mark.parametrize("indexed", [False, True])
def test_a_text_is_found_in_every_span_that_holds_it_newest_first(scene: Scene, indexed: bool) -> None:
    rng, planted = Random(1), []
    history = ("Where is the CRIMSON Pangolin now? " + babble(rng, 400),)
    for number in range(600):
        if number % 97 == 5:
            planted.append(scene.call(babble(rng, 30), history))
        else:
            scene.call(babble(rng))
    if indexed:
        assert scene.index() >= 3
    found = scene.find("crimson pangolin")
    assert ids(found) == [span.span_id for span in reversed(planted)]
    hit = found.hits[0]
    assert (hit.where, hit.match, hit.before.endswith("the ")) == ("request", "CRIMSON Pangolin", True)
    assert found.after is None
    assert found.coverage.stopped == ""
    assert (found.coverage.spared_bytes > found.coverage.searched_bytes) == indexed
    assert scene.find("crimson armadillo").hits == ()


def test_with_and_without_the_files_the_same_is_found(scene: Scene) -> None:
    rng = Random(2)
    for _ in range(400):
        scene.call(babble(rng))
    needles = [f"{rng.choice(WORDS)}{n} {rng.choice(WORDS)}{n}" for n in range(10)] + ["nowhere at all", "ref", "é"]
    before = [ids(scene.find(needle, limit=1000)) for needle in needles]
    scene.index()
    assert [ids(scene.find(needle, limit=1000)) for needle in needles] == before
    assert sum(map(bool, before)) > 5


def test_the_files_hold_no_text_and_no_digest(scene: Scene, tmp_path: Path) -> None:
    for number in range(200):
        span = scene.call(f"crimson-pangolin-{number} " + babble(Random(number)))
    scene.index()
    files = list((tmp_path / "index" / "search").rglob("*.wkg"))
    assert files
    for path in files:
        data = path.read_bytes()
        assert b"pang" not in data
        assert span.bodies[0].chunks[0].digest.encode() not in data
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_was_deleted_or_damaged_is_done_without_and_made_again(scene: Scene, tmp_path: Path) -> None:
    rng = Random(3)
    wanted = scene.call("the crimson pangolin " + babble(rng))
    for _ in range(300):
        scene.call(babble(rng))
    made = scene.index()
    first, *rest = sorted((tmp_path / "index" / "search").rglob("*.wkg"))
    first.write_bytes(first.read_bytes()[:-100])
    for path in rest:
        path.unlink()
    found = scene.find("crimson pangolin")
    assert ids(found) == [wanted.span_id]
    assert found.coverage.unindexed_segments == made
    assert scene.index() == made - 1
    first.unlink()
    assert scene.index() == 1


def test_an_erased_payload_is_not_found_and_counted(scene: Scene) -> None:
    rng = Random(4)
    gone = scene.call("the crimson pangolin " + babble(rng))
    kept = scene.call("another crimson pangolin " + babble(rng))
    for _ in range(300):
        scene.call(babble(rng))
    scene.index()
    places = [Place(chunk.writer, chunk.segment, chunk.offset) for chunk in gone.bodies[0].chunks]
    erase(scene.journal, scene.folder, places, reason="asked for", actor="test")
    found = scene.find("crimson pangolin")
    assert ids(found) == [kept.span_id]
    assert found.coverage.erased >= len(places)


def test_filters_and_the_time_range_hold(scene: Scene) -> None:
    one = scene.call("crimson pangolin", service="a", identity=Identity(session="s1"))
    other = scene.call("crimson pangolin", service="b", identity=Identity(session="s2"))
    assert ids(scene.find("pangolin", fields={"service": "a"})) == [one.span_id]
    assert ids(scene.find("pangolin", fields={"session": "s2"})) == [other.span_id]
    assert ids(scene.find("pangolin", since_ns=other.start_ns)) == [other.span_id]
    assert ids(scene.find("pangolin", until_ns=other.start_ns)) == [one.span_id]
    assert scene.find("pangolin", fields={"service": "c"}).hits == ()


def test_a_started_and_a_finished_state_are_one_hit_of_the_later(scene: Scene) -> None:
    span = scene.call("crimson pangolin")
    scene.journal.append(msgspec.structs.replace(span, revision=2, status="error"))
    (hit,) = scene.find("crimson").hits
    assert hit.status == "error"


def test_attributes_messages_and_previews_are_searched_too(scene: Scene) -> None:
    span = Span(
        trace_id="a" * 32,
        span_id="b" * 16,
        start_ns=5,
        name="x",
        attributes={"note": "Grüße\nvom Pangolin"},
        message="no",
    )
    scene.journal.append(span)
    (hit,) = scene.find("grüße vom pangolin").hits
    assert (hit.span_id, hit.where, hit.match) == ("b" * 16, "record", "Grüße vom Pangolin")


def test_the_span_of_an_export_that_holds_the_text_is_named(scene: Scene) -> None:
    scene.journal.append_raw(FrameKind.OTLP, export({"1" * 16: "harmless", "2" * 16: "Crimson\nPangolin"}))
    (hit,) = scene.find("crimson pangolin").hits
    assert (hit.span_id, hit.where) == ("2" * 16, "export")


def export(spans: dict[str, str]) -> bytes:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for span_id, text in spans.items():
        span = scope.spans.add(trace_id=bytes.fromhex("a" * 32), span_id=bytes.fromhex(span_id), name="chat")
        span.start_time_unix_nano = span.end_time_unix_nano = time.time_ns()
        span.attributes.add(key="gen_ai.input.messages").value.string_value = text
    return request.SerializeToString()


def test_a_search_that_runs_out_of_time_says_so_and_goes_on_where_it_ended(scene: Scene) -> None:
    rng, planted = Random(5), set()
    for number in range(500):
        if number % 50 == 7:
            planted.add(scene.call("crimson pangolin " + babble(rng)).span_id)
        else:
            scene.call(babble(rng))
    seen: set[str] = set()
    after, rounds = None, 0
    while True:
        found = scene.find("crimson pangolin", deadline_s=0.003, after=after)
        seen |= set(ids(found))
        rounds += 1
        after = found.after
        if after is None:
            break
        assert found.coverage.stopped == "deadline"
        assert found.coverage.remaining_segments > 0
    assert seen == planted
    assert rounds > 1


def test_enough_hits_end_the_search_and_the_rest_can_be_had(scene: Scene) -> None:
    rng = Random(6)
    spans = [scene.call("crimson pangolin " + babble(rng)).span_id for _ in range(400)]
    found = scene.find("crimson pangolin", limit=10)
    assert ids(found) == spans[:-11:-1]
    assert found.coverage.stopped == "limit"
    assert found.after is not None


def test_a_place_that_is_none_is_refused(scene: Scene) -> None:
    with pytest.raises(ValueError, match="not a place to go on from"):
        scene.find("x", after="nonsense")


def test_a_damaged_segment_is_named_and_the_rest_is_searched(scene: Scene, tmp_path: Path) -> None:
    rng = Random(7)
    for _ in range(300):
        scene.call(babble(rng))
    wanted = scene.call("crimson pangolin")
    first = min((tmp_path / "journal" / "w0").glob("*.wkj"))
    data = bytearray(first.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    first.write_bytes(data)
    found = scene.find("crimson pangolin")
    assert ids(found) == [wanted.span_id]
    assert len(found.coverage.damaged) == 1
    assert "segment 1" in found.coverage.damaged[0]
