"""Counts what the doors do, and joins both processes' metrics into one page that Prometheus reads."""

from __future__ import annotations

import re
import time
from collections.abc import MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from watchkeeper.server.asgi import App, Receive, Scope, Send

MEDIA = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class DoorMetrics:
    """Requests by door and status class, how long they took, and refusals by reason; labels are few and fixed."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry(auto_describe=True)
        self._requests = Counter(
            "watchkeeper_http_requests", "Requests answered", ("door", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "watchkeeper_http_request_duration_seconds",
            "Time to the end of an answer, upstream included",
            ("door",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._refused = Counter("watchkeeper_http_refused", "Requests turned away", ("reason",), registry=self.registry)
        self.store_up = Gauge("watchkeeper_store_up", "Whether the store process answers", registry=self.registry)

    def refused(self, reason: str) -> None:
        """Count a request that the guard turned away."""
        self._refused.labels(reason).inc()

    async def timed(self, door: str, app: App, scope: Scope, receive: Receive, send: Send) -> None:
        """Run an app and count what it answered."""
        status = 500
        start = time.perf_counter()

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await app(scope, receive, watched)
        finally:
            requests, seconds = self._of(door, status // 100)
            requests.inc()
            seconds.observe(time.perf_counter() - start)

    def _of(self, door: str, status_class: int) -> tuple[Counter, Histogram]:
        """A door's counter and histogram; looking them up by their labels takes longer than counting."""
        known = self._known.get((door, status_class))
        if known is None:
            known = self._requests.labels(door, f"{status_class}xx"), self._seconds.labels(door)
            self._known[door, status_class] = known
        return known

    def text(self) -> bytes:
        """This process's metrics in the Prometheus text format."""
        return generate_latest(self.registry)


def join(*pages: bytes) -> bytes:
    """Join metrics pages into one: the samples of a family stand together under one HELP and TYPE, as the format asks.

    Families are told apart by their TYPE line; a family that several pages carry keeps the first page's HELP.
    """
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for page in pages:
        family = b""
        for line in page.splitlines():
            if not line.strip():
                continue
            if line.startswith((b"# HELP ", b"# TYPE ")):
                family = line.split(b" ", 3)[2]
                known = heads.setdefault(family, [])
                if not any(each[:7] == line[:7] for each in known):
                    known.append(line)
            elif not line.startswith(b"#"):
                bucket = samples.setdefault(family, [])
                if line not in bucket:
                    bucket.append(line)
    lines = [line for family, rows in samples.items() for line in [*heads.get(family, []), *rows]]
    return b"\n".join(lines) + b"\n" if lines else b""


_CREATED = re.compile(rb"\w+_created[ {]")
OPEN_MEDIA = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def openmetrics(page: bytes) -> bytes:
    """A page in the Prometheus text format as OpenMetrics 1.0: counters lose `_total` in their heads, and it ends.

    Times of creation, which the text format can only write as gauges of their own, are left out.
    """
    lines = []
    counters = {
        line.split(b" ")[2] for line in page.splitlines() if line.startswith(b"# TYPE ") and line.endswith(b" counter")
    }
    for line in page.splitlines():
        if line.startswith((b"# HELP ", b"# TYPE ")):
            mark, kind, family, rest = [*line.split(b" ", 3), b""][:4]
            if family.endswith(b"_created"):
                continue
            if family in counters and family.endswith(b"_total"):
                family = family.removesuffix(b"_total")
            rest = b"unknown" if (kind, rest) == (b"TYPE", b"untyped") else rest
            lines.append(b" ".join((mark, kind, family, rest)))
        elif line.strip() and not line.startswith(b"#") and not _CREATED.match(line):
            lines.append(line)
    return b"\n".join([*lines, b"# EOF"]) + b"\n"
