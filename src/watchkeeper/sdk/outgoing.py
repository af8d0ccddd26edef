"""What goes out with a model call, so that the gateway knows whom it belongs to."""

from __future__ import annotations

from watchkeeper.sdk import tracing
from watchkeeper.sdk.client import current_client
from watchkeeper.sdk.identity import baggage_of, current


def headers() -> dict[str, str]:
    """Headers that tell the gateway whom a call belongs to: pass them as `extra_headers` of an OpenAI client's call.

    Holds session, run, user and agent where they are known, the trace context, and the Watchkeeper key if there is one.
    """
    who = current()
    found = {f"X-Watchkeeper-{name.capitalize()}": value for name, value in who.items()}
    if who.items():
        found["baggage"] = baggage_of(who)
    parent = tracing.traceparent()
    if parent is not None:
        found["traceparent"] = parent
    key = current_client().key
    if key is not None:
        found["X-Watchkeeper-Key"] = key
    return found
