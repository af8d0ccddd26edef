"""Writes checkpoints on a schedule and keeps them outside; a failure is counted, tried again, and blocks nothing."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from watchkeeper.adapters.anchors.errors import NotAnchored
from watchkeeper.adapters.anchors.file import FileAnchor
from watchkeeper.adapters.anchors.git import GitAnchor
from watchkeeper.adapters.anchors.webhook import WebhookAnchor
from watchkeeper.config import Anchor as Settings
from watchkeeper.config import Config, ConfigError
from watchkeeper.engines.recorder.checkpoints import FILE, Checkpointer, line_of
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.kinds.ports import Anchor
from watchkeeper.records.checkpoint import Checkpoint
from watchkeeper.records.drop import Drop

LOOK_EVERY_S = 5.0
AGAIN_AFTER_S = 60.0
_MINUTE_NS = 60_000_000_000
_log = logging.getLogger("watchkeeper.anchors")


class Kept:
    """An anchor at work: when it kept what, and how often it could not."""

    def __init__(self, name: str, anchor: Anchor, every_s: float) -> None:
        self.name, self._anchor, self._every_s = name, anchor, every_s
        self.kept = self.failures = self.number = 0
        self.kept_ns: int | None = None
        self.receipt: str | None = None
        self.problem: str | None = None
        self._next_s = 0.0

    def due(self, now_s: float) -> bool:
        """Whether it is its turn."""
        return now_s >= self._next_s

    async def keep(self, checkpoint: Checkpoint, now_s: float, now_ns: int) -> bool:
        """Keep a checkpoint; a failure is counted, and tried again after a minute or its own pause if that is less."""
        if checkpoint.number == self.number:
            return True
        try:
            self.receipt = await self._anchor.keep(checkpoint, line_of(checkpoint))
        except NotAnchored as error:
            self.failures += 1
            self.problem = str(error)
            self._next_s = now_s + min(AGAIN_AFTER_S, self._every_s)
            _log.error("checkpoint %d could not be anchored by %s: %s", checkpoint.number, self.name, error)
            return False
        self.kept += 1
        self.kept_ns = now_ns
        self.number, self.problem = checkpoint.number, None
        self._next_s = now_s + self._every_s
        return True

    def health(self) -> dict[str, Any]:
        """How it fares, as plain values."""
        return {
            "name": self.name,
            "kept": self.kept,
            "failures": self.failures,
            "checkpoint": self.number or None,
            "kept_ns": self.kept_ns,
            "receipt": self.receipt,
            "problem": self.problem,
        }


class Anchoring:
    """Checkpoints and anchors of one data directory."""

    def __init__(
        self, config: Config, home: Home, journal: Callable[[], Journal], clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        """Raises `ConfigError` for an anchor that cannot be built."""
        self._settings = config.recording
        self._journal, self._clock_ns = journal, clock_ns
        self._checkpointer = Checkpointer(home.journal, home.path / FILE, journal, clock_ns)
        self._anchors = anchors_of(config)
        self._turn = asyncio.Lock()

    async def run(self, stopping: asyncio.Event) -> None:
        """Write checkpoints and anchor them until told to stop."""
        while not stopping.is_set():
            try:
                await self.round()
            except OSError as error:
                _log.error("a checkpoint could not be written and is tried again: %s", error)
            try:
                await asyncio.wait_for(stopping.wait(), LOOK_EVERY_S)
            except TimeoutError:
                continue

    async def round(self) -> None:
        """One look: write a checkpoint if it is time, and hand the newest to the anchors whose turn it is."""
        async with self._turn:
            every_ns = int(self._settings.checkpoint_minutes * _MINUTE_NS)
            if await asyncio.to_thread(self._checkpointer.due, every_ns, self._settings.checkpoint_frames):
                await asyncio.to_thread(self._checkpointer.write)
            if self._checkpointer.last is not None:
                now_s = time.monotonic()
                await self._hand_on(self._checkpointer.last, [each for each in self._anchors if each.due(now_s)])

    async def anchor(self, only: Sequence[str] = ()) -> dict[str, Any]:
        """Write a checkpoint now, if there is anything new, and anchor it; raises `LookupError` for an unknown name."""
        names = [each.name for each in self._anchors]
        for name in only:
            if name not in names:
                known = ", ".join(names) or "none"
                raise LookupError(f"there is no anchor {name!r}; in the settings are: {known}.")
        async with self._turn:
            if self._checkpointer.last is None or await asyncio.to_thread(self._checkpointer.fresh) > 0:
                await asyncio.to_thread(self._checkpointer.write)
            last = self._checkpointer.last
            assert last is not None
            wanted = [each for each in self._anchors if not only or each.name in only]
            await self._hand_on(last, wanted)
            return {"checkpoint": last, "anchors": [each.health() for each in wanted]}

    def health(self) -> list[dict[str, Any]]:
        """How each anchor fares."""
        return [each.health() for each in self._anchors]

    def metrics(self) -> bytes:
        """How the anchors fare since the start of this process, in the Prometheus text format."""
        lines = [
            "# HELP watchkeeper_anchor_failures_total Checkpoints that could not be kept outside, by anchor.",
            "# TYPE watchkeeper_anchor_failures_total counter",
            *(f'watchkeeper_anchor_failures_total{{anchor="{_label(a.name)}"}} {a.failures}' for a in self._anchors),
            "# HELP watchkeeper_anchor_last_kept_seconds Unix time at which a checkpoint was last kept outside.",
            "# TYPE watchkeeper_anchor_last_kept_seconds gauge",
            *(
                f'watchkeeper_anchor_last_kept_seconds{{anchor="{_label(a.name)}"}} {a.kept_ns / 1e9:.3f}'
                for a in self._anchors
                if a.kept_ns is not None
            ),
        ]
        return ("\n".join(lines) + "\n").encode() if self._anchors else b""

    async def _hand_on(self, checkpoint: Checkpoint, anchors: Sequence[Kept]) -> None:
        now_s = time.monotonic()
        done = await asyncio.gather(*(each.keep(checkpoint, now_s, self._clock_ns()) for each in anchors))
        failed = [each for each, kept in zip(anchors, done, strict=True) if not kept]
        now = self._clock_ns()
        for each in failed:
            detail = f"{each.name}: {each.problem}"[:300]
            self._journal().append(
                Drop(
                    what="anchor",
                    reason="not_anchored",
                    count=1,
                    first_ns=now,
                    last_ns=now,
                    door="anchor",
                    detail=detail,
                )
            )


def _label(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def anchors_of(config: Config, environ: Mapping[str, str] | None = None) -> tuple[Kept, ...]:
    """The anchors in the order of the settings; raises `ConfigError` for what cannot be built."""
    known = os.environ if environ is None else environ
    return tuple(
        Kept(each.name or f"{each.use}-{n + 1}", _build(each, f"{config.file or 'settings'}: `anchors[{n}]", known),
             each.every_minutes * 60)
        for n, each in enumerate(config.anchors)
    )  # fmt: skip


def _build(settings: Settings, place: str, environ: Mapping[str, str]) -> Anchor:
    if settings.use == "file":
        return FileAnchor(Path(settings.path or "").expanduser())
    if settings.use == "git":
        return GitAnchor(Path(settings.path or "").expanduser(), push=settings.push, timeout_s=settings.timeout_s)
    url = _read(settings.url or "", f"{place}.url`", environ)
    secret = None if settings.secret is None else _read(settings.secret, f"{place}.secret`", environ).encode()
    try:
        return WebhookAnchor(url, secret=secret, timeout_s=settings.timeout_s)
    except ValueError as error:
        raise ConfigError(f"{place}.url`: {error}") from error


def _read(value: str, place: str, environ: Mapping[str, str]) -> str:
    if not value.startswith("env:"):
        return value
    name = value.removeprefix("env:")
    found = environ.get(name, "").strip()
    if not found:
        raise ConfigError(f"{place} reads the environment variable {name}, which is not set. Set it and start again.")
    return found
