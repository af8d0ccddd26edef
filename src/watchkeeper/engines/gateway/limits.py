"""How much one upstream is asked: calls at once, calls and tokens a minute, and a bounded queue for the rest."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.route_spec import LimitSpec

_SHORTEST_WAIT_S = 0.002


class TokenBucket:
    """Allows `per_minute` units a minute: in any stretch of t seconds at most a burst and t * rate.

    Pure: the clock is passed in (monotonic seconds). The burst is a sixth of a minute's units, at least one, so that an
    upstream that counts in shorter windows than a minute is not overrun. More than a whole burst at once is let through
    when the bucket is full, and owed.
    """

    def __init__(self, per_minute: float, now_s: float) -> None:
        self.per_minute = per_minute
        self.rate_s = per_minute / 60.0
        self.burst = max(1.0, per_minute / 6.0)
        self._level = self.burst
        self._at_s = now_s

    def take(self, amount: float, now_s: float) -> float:
        """Take units: 0 when they were taken, else the seconds after which they may be."""
        self._fill(now_s)
        needed = min(amount, self.burst)
        if self._level >= needed - 1e-9:
            self._level -= amount
            return 0.0
        return (needed - self._level) / self.rate_s

    def correct(self, amount: float, now_s: float) -> None:
        """Take more without asking (what was used beyond a guess), or give back (a negative amount)."""
        self._fill(now_s)
        self._level = min(self.burst, self._level - amount)

    def level(self, now_s: float) -> float:
        """The units that could be taken now; negative while some are owed."""
        self._fill(now_s)
        return self._level

    def _fill(self, now_s: float) -> None:
        if now_s > self._at_s:
            self._level = min(self.burst, self._level + (now_s - self._at_s) * self.rate_s)
            self._at_s = now_s


class Lease:
    """A call's turn at an upstream. Give it back exactly once, with the tokens that were really used where known."""

    __slots__ = ("_gate", "_guess", "waited_s")

    def __init__(self, gate: Gate, guess: float, waited_s: float) -> None:
        self._gate: Gate | None = gate
        self._guess, self.waited_s = guess, waited_s

    def release(self, used_tokens: int | None = None) -> None:
        """The call has ended; a second time changes nothing."""
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave(self._guess, used_tokens)


class Gate:
    """The way to one upstream: first come, first served, and no more waiting than the settings say.

    What does not get through is told so at once: 429 where the rate is used up, 503 where too many are in flight, both
    with `retry-after`. `refused` counts them by reason.
    """

    def __init__(self, name: str, spec: LimitSpec, clock_s: Callable[[], float]) -> None:
        self.name, self._clock_s = name, clock_s
        self.in_flight = 0
        self.refused = 0
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.set(spec)

    @property
    def queued(self) -> int:
        """How many calls wait for their turn."""
        return len(self._waiting)

    def set(self, spec: LimitSpec) -> None:
        """Take other limits from now on; rates that did not change keep their levels."""
        now_s, old = self._clock_s(), getattr(self, "spec", None)
        self.spec = spec
        if old is None or old.requests_per_minute != spec.requests_per_minute:
            self._calls = None if spec.requests_per_minute is None else TokenBucket(spec.requests_per_minute, now_s)
        if old is None or old.tokens_per_minute != spec.tokens_per_minute:
            self._tokens = None if spec.tokens_per_minute is None else TokenBucket(spec.tokens_per_minute, now_s)
        if self._waiting:
            self._serve()

    async def enter(self, tokens: float, longest_s: float | None = None) -> Lease:
        """Wait for a turn, at most `queue_s` and `longest_s`; raises a 429 or 503 `Refusal` when there is none."""
        spec = self.spec
        if not spec.limited:
            self.in_flight += 1
            return Lease(self, tokens, 0.0)
        if not self._waiting and self._try(tokens) == 0:
            return Lease(self, tokens, 0.0)
        if len(self._waiting) >= spec.queue:
            raise self._refusal(tokens, "queue_full", f"{len(self._waiting)} calls wait for it already")
        began_s = self._clock_s()
        longest = spec.queue_s if longest_s is None else min(spec.queue_s, longest_s)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((tokens, turn))
        if len(self._waiting) == 1:
            self._serve()
        try:
            async with asyncio.timeout(longest):
                await turn
        except TimeoutError:
            if turn.done() and not turn.cancelled():
                return Lease(self, tokens, self._clock_s() - began_s)
            self._drop(turn)
            raise self._refusal(tokens, "queue_timeout", f"no turn came within {longest:g} s") from None
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(tokens, 0)
            self._drop(turn)
            raise
        return Lease(self, tokens, self._clock_s() - began_s)

    def leave(self, guess: float, used_tokens: int | None) -> None:
        """A call has ended; what was guessed of its tokens is made right."""
        self.in_flight -= 1
        if self._tokens is not None and used_tokens is not None:
            self._tokens.correct(used_tokens - guess, self._clock_s())
        if self._waiting:
            self._serve()

    def levels(self) -> dict[str, float | None]:
        """What could be begun now: calls and tokens, None without a limit."""
        now_s = self._clock_s()
        calls = None if self._calls is None else self._calls.level(now_s)
        return {"calls_left": calls, "tokens_left": None if self._tokens is None else self._tokens.level(now_s)}

    def _try(self, tokens: float) -> float:
        """Take a turn now: 0 when it was taken, else the seconds to wait (infinite: until another call ends)."""
        spec, now_s = self.spec, self._clock_s()
        if spec.max_concurrency is not None and self.in_flight >= spec.max_concurrency:
            return math.inf
        wait_s = 0.0 if self._calls is None else self._calls.take(1, now_s)
        if wait_s:
            return wait_s
        wait_s = 0.0 if self._tokens is None else self._tokens.take(tokens, now_s)
        if wait_s:
            if self._calls is not None:
                self._calls.correct(-1, now_s)
            return wait_s
        self.in_flight += 1
        return 0.0

    def _serve(self) -> None:
        """Give turns to those who wait, in their order, as far as they go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            tokens, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
                continue
            wait_s = self._try(tokens)
            if wait_s:
                if wait_s != math.inf:
                    loop = asyncio.get_running_loop()
                    self._timer = loop.call_later(max(_SHORTEST_WAIT_S, wait_s), self._serve)
                return
            self._waiting.popleft()
            turn.set_result(None)

    def _drop(self, turn: asyncio.Future[None]) -> None:
        first = bool(self._waiting) and self._waiting[0][1] is turn
        self._waiting = deque(each for each in self._waiting if each[1] is not turn)
        if first and self._waiting:
            self._serve()

    def _refusal(self, tokens: float, code: str, what: str) -> Refusal:
        self.refused += 1
        now_s = self._clock_s()
        waits = [0.0]
        if self._calls is not None:
            waits.append((len(self._waiting) + 1 - self._calls.level(now_s)) / self._calls.rate_s)
        if self._tokens is not None:
            queued = sum(each for each, _ in self._waiting) + tokens
            waits.append((min(queued, self._tokens.burst) - self._tokens.level(now_s)) / self._tokens.rate_s)
        rate_wait_s = max(waits)
        after = max(1, math.ceil(rate_wait_s))
        by_rate = rate_wait_s > 0
        return Refusal(
            429 if by_rate else 503,
            f"upstream_{code}",
            f"The upstream {self.name!r} is asked as much as its limits allow: {what}. Try again in {after} s.",
            kind="unavailable",
            headers=((b"retry-after", str(after).encode()),),
        )
