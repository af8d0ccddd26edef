"""Round after round somebody is killed with signal 9 under load: what was answered is there exactly once.

`WATCHKEEPER_CHAOS_ROUNDS=100 pytest tests/chaos/test_rounds.py` runs the full figure; without it there are few.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.chaos.running import UNREACHABLE, Answer, Running, export_of

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for child processes in /proc"),
]
SEED = 20_261_121
ROUNDS = int(os.environ.get("WATCHKEEPER_CHAOS_ROUNDS", "8"))
TARGETS = ("gateway", "store", "all")
SPANS = 5
PAUSE_S = 0.04


class Load:
    """Exports and scores sent until they are answered, calls made once, plain and streamed; keeps what was answered."""

    def __init__(self, server: Running) -> None:
        self._server, self._done = server, threading.Event()
        self.spans: Counter[str] = Counter()
        self.scores: Counter[str] = Counter()
        self.calls: list[str] = []
        self.streams: list[str] = []
        self.again: Counter[str] = Counter()
        self.wrong: list[str] = []
        work: list[Callable[[Random], None]] = [self._export, self._export, self._score, self._call, self._stream]
        self._threads = [
            threading.Thread(target=self._loop, args=(each, Random(SEED + number)), daemon=True)
            for number, each in enumerate(work)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what is under way."""
        self._done.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    def _loop(self, one: Callable[[Random], None], rng: Random) -> None:
        while not self._done.is_set():
            one(rng)
            time.sleep(PAUSE_S)

    def _ask(self, what: str, ask: Callable[[], Answer]) -> Answer | None:
        """The answer, None when there was none or when it asks to try again."""
        try:
            answer = ask()
        except UNREACHABLE:
            self.again[what] += 1
            return None
        if answer.status not in (200, 503):
            self.wrong.append(f"{what}: {answer.status} {answer.body[:200]!r}")
        return answer if answer.status == 200 else None

    def _export(self, rng: Random) -> None:
        export, ids = export_of(rng, SPANS)
        while self._ask("export", lambda: self._server.send(export)) is None:
            time.sleep(PAUSE_S)
        self.spans.update(ids)

    def _score(self, rng: Random) -> None:
        named = f"score-{rng.getrandbits(48):x}"
        score = {"id": named, "name": "chaos", "subject_kind": "session", "subject_id": "s", "value": 0.5}
        body = json.dumps(score | {"at": time.time_ns()}).encode()
        while self._ask("score", lambda: _post(self._server, "/api/v1/scores", body)) is None:
            time.sleep(PAUSE_S)
        self.scores[named] += 1

    def _call(self, rng: Random) -> None:
        answer = self._ask("call", lambda: self._server.chat(f"question {rng.getrandbits(32)}"))
        if answer is not None:
            self.calls.append(answer.headers["x-watchkeeper-span"])

    def _stream(self, rng: Random) -> None:
        asked = {"model": "lab-small", "stream": True, "messages": [{"role": "user", "content": f"{rng.random()}"}]}
        answer = self._ask("stream", lambda: _post(self._server, "/v1/chat/completions", json.dumps(asked).encode()))
        if answer is not None and b"data: [DONE]" in answer.body:
            self.streams.append(answer.headers["x-watchkeeper-span"])


def _post(server: Running, path: str, body: bytes) -> Answer:
    return server.ask(path, body, 10, content_type="application/json")


def _kill(server: Running, target: str) -> None:
    if target == "all":
        server.kill_all()
        server.start(ready=False)
    else:
        server.kill_one(target)


def _answers(server: Running) -> dict[str, Any]:
    """What the index says, in an order of its own."""
    found = {}
    for name in ("spans", "scores", "drops", "sessions"):
        answer = server.ask(f"/api/v1/{name}?limit=100000")
        assert answer.status == 200, answer.body
        found[name] = sorted(json.dumps(item, sort_keys=True) for item in answer.json["items"])
    return found


def test_what_was_answered_is_there_exactly_once_after_rounds_of_kills(running: Running) -> None:
    rng, load, hit = Random(SEED), Load(running), Counter[str]()
    try:
        for _ in range(ROUNDS):
            time.sleep(rng.uniform(0.1, 0.9))
            target = rng.choice(TARGETS)
            _kill(running, target)
            hit[target] += 1
        time.sleep(0.5)
    finally:
        load.stop()
    running.stop()
    running.start()
    running.flush()
    assert not load.wrong
    assert load.again.total() > 0, "the kills must hit senders at work"
    assert Counter(running.span_ids(service="chaos")) == load.spans
    answered = Counter(running.span_ids(status="ok", operation="chat", model="lab-small"))
    for ids in (load.calls, load.streams):
        assert len(ids) > ROUNDS
        assert {span: answered[span] for span in ids} == dict.fromkeys(ids, 1)
    scores = running.ask("/api/v1/scores?limit=100000").json["items"]
    assert Counter(item["score_id"] for item in scores) == load.scores
    verified = running.verified()
    assert verified["holds"], verified
    before = _answers(running)
    running.stop()
    rebuilt = running.command("rebuild", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    running.start()
    assert _answers(running) == before
    print(
        f"{ROUNDS} rounds {dict(hit)}: {load.spans.total()} spans, {load.scores.total()} scores, "
        f"{len(load.calls)} calls, {len(load.streams)} streams acknowledged; sent again {dict(load.again)}; "
        f"{sum(each['frames'] for each in verified['writers'])} frames verified"
    )
