"""Runs a client's checks one by one and prints a line of JSON for each; needs nothing but the standard library."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from collections.abc import Callable
from typing import Any

GATEWAY, KEY = os.environ["GATEWAY"], os.environ["KEY"]
SAID = "All is well aboard the ship tonight."
SEEN = "The harbour is calm."
TOO_MUCH = 20_000_000
"""More tokens than the gateway's budget allows for one key."""


def tell(checks: dict[str, Callable[[], Any]]) -> None:
    """Run the checks, each in an event loop of its own where it is asynchronous."""
    for name, check in checks.items():
        try:
            done = check()
            if inspect.isawaitable(done):
                asyncio.run(_awaited(done))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is told
            print(
                json.dumps({"check": name, "ok": False, "detail": f"{type(error).__name__}: {error}"[:500]}), flush=True
            )
        else:
            print(json.dumps({"check": name, "ok": True}), flush=True)


async def _awaited(done: Any) -> Any:
    return await done


def raises(kinds: type[BaseException] | tuple[type[BaseException], ...], words: str, act: Callable[[], Any]) -> None:
    """The act must raise one of these errors, and the error must hold these words."""
    try:
        act()
    except kinds as error:
        said = f"{error} {getattr(error, 'body', '')}"
        assert words in said, f"{words!r} is not in {said[:300]}"
        return
    raise AssertionError(f"nothing was raised where {kinds} was due")
