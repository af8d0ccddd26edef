"""Calls of versions with what was said in them, for tests of what reads replies: an index and the replies beside it."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import NamedTuple

from tests.reading import NOW, LogReader, S
from watchkeeper.adapters.store.memory_log import MemoryLog
from watchkeeper.queries.replies import Said
from watchkeeper.records.identity import Identity
from watchkeeper.records.manifest import Manifest, compose_manifest
from watchkeeper.records.span import Operation, Span, Status, Usage

WORDS = "lamp blue order parcel return week price shop box colour".split()  # noqa: SIM905


class Call(NamedTuple):
    """A call of a model: what it said, for whom, and a step that came after it (None: none; True: it failed)."""

    model: str
    text: str
    user: str | None = None
    failed: bool | None = None
    manifest: str | None = None
    status: str = Status.OK
    tenant: str | None = None


class ReplyLog(LogReader):
    """A reader over an index that also has what was said in its calls."""

    def __init__(self) -> None:
        super().__init__(MemoryLog())
        self.words: dict[str, Said] = {}

    async def said(self, span: Span) -> Said | None:
        """What was said in a call, where it was kept."""
        return self.words.get(span.span_id)


async def recorded(calls: Iterable[Call], kept: bool = True, manifests: Iterable[Manifest] = ()) -> ReplyLog:
    """The calls, ten seconds apart, the last of them just now; each streamed for a second after half a second."""
    log, spans = ReplyLog(), []
    listed = list(calls)
    for number, call in enumerate(listed):
        at_ns = NOW - (len(listed) - number) * 10 * S
        trace = f"{number + 1:032x}"
        span = Span(
            trace_id=trace,
            span_id=f"{number + 1:016x}",
            start_ns=at_ns,
            end_ns=at_ns + 3 * S // 2,
            name="chat",
            operation=Operation.CHAT,
            status=call.status,
            revision=1,
            identity=Identity(user=call.user, tenant=call.tenant),
            request_model=call.model,
            manifest=call.manifest,
            usage=Usage(input_tokens=9, output_tokens=50),
            first_token_ns=S // 2,
        )
        spans.append(span)
        if kept:
            log.words[span.span_id] = Said(text=call.text)
        if call.failed is not None:
            spans.append(
                Span(
                    trace_id=trace,
                    span_id=f"{number + 1_000_000:016x}",
                    start_ns=at_ns + 2 * S,
                    end_ns=at_ns + 3 * S,
                    name="read total",
                    operation=Operation.OTHER,
                    status=Status.ERROR if call.failed else Status.OK,
                    service="ledger",
                    revision=1,
                )
            )
    await log.add([*spans, *manifests])
    return log


def saying(rng: Random, *, fenced: float = 0.1, long: int = 12) -> str:
    """A reply of some words that ends in a total, in a fence by chance."""
    said = " ".join(rng.choice(WORDS) for _ in range(rng.randint(6, 6 + long))) + f".\nTotal: {rng.randint(1, 90)}"
    return f"```\n{said}\n```" if rng.random() < fenced else said


def composed(**components: str) -> Manifest:
    """A composition of these layers."""
    return compose_manifest(components, NOW - 10**15)
