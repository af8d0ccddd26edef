"""Recent model calls together with what was asked, for those who look into prompts."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import msgspec

from watchkeeper.queries.explorer import Spans
from watchkeeper.queries.question import Reader
from watchkeeper.queries.whole import Whole
from watchkeeper.records.span import Operation, Span

_NAMES = ("request", "messages.input")


@runtime_checkable
class PayloadReader(Protocol):
    """A reader that can also fetch what the index does not keep."""

    async def payload(self, span: Span, *names: str) -> bytes | None:
        """The exact bytes of the first payload that a span has under these names; None when it is not there."""
        ...


class Prompted(NamedTuple):
    """A call and its request; None where the request was not kept, was erased, or is no JSON."""

    span: Span
    request: dict[str, Any] | None


async def prompted(
    reader: Reader, since_ns: int, until_ns: int, limit: int, model: str | None = None
) -> tuple[Prompted, ...]:
    """The last chat calls of a time, oldest first, each with its request as far as it can be had."""
    asked = Spans(since=since_ns, until=until_ns, operation=Operation.CHAT.value, model=model, limit=limit)
    spans = await reader.ask(Whole(asked, Span))
    return tuple([Prompted(span, await _request(reader, span)) for span in reversed(spans) if counts(span)])


def counts(span: Span) -> bool:
    """Whether a call is there to be counted: it was answered, its input is known, and it is not told twice."""
    return span.usage.input_tokens is not None and getattr(span, "duplicate_of", None) is None


async def _request(reader: Reader, span: Span) -> dict[str, Any] | None:
    if not isinstance(reader, PayloadReader):
        return None
    data = await reader.payload(span, *_NAMES)
    if data is None:
        return None
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(value, list):
        return {"messages": value}
    return value if isinstance(value, dict) else None
