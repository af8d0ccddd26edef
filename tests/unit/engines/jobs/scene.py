"""Jobs and effects over plain cells and a real journal; calls are answered by a function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.unit.engines.gateway.stage import PlainCells
from watchkeeper.engines.gateway.keyed import Keyed
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.gateway.presence import Presence
from watchkeeper.engines.jobs.calling import Reply
from watchkeeper.engines.jobs.desk import Allowed, JobDesk
from watchkeeper.engines.jobs.effects import EffectLedger, Wish
from watchkeeper.engines.jobs.hooks import Hooks
from watchkeeper.engines.jobs.runner import Runner
from watchkeeper.engines.jobs.shapes import SentCondition, SentRequest
from watchkeeper.engines.jobs.state import JobState
from watchkeeper.engines.jobs.verifying import Output
from watchkeeper.engines.recorder.frames import RECORD_KINDS, FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.records.identity import Identity
from watchkeeper.records.job import Check
from watchkeeper.records.record import Record, as_json, unpack

SECRET = b"k" * 32
NS = 1_000_000_000


class Clock:
    """Unix nanoseconds that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * NS

    def __call__(self) -> int:
        return self.now_ns


def said(text: str, finish: str = "stop") -> bytes:
    """A chat completion with a text."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return as_json({"id": "c", "object": "chat.completion", "model": "alpha-1", "choices": [choice]})


class PlainCaller:
    """Answers calls by a function, and keeps their replies as the gateway would."""

    def __init__(self, journal: Journal, answer: Callable[[str, Any], Reply | str]) -> None:
        self._journal, self.answer = journal, answer
        self.calls: list[tuple[str, Any]] = []
        self.cancelled: list[str] = []

    async def call(self, state: JobState, step: str, request: SentRequest, body: Any, key: Key | None) -> Reply:
        self.calls.append((step, body))
        given = self.answer(step, body)
        if isinstance(given, Reply):
            return given
        data = said(given)
        kept = self._journal.put(data, "reply")
        keyed = Keyed(
            state="done", digest="", attempt="", holder=Presence(PlainCells(), SECRET, "gateway", Clock()).me,
            since_ns=0, expires_ns=0, status=200, body=kept, model="alpha-1", cost_usd=0.5,
        )  # fmt: skip
        return Reply(200, "application/json", data, None, None, "", keyed)

    def cancel(self, state: JobState, step: str, key: Key | None) -> None:
        self.cancelled.append(step)


async def holds(condition: SentCondition, output: Output | None, state: JobState) -> Check:
    """A judge: a postcondition holds when its name stands in the output."""
    name = condition.name or "?"
    return Check(name=name, held=None if output is None else name in output.text, explanation="looked")


class Scene:
    """A desk, a ledger and, with `runner`, somebody who runs; `restarted` is the same house after a crash."""

    def __init__(
        self,
        folder: Path,
        answer: Callable[[str, Any], Reply | str] = lambda step, body: f"said in {step}",
        cells: PlainCells | None = None,
        clock: Clock | None = None,
        allowed: Allowed | None = None,
        writer: str = "gateway",
    ) -> None:
        self.folder, self.clock = folder, clock or Clock()
        self.cells = cells or PlainCells()
        self.journal = Journal(folder / "journal", writer, SECRET)
        self.vault = Vault(folder / "journal")
        self.presence = Presence(self.cells, SECRET, writer, self.clock)
        self.effects = EffectLedger(self.cells, self.journal.append, self.clock)
        self.caller = PlainCaller(self.journal, answer)
        self.key_problem: str | None = None
        self.delivered: list[tuple[str, dict[str, str], bytes]] = []
        self.refuse_hooks = 0
        self.hooks = Hooks(self.cells, self._deliver, b"secret", self.clock, self.journal.append)
        house = self.presence.me.house
        self.desk = JobDesk(
            self.cells, self.journal, self.effects, house, self.clock,
            allowed or Allowed(webhook_hosts=("hooks.test",)), lambda job: None,
        )  # fmt: skip
        parts = (self.desk, self.effects, self.presence, self.caller, holds, self._key, self.vault.body, self.hooks)
        self.runner = Runner(*parts, self.clock)  # type: ignore[arg-type]

    async def _key(self, key_id: str | None) -> Key | None:
        if self.key_problem is not None:
            raise LookupError(self.key_problem)
        return None

    async def _deliver(self, url: str, headers: Any, body: bytes) -> None:
        self.delivered.append((url, dict(headers), body))
        if self.refuse_hooks > 0:
            self.refuse_hooks -= 1
            raise RuntimeError("the other side answered 500")

    async def submit(self, job: dict[str, Any], key: str | None = None, tenant: str = "default") -> JobState:
        """Submit a job."""
        return (await self.desk.submit(msgspec.json.encode(job), Identity(tenant=tenant), key))[0]

    async def run(self, job_id: str) -> JobState:
        """Run a job as far as it goes now."""
        await self.runner._run(job_id)
        return await self.desk.get(job_id)

    def restarted(self, **changes: Any) -> Scene:
        """The house after its process died: the same folder and cells, nothing in memory."""
        self.journal.close()
        return Scene(self.folder, **{"answer": self.caller.answer, "cells": self.cells, "clock": self.clock, **changes})

    def records(self, kind: type[Record]) -> list[Any]:
        """Every record of a kind in the journal, in order."""
        frames = read_frames(self.folder / "journal" / self.journal.writer)
        found = [
            unpack(RECORD_KINDS[FrameKind(frame.head.kind)], frame.payload)
            for frame in frames
            if frame.head.kind in RECORD_KINDS
        ]
        return [record for record in found if isinstance(record, kind)]


def request(**body: Any) -> dict[str, Any]:
    """A call as a job declares it."""
    given = {"model": "alpha", "messages": [{"role": "user", "content": "Hi."}], **body}
    return {"path": "/v1/chat/completions", "body": given}


def wish(**changes: Any) -> Wish:
    """A claim with test defaults."""
    given: dict[str, Any] = {
        "run": "run-1", "step": "refund", "tool": "refund", "object": "order 7", "claim": "claim-one",
        "lease_ns": 60 * NS, **changes,
    }  # fmt: skip
    return Wish(**given)
