"""Slows down whoever guesses: after some failures an address, a name, or both together must wait."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_S = 900.0
FIRST_WAIT_S = 15.0
LONGEST_WAIT_S = 900.0
PER_PAIR, PER_ADDRESS, PER_NAME = 5, 30, 50
_MOST = 20_000


class Throttle:
    """Counts failures in memory, for one process. A pair of name and address waits soonest, a name alone latest.

    A name alone waits late on purpose: whoever knows a name should not be able to keep its owner out cheaply.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._failed: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, name: str, address: str) -> float:
        """How many seconds must pass before the next attempt; 0 when it may be made now."""
        now_s = self._clock_s()
        return max(self._wait(key, most, now_s) for key, most in _keys(name, address))

    def failed(self, name: str, address: str) -> None:
        """An attempt was wrong."""
        now_s = self._clock_s()
        for key, _ in _keys(name, address):
            count, last_s = self._failed.pop(key, (0, now_s))
            self._failed[key] = (1 if now_s - last_s > WINDOW_S else count + 1, now_s)
        while len(self._failed) > _MOST:
            self._failed.popitem(last=False)

    def succeeded(self, name: str, address: str) -> None:
        """An attempt that was counted as failed was right: it is taken back, and this pair's failures are forgotten."""
        pair, *others = _keys(name, address)
        self._failed.pop(pair[0], None)
        for key, _ in others:
            if key in self._failed:
                count, last_s = self._failed[key]
                self._failed[key] = (max(0, count - 1), last_s)

    def _wait(self, key: str, most: int, now_s: float) -> float:
        count, last_s = self._failed.get(key, (0, 0.0))
        if count < most or now_s - last_s > WINDOW_S:
            return 0.0
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(count - most, 10), LONGEST_WAIT_S)
        return max(0.0, last_s + wait_s - now_s)


def _keys(name: str, address: str) -> tuple[tuple[str, int], ...]:
    short = name[:200]
    return ((f"both:{short}\x1f{address}", PER_PAIR), (f"address:{address}", PER_ADDRESS), (f"name:{short}", PER_NAME))
