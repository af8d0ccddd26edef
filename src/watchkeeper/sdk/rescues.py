"""Tells the record that a success was rescued: what was repaired, filled in or tried again inside the program."""

from __future__ import annotations

from typing import Any, Literal

EVENT = "watchkeeper.rescue"
COUNT = "watchkeeper.rescues"
KINDS = ("default", "fallback", "repair", "retry")
RescueKind = Literal["default", "fallback", "repair", "retry"]


def rescue(kind: RescueKind, reason: str = "", **details: Any) -> bool:
    """Note on the span at hand that something was rescued; returns whether a span was there to note it on.

    `kind` is "repair" (an answer was mended, such as JSON with a missing bracket), "default" (a missing value was
    filled in), "retry" or "fallback" (something was tried again, or otherwise). `reason` says why in a few words.
    `watchkeeper ask rescues` and the monitor `rescues` count them beside those of the gateway. Raises `ValueError` for
    another kind.
    """
    if kind not in KINDS:
        raise ValueError(f"The kind of a rescue is {kind!r}; expected one of {', '.join(KINDS)}.")
    try:
        from opentelemetry import trace
    except ImportError:
        return False
    span: Any = trace.get_current_span()
    if not span.is_recording():
        return False
    told = {name: value for name, value in details.items() if isinstance(value, str | int | float | bool)}
    span.add_event(EVENT, {"kind": kind, **({"reason": reason} if reason else {}), **told})
    known = getattr(span, "attributes", None) or {}
    for name in (COUNT, f"{COUNT}.{kind}"):
        before = known.get(name, 0)
        span.set_attribute(name, (before if isinstance(before, int) else 0) + 1)
    return True
