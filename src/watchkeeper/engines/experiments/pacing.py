"""Keeps to a rate by waiting: the generic cell rate algorithm over requests and tokens (ITU-T I.371, 1993)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

MINUTE_S = 60.0


class Pace:
    """Lets through at most so many units a minute, evenly, with bursts of up to `burst_s` seconds' worth.

    `wait(amount)` returns when the amount may go. Callers are served in the order in which they came. An amount larger
    than a whole minute's allowance goes after as long as it is worth, so that it is slow rather than impossible.
    """

    def __init__(
        self,
        per_minute: float,
        *,
        burst_s: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if not per_minute > 0:
            raise ValueError(f"A rate must be above 0 a minute, and was {per_minute!r}. Leave it out for none.")
        self._each_s = MINUTE_S / per_minute
        self._burst_s = burst_s
        self._monotonic, self._sleep = monotonic, sleep
        self._next_s = 0.0

    async def wait(self, amount: float = 1.0) -> float:
        """Return when the amount may go; says how many seconds that took."""
        now = self._monotonic()
        free = max(self._next_s, now - self._burst_s)
        self._next_s = free + amount * self._each_s
        pause = free - now
        if pause > 0:
            await self._sleep(pause)
        return max(0.0, pause)

    def correct(self, amount: float) -> None:
        """Count an amount more (or, below 0, less) than was waited for."""
        self._next_s += amount * self._each_s
