"""Fetches what the index does not keep: whole spans, exact payloads and conversations, read from the journal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from watchkeeper.adapters.formats.conversation import Conversation, conversation_of
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.queries.logs import LogsOf
from watchkeeper.queries.question import Reader
from watchkeeper.records.body import Body
from watchkeeper.records.span import NOWHERE, Origin, Span

A = TypeVar("A")
R = TypeVar("R")
MAX_SHOWN_BYTES = 8 * 1024 * 1024
REQUEST_NAMES = ("request", "messages.input")
REPLY_NAMES = ("reply", "messages.output")


class Vault(Protocol):
    """Whoever can read the journal: the recorder's vault. Raises `KeyError` or `ValueError` for what is lost."""

    def payload(self, origin: Origin) -> tuple[FrameKind, bytes]:
        """The kind and plain payload of the frame that holds a record."""
        ...

    def span(self, origin: Origin) -> Span:
        """A whole span from the frame that holds it."""
        ...

    def body(self, body: Body) -> bytes:
        """The exact bytes of a payload."""
        ...


class Gone(LookupError):
    """A payload or span is not in the journal: never recorded, erased, or damaged; the message says which."""


class Detail(NamedTuple):
    """Everything recorded of one span: the whole span, all its attributes, and its messages."""

    span: Span
    attributes: Mapping[str, Any]
    conversation: Conversation


class Payloads:
    """Whole spans, exact bytes and conversations; all disk reads happen off the event loop."""

    def __init__(self, vault: Vault, reader: Reader | None = None) -> None:
        """`reader` finds the log records that belong to a span; without it only what the span itself holds is read."""
        self._vault, self._reader = vault, reader

    async def whole(self, span: Span) -> Span:
        """The span with bodies and events; raises `Gone` when its frame cannot be read."""
        return span if span.origin == NOWHERE else await self._call(self._vault.span, span.origin, "span")

    async def detail(self, span: Span) -> Detail:
        """The whole span with its messages; raises `Gone` when its frame or a payload cannot be read."""
        if span.origin != NOWHERE:
            kind, payload = await self._call(self._vault.payload, span.origin, "frame")
            if kind == FrameKind.OTLP:
                return await self._with_logs(await self._exported(span, payload))
        whole = msgspec.structs.replace(await self.whole(span), duplicate_of=span.duplicate_of)
        return await self._with_logs(Detail(whole, whole.attributes, await self._conversation(whole)))

    async def kept(self, body: Body) -> bytes:
        """The exact bytes of a payload that is no span's, such as a retrieved chunk; raises `Gone`."""
        return await self._call(self._vault.body, body, f"payload {body.name!r}")

    async def body(self, span: Span, *names: str) -> bytes | None:
        """The exact bytes of the first payload a whole span has under these names; None when it has none."""
        for name in names:
            for body in span.bodies:
                if body.name == name:
                    return await self._call(self._vault.body, body, f"payload {name!r}")
        return None

    async def _exported(self, span: Span, payload: bytes) -> Detail:
        from watchkeeper.adapters.formats.otlp import span_at

        whole = await self.whole(span)
        whole = msgspec.structs.replace(whole, duplicate_of=span.duplicate_of, cost=whole.cost or span.cost)
        attributes, events, conversation = await self._call(
            lambda item: span_at(payload, item), span.origin.item, "export"
        )
        del events
        return Detail(whole, attributes, conversation)

    async def _with_logs(self, detail: Detail) -> Detail:
        """A span's detail with the log records that were sent of it: as events, and as messages where it has none."""
        from watchkeeper.adapters.formats.otlp_logs import happening_of, logged_conversation, logged_events

        span, events = detail.span, list[Mapping[str, Any]]()
        if self._reader is None:
            return detail
        frames: dict[Origin, list[int]] = {}
        for each in await self._reader.ask(LogsOf(span=span)):
            place = msgspec.structs.replace(each.origin, item=0)
            frames.setdefault(place, []).append(each.origin.item)
        for place, items in frames.items():
            _, payload = await self._call(self._vault.payload, place, "log export")
            events += await self._call(partial(logged_events, payload), items, "log export")
        if not events:
            return detail
        said, spoken = detail.conversation, logged_conversation(events)
        happened = (*span.events, *(happening_of(each) for each in events))
        return Detail(
            msgspec.structs.replace(span, events=tuple(sorted(happened, key=lambda each: each.at_ns))),
            detail.attributes,
            Conversation(input=said.input or spoken.input, output=said.output or spoken.output),
        )

    async def _conversation(self, span: Span) -> Conversation:
        small = {body.name for body in span.bodies if body.size_bytes <= MAX_SHOWN_BYTES}
        request = await self.body(span, *(name for name in REQUEST_NAMES if name in small))
        reply = await self.body(span, *(name for name in REPLY_NAMES if name in small))
        return await asyncio.to_thread(conversation_of, request or b"", reply or b"")

    async def _call(self, read: Callable[[A], R], argument: A, what: str) -> R:
        try:
            return await asyncio.to_thread(read, argument)
        except (KeyError, ValueError, OSError) as error:
            reason = error.args[0] if error.args else type(error).__name__
            raise Gone(f"The {what} cannot be read from the journal: {reason}.") from error
