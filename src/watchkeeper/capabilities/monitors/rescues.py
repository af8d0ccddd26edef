"""Notices that successes need more rescues than agreed: retries, fallbacks, continued streams, repairs, defaults.

Problem
    A system that tries again, falls back and fills in defaults shows a high share of successes while each success
    takes several attempts, more money and more time. Every error rate is green; the rescues are the failure.

Method
    An objective on rescues for each success, like one on failures. The rescues and successes of the window are counted
    in `blocks` stretches of equal length, and their ratio gets an interval over the blocks, because rescues come in
    storms (`analysis/block_ratio.py`). A finding needs at least `min_successes`, a lower bound above `at_most` at
    `confidence`, and a newest sixth of the window that is above it as well, so that a storm that is over is not told.

    Measured on simulated streams of 30 days, 60 calls an hour, rescues in storms of five, two looks an hour, an
    objective of 0.1: at half of it none of 100 streams raised an alarm (at most 3% do, at 95% confidence), at 0.08 four
    of 100, at exactly the objective 31 of 100 (84 of 142,800 looks). Three times the objective was found in all of 100,
    in the median half an hour after the first window was full.

Limits
    Rescues that nobody reports are not seen: a program that repairs JSON by itself tells it with
    `watchkeeper.rescue("repair")`. A system without any success has no ratio;
    that is for monitors of errors. At a ratio of exactly `at_most` about one look in (1 - confidence)/2 fires.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, ClassVar

import msgspec

from watchkeeper.analysis.block_ratio import Block, ratio_of
from watchkeeper.kinds.header import Header
from watchkeeper.kinds.monitor import Window
from watchkeeper.queries.question import Reader
from watchkeeper.queries.rescues import KINDS
from watchkeeper.queries.rescues import Rescues as Question
from watchkeeper.records.finding import Finding
from watchkeeper.records.ids import new_id

_HOUR_NS = 3_600_000_000_000
_RECENT = 6


class Rescues(msgspec.Struct, frozen=True, kw_only=True):
    """An objective on rescues for each success; see Problem, Method and Limits above."""

    header: ClassVar[Header] = Header(
        id="rescues",
        version="1",
        theme="quality",
        summary="Alerts when successful calls need more rescues (retries, fallbacks, repairs) than agreed.",
        references=("Cochran 1977, chapter 6",),
    )
    every: ClassVar[timedelta] = timedelta(minutes=5)

    at_most: Annotated[
        float, msgspec.Meta(gt=0, description="The most rescues for each success; 0.1 is one in ten.")
    ] = 0.1
    window_hours: Annotated[float, msgspec.Meta(gt=0, le=24 * 60, description="The window, in hours.")] = 6.0
    blocks: Annotated[int, msgspec.Meta(ge=12, le=500, description="The stretches that the window is cut into.")] = 36
    min_successes: Annotated[
        int, msgspec.Meta(ge=1, description="The fewest successes in the window that may raise an alert.")
    ] = 50
    confidence: Annotated[
        float, msgspec.Meta(gt=0.5, lt=1, description="The confidence of the interval whose lower end counts.")
    ] = 0.999
    model: Annotated[str | None, msgspec.Meta(description="Only calls of this model.")] = None
    service: Annotated[str | None, msgspec.Meta(description="Only calls of this service.")] = None
    severity: Annotated[str, msgspec.Meta(pattern="^(page|ticket|note)$", description="page, ticket or note.")] = (
        "ticket"
    )

    async def check(self, window: Window, reader: Reader) -> Finding | None:
        """Count what succeeded and what it took; a finding when it surely took more than agreed, and still does."""
        width = max(1, round(self.window_hours * _HOUR_NS / self.blocks))
        until = window.end_ns - window.end_ns % width + width
        since = until - width * self.blocks
        answer = await reader.ask(
            Question(since=max(0, since), until=window.end_ns, width=width, model=self.model, service=self.service)
        )
        items: list[dict[str, Any]] = list(answer.items)
        blocks = [Block(float(item["rescues"]), float(item["successes"])) for item in items]
        successes = int(sum(block.units for block in blocks))
        if successes < self.min_successes:
            return None
        estimate = ratio_of(blocks, confidence=self.confidence, unit="rescues per success")
        recent = [item for item in items if item["bucket"] >= until - width * max(1, self.blocks // _RECENT)]
        now = ratio_of([Block(float(item["rescues"]), float(item["successes"])) for item in recent])
        if not estimate.low > self.at_most or not now.value > self.at_most:
            return None
        kinds = {kind: sum(int(item[kind]) for item in items) for kind in KINDS}
        most = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda each: -each[1]) if count)
        calls, rescued = (sum(int(item[name]) for item in items) for name in ("calls", "rescued"))
        filters = [value for value in (self.model, self.service) if value]
        return Finding(
            finding_id=new_id("fnd", window.end_ns),
            monitor=self.header.id,
            version=self.header.version,
            subject="rescues:" + (",".join(filters) or "all"),
            at_ns=window.end_ns,
            window_start_ns=max(0, since),
            window_end_ns=window.end_ns,
            severity=self.severity,
            sentence=(
                f"Each success takes {estimate.value:.2f} rescues (at least {estimate.low:.2f} at "
                f"{self.confidence:.1%}), where at most {self.at_most:g} was agreed: {most} in {successes} successes "
                f"of {calls} calls, {rescued} of them rescued."
            ),
            estimate=estimate,
            evidence={"at_most": self.at_most, "successes": successes, "calls": calls, "rescued": rescued, **kinds},
        )
