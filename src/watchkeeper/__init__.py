"""Watchkeeper keeps the watch over AI features and agents in production.

The public names live in `watchkeeper.sdk` and are fetched on first use, so that `import watchkeeper` costs
nothing, opens nothing and loads no heavy library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchkeeper.sdk import (
        Denied,
        EffectUnknown,
        agent,
        context,
        effect,
        feedback,
        flush,
        headers,
        init,
        once,
        outcome,
        rescue,
        score,
        session,
        sources,
        tool,
        trace,
        verified_webhook,
    )

__all__ = [
    "Denied",
    "EffectUnknown",
    "__version__",
    "agent",
    "context",
    "effect",
    "feedback",
    "flush",
    "headers",
    "init",
    "once",
    "outcome",
    "rescue",
    "score",
    "session",
    "sources",
    "tool",
    "trace",
    "verified_webhook",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Fetch a public name from the SDK; anything else is an AttributeError that lists what there is."""
    if name not in __all__:
        public = ", ".join(each for each in __all__ if not each.startswith("_"))
        raise AttributeError(f"module 'watchkeeper' has no name {name!r}. The public names are {public}.")
    from watchkeeper import sdk

    value: object = getattr(sdk, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
