"""Calls with requests and bills for tests of what looks into prompts: a real index, and the requests beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.reading import NOW, LogReader, S
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.records.identity import Identity
from watchkeeper.records.span import Operation, Span, Status, Usage


class Called(NamedTuple):
    """A call: what was asked, what was billed, and of which session."""

    request: dict[str, Any]
    input_tokens: int | None
    session: str | None = None
    model: str = "m-1"
    cached: int | None = None


class PromptLog(LogReader):
    """A reader over an index that also has the requests of its calls."""

    def __init__(self) -> None:
        super().__init__(MemoryLog())
        self.requests: dict[str, bytes] = {}

    async def payload(self, span: Span, *names: str) -> bytes | None:
        """The request of a span, where it was kept."""
        return self.requests.get(span.span_id) if "request" in names else None


async def recorded(calls: Iterable[Called], kept: bool = True) -> PromptLog:
    """The calls, a second apart, the last of them just now."""
    log, spans = PromptLog(), []
    listed = list(calls)
    for number, call in enumerate(listed):
        at_ns = NOW - (len(listed) - number) * S
        span = Span(
            trace_id=f"{number:032x}",
            span_id=f"{number:016x}",
            start_ns=at_ns,
            end_ns=at_ns + 1,
            name="chat",
            operation=Operation.CHAT,
            status=Status.OK,
            revision=1,
            identity=Identity(session=call.session),
            request_model=call.model,
            usage=Usage(input_tokens=call.input_tokens, output_tokens=1, cache_read_tokens=call.cached),
        )
        spans.append(span)
        if kept:
            log.requests[span.span_id] = json.dumps(call.request).encode()
    await log.add(spans)
    return log


def asked(*texts: str, system: str | None = None) -> dict[str, Any]:
    """A chat request with these user texts, an answer between them."""
    messages: list[dict[str, str]] = [] if system is None else [{"role": "system", "content": system}]
    for number, text in enumerate(texts):
        if number:
            messages.append({"role": "assistant", "content": "It is noted."})
        messages.append({"role": "user", "content": text})
    return {"model": "m-1", "messages": messages}
