"""A data directory of a few days' traffic, and the store process's parts that retention works with."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from watchkeeper.adapters.formats import otlp_wire
from watchkeeper.compose.keeping import thinned
from watchkeeper.compose.store import StoreHouse
from watchkeeper.config import Config, Server
from watchkeeper.engines.keeping.settings import Retention, Sampling
from watchkeeper.engines.recorder import journal as journal_module
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Cost, Span, Usage

DAY_NS = 24 * 3600 * 1_000_000_000


class Clock:
    """A clock that is moved by hand, for the journal's frames as well."""

    def __init__(self, now_ns: int) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns

    def days(self, number: float) -> None:
        self.now_ns += round(number * DAY_NS)


def trace_of(number: int) -> str:
    return f"{number + 1:032x}"


class Traffic:
    """Writes a gateway's calls: conversations whose history is sent again, one call a trace."""

    def __init__(self, home: Home, clock: Clock) -> None:
        self.home, self.clock, self.count = home, clock, 0
        self.journal = self._open()

    def _open(self) -> Journal:
        journal = Journal(self.home.journal, "gateway", self.home.secret("chunks"), sync_every_s=60)
        journal.thin = thinned
        return journal

    def call(self, said: list[dict[str, str]], reply: str = "fine", **fields: Any) -> str:
        """One call with its history; returns its trace id."""
        number, self.count = self.count, self.count + 1
        trace_id, start_ns = fields.pop("trace_id", trace_of(number)), self.clock.now_ns
        span = Span(
            trace_id=trace_id, span_id=f"{number + 1:016x}", start_ns=start_ns, name="chat small-1", operation="chat",
            status="ok", identity=Identity(session=fields.pop("session", None)), upstream="lab",
            request_model="small-1", response_model="small-1", revision=1, end_ns=start_ns + 1_000_000_000,
            usage=Usage(input_tokens=10, output_tokens=2), cost=Cost(usd=0.001, source="lab"), preview=reply,
        )  # fmt: skip
        span = msgspec.structs.replace(span, **fields)
        request = json.dumps({"model": "small-1", "messages": said}).encode()

        def records(bodies: tuple[Body, ...]) -> Iterable[Span]:
            return (msgspec.structs.replace(span, bodies=bodies),)

        answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}).encode()
        self.journal.write(
            ((request, "request", "application/json", "default"), (answer, "reply", "application/json", "default")),
            records,
        )
        return trace_id

    def export(self, traces: Iterable[str], text: str = "Tell me", status: int = 1) -> None:
        """One OTLP export with a span for each trace."""
        spans = [
            {
                "traceId": trace, "spanId": trace[-16:], "name": "chat big-2", "kind": 3,
                "startTimeUnixNano": str(self.clock.now_ns), "endTimeUnixNano": str(self.clock.now_ns + 10**9),
                "status": {"code": status},
                "attributes": [
                    _text("gen_ai.operation.name", "chat"), _text("gen_ai.request.model", "big-2"),
                    _text("custom.team", "sales"),
                    _text("gen_ai.input.messages", _said("user", f"{text} {trace}")),
                    _text("gen_ai.output.messages", _said("assistant", f"Because {trace}")),
                ],
            }
            for trace in traces
        ]  # fmt: skip
        resource = {"attributes": [_text("service.name", "shop")]}
        body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": spans}]}]}
        payload = otlp_wire.from_json(json.dumps(body).encode())
        self.journal.append_raw(FrameKind.OTLP, otlp_wire.stamp(payload, self.clock.now_ns, Identity()))

    def seal(self) -> None:
        """End the segment, as a restart does."""
        self.journal.close()
        self.journal = self._open()


def _text(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}


def _said(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}])


def big(text: str) -> str:
    """A message large enough to be a chunk of its own."""
    return (text + " ") * (1200 // (len(text) + 1) + 1)


class Scene:
    """A data directory with a clock, traffic, and a store process that is opened when asked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
        self.clock = Clock(1_790_000_000_000_000_000)
        monkeypatch.setattr(journal_module.time, "time_ns", self.clock)
        monkeypatch.setattr("watchkeeper.engines.keeping.keeper.SETTLE_S", 0.0)
        monkeypatch.setattr("watchkeeper.engines.keeping.keeper.PAUSE_S", 0.0)
        self.home = Home(folder)
        retention = {name: settings.pop(name) for name in list(settings) if name in Retention.__struct_fields__}
        self.config = Config(
            server=Server(data=str(folder)), sampling=Sampling(**settings), retention=Retention(**retention)
        )
        self.traffic = Traffic(self.home, self.clock)

    @contextlib.asynccontextmanager
    async def house(self) -> AsyncIterator[StoreHouse]:
        """The store's parts, with everything indexed."""
        house = StoreHouse(self.config, self.home, self.clock)
        try:
            await house.open()
            yield house
        finally:
            await house.stop()

    def close(self) -> None:
        self.traffic.journal.close()
