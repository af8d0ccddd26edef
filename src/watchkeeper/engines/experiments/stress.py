"""Plays tasks whole and cut into turns, many times each, and holds aptitude and unreliability of both side by side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping

from watchkeeper.analysis.aptitude import Aptitude, aptitude
from watchkeeper.analysis.intervals import mean
from watchkeeper.engines.experiments.asking import Asker
from watchkeeper.records.case import Case
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.record import Record

Judge = Callable[[Case, str], Awaitable[float | None]]


class Stressed(Record):
    """Whole against sharded: differences (sharded minus whole) are paired by task; `failed` runs are in no figure."""

    whole: Aptitude
    sharded: Aptitude
    aptitude_change: Estimate
    unreliability_change: Estimate
    runs: int
    failed: int
    unscored: int


class Stress:
    """Asks each task `runs` times in each form. Turns are asked one after another, with the answers in between."""

    def __init__(self, ask: Asker, parameters: Mapping[str, object], judge: Judge, concurrency: int = 8) -> None:
        self.failed = self.unscored = 0
        self._ask, self._parameters, self._judge = ask, parameters, judge
        self._gate = asyncio.Semaphore(concurrency)

    async def play(self, pairs: list[tuple[Case, Case]], runs: int) -> Stressed:
        """Play pairs of (whole, sharded) cases; raises `CapReached` where the cap does not allow to ask on."""
        both = await asyncio.gather(*(asyncio.gather(self._runs(a, runs), self._runs(b, runs)) for a, b in pairs))
        scored = [(a, b) for a, b in both if len(a) > 1 and len(b) > 1]
        whole, sharded = aptitude([a for a, _ in both]), aptitude([b for _, b in both])
        each = [(aptitude([a]), aptitude([b])) for a, b in scored]
        return Stressed(
            whole=whole,
            sharded=sharded,
            aptitude_change=mean([b.aptitude.value - a.aptitude.value for a, b in each]),
            unreliability_change=mean([b.unreliability.value - a.unreliability.value for a, b in each]),
            runs=runs,
            failed=self.failed,
            unscored=self.unscored,
        )

    async def _runs(self, case: Case, runs: int) -> list[float]:
        found = await asyncio.gather(*(self._run(case, f"stress-{number}") for number in range(runs)))
        return [each for each in found if each is not None]

    async def _run(self, case: Case, draw: str) -> float | None:
        async with self._gate:
            said: list[object] = []
            answer = ""
            for message in json.loads(case.messages):
                said.append(message)
                if message.get("role") != "user":
                    continue
                done = await self._ask(json.dumps(said, ensure_ascii=False), self._parameters, draw)
                if done.error is not None:
                    self.failed += 1
                    return None
                answer = done.output or ""
                said.append({"role": "assistant", "content": answer})
            value = await self._judge(case, answer)
            self.unscored += value is None
            return value
