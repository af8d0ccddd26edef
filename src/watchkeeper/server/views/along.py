"""Says in sentences what happened to a call on its way: failed attempts, rescues, advice, a stream that was cut."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from watchkeeper.records.span import Happening, Span
from watchkeeper.server.views.wording import count_of
from watchkeeper.server.visible import visible

REASONS = {
    "upstream_unreachable": "could not be reached",
    "upstream_disconnected": "broke off before its reply was whole",
    "upstream_timeout": "did not answer in time",
    "circuit_open": "is avoided, for it failed before",
}
RESCUES = {
    "retry": "It was asked again, because the upstream {reason}",
    "fallback": "The call fell over to {to}, because the one before it {reason}",
    "continued": "The stream that broke was continued by {to}, from where it had come to",
    "repair": "The answer was repaired",
    "default": "A default was filled in",
    "client_retry": "The caller's own client had asked before",
}
CUT = "upstream_disconnected"


def along(span: Span) -> tuple[str, ...]:
    """The sentences for one call, in the order of time; () where nothing out of the ordinary is recorded."""
    return (*(line for event in span.events for line in _event(event)), *_cut(span), *_charged(span))


def _event(event: Happening) -> Iterator[str]:
    said = event.attributes
    if event.name == "watchkeeper.attempt" and said.get("failure"):
        yield f"Attempt {_of(said, 'number', '?')}: {_where(said)} {_reason(said.get('error'))}."
    elif event.name == "watchkeeper.rescue":
        kind = str(said.get("kind"))
        line = RESCUES.get(kind, "It was rescued ({kind})")
        yield _filled(line, kind=visible(kind), to=_where(said, "to"), reason=_reason(said.get("reason"))) + "."
    elif event.name == "watchkeeper.diverted":
        asked, to, reason = (visible(str(said.get(name) or "?")) for name in ("from", "to", "reason"))
        yield f"A policy had {to!r} asked instead of {asked!r} ({reason}); its decision says why."
    elif event.name == "watchkeeper.advised":
        yield (
            "A policy told the model to change its plan: the last message of the request is the policy's, and the "
            "caller did not send it."
        )
    elif event.name == "watchkeeper.advice_not_given":
        yield "A policy had advice for the model, but the request holds no conversation that it could be put into."


def _cut(span: Span) -> Iterator[str]:
    if span.stream and span.error_type == CUT:
        chunks = span.attributes.get("watchkeeper.stream.content_chunks")
        came = f" after {count_of(chunks, 'piece')} of text" if isinstance(chunks, int) else ""
        yield (
            f"The stream was cut{came}: the caller has what is shown below, and no end. A route with "
            'on_broken_stream = "continue" has another upstream go on from there.'
        )


def _charged(span: Span) -> Iterator[str]:
    if span.attributes.get("watchkeeper.charged"):
        yield (
            "Nobody said how many tokens it used, so budgets go on being charged with what was reserved. "
            f"If you know better: watchkeeper budget reconcile --span {span.span_id}"
        )


def _filled(line: str, **values: str) -> str:
    """A sentence with its blanks filled; values are text of others and are never read as blanks themselves."""
    parts = re.split(r"\{(\w+)\}", line)
    return "".join(part if place % 2 == 0 else values[part] for place, part in enumerate(parts))


def _reason(code: object) -> str:
    """Why, as the rest of a sentence about an upstream."""
    return REASONS.get(str(code), f"failed ({visible(str(code))})" if code else "failed")


def _where(said: Mapping[str, Any], upstream: str = "upstream") -> str:
    """An upstream and its model."""
    model = f" with {visible(str(said['model']))}" if said.get("model") else ""
    return _of(said, upstream, "an upstream") + model


def _of(said: Mapping[str, Any], name: str, unknown: str) -> str:
    return unknown if said.get(name) is None else visible(str(said[name]))
