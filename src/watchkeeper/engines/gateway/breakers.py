"""Circuit breakers: an upstream that fails, or whose answers have become bad, is avoided until a trial goes well.

Pure: the clock is passed in (monotonic seconds), and each change of state comes back as a value.
"""

from __future__ import annotations

from collections import deque
from typing import Literal, NamedTuple

from watchkeeper.engines.gateway.route_spec import BreakerSpec

State = Literal["closed", "open", "half_open"]


class Change(NamedTuple):
    """A breaker changed its state."""

    before: State
    after: State
    why: str


class Breaker:
    """One breaker of one upstream and model.

    Closed until `failures` in a row, or `share` of at least `min_calls` in the window, are failures; then open for
    `open_s`; then half-open, where one trial at a time is let through: `successes` of them in a row close it, one that
    fails opens it for twice as long. A quality signal opens it as well, and holds it open until the signal is taken
    back; then trials begin at once.
    """

    def __init__(self, spec: BreakerSpec, now_s: float) -> None:
        self.spec = spec
        self.state: State = "closed"
        self.since_s = now_s
        self.why = ""
        self.quality: str | None = None
        self._in_a_row = 0
        self._well = 0
        self._wait_s = spec.open_s
        self._until_s = 0.0
        self._cooling_until_s = 0.0
        self._trial_since_s: float | None = None
        self._seen: deque[tuple[float, bool]] = deque(maxlen=10_000)
        self._bad = 0

    def ready(self, now_s: float) -> bool:
        """Whether a call may go there; with an open breaker whose time is over, or a half-open one without a trial."""
        if now_s < self._cooling_until_s or self.quality is not None:
            return False
        if self.state == "closed":
            return True
        if self.state == "open":
            return now_s >= self._until_s
        return self._trial_since_s is None or now_s - self._trial_since_s > self.spec.longest_open_s

    def wait_s(self, now_s: float) -> float:
        """About how long it will be before a call may go there; at least a second while it may not."""
        return max(1.0, self._until_s - now_s, self._cooling_until_s - now_s)

    def begin(self, now_s: float) -> Change | None:
        """A call goes there now; from an open breaker it is a trial."""
        if self.state == "closed" or self.quality is not None:
            return None
        if self.state == "open" and now_s < self._until_s:
            return None
        self._trial_since_s = now_s
        return self._turn("half_open", "a call tries whether it is well again", now_s) if self.state == "open" else None

    def succeeded(self, now_s: float) -> Change | None:
        """A call went well."""
        self._note(now_s, False)
        self._in_a_row, self._trial_since_s = 0, None
        if self.state != "half_open" or self.quality is not None:
            return None
        self._well += 1
        if self._well < self.spec.successes:
            return None
        self._wait_s = self.spec.open_s
        self._forget()
        return self._turn("closed", f"{self._well} calls in a row went well", now_s)

    def failed(self, now_s: float, what: str) -> Change | None:
        """A call failed; `what` says how, in a word or two."""
        self._note(now_s, True)
        self._in_a_row += 1
        self._trial_since_s = None
        if self.state == "half_open":
            self._wait_s = min(self.spec.longest_open_s, self._wait_s * 2)
            return self._open(f"a trial failed: {what}", now_s)
        if self.state == "open":
            return None
        if self._in_a_row >= self.spec.failures:
            return self._open(f"{self._in_a_row} failures in a row, the last: {what}", now_s)
        if len(self._seen) >= self.spec.min_calls and self._bad >= self.spec.share * len(self._seen):
            share = f"{self._bad} of {len(self._seen)} calls in {self.spec.window_s:g} s failed, the last: {what}"
            return self._open(share, now_s)
        return None

    def undecided(self) -> None:
        """A call ended without saying anything of the upstream: a mistake of the caller's, or the caller left."""
        self._trial_since_s = None

    def cool(self, now_s: float, wait_s: float) -> None:
        """The upstream asked to be left alone for a while; that is no failure, and no change of state."""
        self._cooling_until_s = max(self._cooling_until_s, now_s + wait_s)

    def judged(self, why: str | None, now_s: float) -> Change | None:
        """The quality of the answers is bad, and why; or is not (None)."""
        before, self.quality = self.quality, why
        if why is not None and before is None:
            return self._turn("open", f"quality: {why}", now_s)
        if why is None and before is not None:
            self._until_s = self._cooling_until_s = 0.0
            return self._turn("half_open", "the quality signal was taken back", now_s)
        return None

    def _open(self, why: str, now_s: float) -> Change | None:
        self._until_s = now_s + self._wait_s
        return self._turn("open", why, now_s)

    def _turn(self, state: State, why: str, now_s: float) -> Change | None:
        before = self.state
        self.why, self._well = why, 0
        if state == before:
            return None
        self.state, self.since_s = state, now_s
        return Change(before, state, why)

    def _note(self, now_s: float, bad: bool) -> None:
        if len(self._seen) == self._seen.maxlen:
            self._bad -= self._seen.popleft()[1]
        self._seen.append((now_s, bad))
        self._bad += bad
        while self._seen and self._seen[0][0] < now_s - self.spec.window_s:
            self._bad -= self._seen.popleft()[1]

    def _forget(self) -> None:
        self._seen.clear()
        self._bad = self._in_a_row = 0
