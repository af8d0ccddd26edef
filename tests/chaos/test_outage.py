"""The store process stands still, is gone, or the disk stalls: calls go on, the record catches up, exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.chaos.disk import LimitedFiles
from tests.chaos.running import Running, export_of, until
from watchkeeper.engines.recorder import journal as journals
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import read_frames, segments_of
from watchkeeper.records.score import Score

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc"),
]
CALLS, EXPORTS, SPANS = 1_000, 60, 50


def busy_hour(server: Running, calls: int, rng: Random) -> tuple[list[str], list[str]]:
    """An hour's traffic in as little time as it takes; returns the spans of the calls and of the exports."""
    called, exported = [], []
    for number in range(calls):
        answer = server.chat(f"question {number}")
        assert answer.status == 200
        called.append(answer.headers["x-watchkeeper-span"])
        if number % (calls // EXPORTS) == 0:
            export, ids = export_of(rng, SPANS)
            assert server.send(export).status == 200
            exported += ids
    return called, exported


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_calls_go_on_without_a_store_and_the_record_catches_up(running: Running, how: str) -> None:
    running.chat("before")
    store = running.pids["store"]
    os.kill(store, signal.SIGSTOP)
    try:
        called, exported = busy_hour(running, CALLS, Random(3))
        until(lambda: running.ask("/readyz", timeout_s=5).status == 503)
        assert running.metric("watchkeeper_gateway_recorder_drops_total") == 0
    finally:
        os.kill(store, signal.SIGCONT if how == "stopped" else signal.SIGKILL)
    until(lambda: running.ask("/readyz").status == 200)
    running.flush()
    assert Counter(running.span_ids(service="chaos")) == Counter(exported)
    found = Counter(running.span_ids(status="ok", model="lab-small"))
    assert {span: found[span] for span in called} == dict.fromkeys(called, 1)
    assert running.drops() == {}
    assert running.verified()["holds"]


@pytest.mark.slow
def test_what_was_lost_while_nothing_could_be_written_is_in_the_ledger_afterwards(tmp_path: Path, lab: str) -> None:
    with Running(tmp_path, lab) as server:
        disk, pids, said = LimitedFiles(tmp_path), server.pids, Random(5).randbytes(8_000).hex()
        assert server.chat("before").status == 200
        disk.fill(pids)
        for _ in range(3):
            assert server.chat(said).status == 200
        assert server.send(export_of(Random(1), 20, text=said)[0]).status == 503
        unwritten = server.metric("watchkeeper_drops_unwritten", 'process="gateway"')
        assert unwritten >= 9, "two bodies and a span at least of each call, and the export"
        disk.free(pids)
        until(lambda: server.metric("watchkeeper_drops_unwritten", 'process="gateway"') == 0)
        server.flush()
        items = server.ask("/api/v1/drops").json["items"]
        counted = {(item["what"], item["reason"]): item for item in items}
        assert counted["record", "refused_disk_full"]["count"] == 20
        assert counted["body", "disk_full"]["count"] == 6
        assert sum(item["count"] for item in items) == unwritten
        assert all(0 < item["first_ns"] <= item["last_ns"] for item in items)
        assert b"disk_full" in server.ask("/ui/drops").body


class Stalled:
    """A disk whose syncs do not come back until it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes = threading.Event()
        self.waiting = 0
        for name in ("fsync", "fdatasync"):
            monkeypatch.setattr(os, name, self._slow(getattr(os, name)))

    def _slow(self, real: object) -> object:
        def sync(file: int) -> None:
            self.waiting += 1
            self.goes.wait(60)
            real(file)  # type: ignore[operator]

        return sync


@pytest.fixture
def stalled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stalled]:
    made = Stalled(monkeypatch)
    yield made
    made.goes.set()


def test_writing_goes_on_over_many_segments_while_no_sync_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stalled: Stalled
) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 32 << 10)
    journal = Journal(tmp_path, "gateway", b"k" * 32, sync_every_s=0.01)
    rng = Random(1)

    def write() -> None:
        for number in range(200):
            journal.append(score(number, rng.randbytes(500).hex()))

    journal.append(score(0, "first"))
    until(lambda: stalled.waiting)
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    writer.join(30)
    assert not writer.is_alive(), "a write must not wait for a sync"
    assert not stalled.goes.is_set() and len(segments_of(tmp_path / "gateway")) >= 4
    stalled.goes.set()
    asyncio.run(journal.synced())
    journal.close()
    assert len(list(read_frames(tmp_path / "gateway"))) == 201


def score(number: int, text: str) -> Score:
    return Score(
        score_id=f"s{number}", subject_kind="session", subject_id="s", name="n", at_ns=1, event_ns=1, explanation=text
    )
