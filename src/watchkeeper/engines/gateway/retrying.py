"""When a call may be asked again, and after what wait: the provider's hints, read with care, and jittered backoff."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from typing import Literal, NamedTuple

from watchkeeper.engines.gateway.errors import Header
from watchkeeper.engines.gateway.route_spec import SAFE_STATUSES, RouteSpec

SANE_S = 86_400.0
"""A hint of more than a day is no hint: it is not followed, and counted."""

_LONGEST_HINT_CHARS = 64

Kind = Literal["unsent", "failed", "broken"]
"""What is known of a failed attempt: certainly not carried out; answered with an error; sent and without an answer."""


class Hint(NamedTuple):
    """What a reply says about trying again: after how many seconds, whether at all, and whether it was absurd."""

    wait_s: float | None = None
    retry: bool | None = None
    absurd: bool = False


NO_HINT = Hint()


def hint_of(headers: Iterable[Header], now_s: float) -> Hint:
    """Read `retry-after-ms`, `retry-after` (seconds or an HTTP date) and `x-should-retry`; `now_s` is unix time.

    The first that makes sense counts, milliseconds before seconds, as in OpenAI's own client. Negative numbers, NaN,
    infinities, more than a day and what is neither number nor date are absurd: not followed, and told.
    """
    found = {name: value for name, value in headers if name in (b"retry-after-ms", b"retry-after", b"x-should-retry")}
    if not found:
        return NO_HINT
    absurd, wait_s = False, None
    for name, unit_s in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        if wait_s is not None or name not in found:
            continue
        wait_s = _seconds(found[name], unit_s, now_s)
        absurd = absurd or wait_s is None
    said = found.get(b"x-should-retry", b"").strip().lower()
    retry = {b"true": True, b"false": False}.get(said)
    return Hint(wait_s, retry, absurd or (bool(said) and retry is None))


def _seconds(value: bytes, unit_s: float, now_s: float) -> float | None:
    """A hint in seconds, None when it is absurd. A date that is past is a wait of nothing."""
    text = value.decode("latin-1").strip()
    if not text or len(text) > _LONGEST_HINT_CHARS:
        return None
    try:
        wait_s = float(text) * unit_s
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        if unit_s != 1.0:
            return None
        moment = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
        wait_s = max(0.0, moment.timestamp() - now_s)
    return wait_s if math.isfinite(wait_s) and 0 <= wait_s <= SANE_S else None


def kind_of(status: int) -> Kind:
    """What an error status says about whether the call was carried out."""
    if status in SAFE_STATUSES or status == 501 or 400 <= status < 500:
        return "unsent"
    return "failed"


def may_repeat(route: RouteSpec, kind: Kind) -> bool:
    """Whether the route lets a failure of this kind be asked again at all, here or elsewhere."""
    allowed = {"unsent": ("unsent",), "failed": ("unsent", "failed"), "any": ("unsent", "failed", "broken")}
    return kind in allowed[route.repeat]


def wait_before(route: RouteSpec, tried: int, hint: Hint, random: Random) -> float | None:
    """Seconds before the same target is tried again, None when it should not be waited for.

    `tried` counts the retries before this one. The wait doubles from `first_wait_s` up to `longest_wait_s`, less up to
    half by chance, so that callers that failed together do not come back together; it is never shorter than a hint, and
    never nothing, whatever a hint says.
    """
    backoff_s = min(route.longest_wait_s, route.first_wait_s * 2.0 ** min(tried, 30))
    wait_s = backoff_s * (0.5 + random.random() / 2)
    if hint.wait_s is None:
        return wait_s
    if hint.wait_s > route.longest_wait_s:
        return None
    return max(hint.wait_s * (1 + random.random() / 10), wait_s / 10)


class RetryShare:
    """Lets a share of calls be retried over time: each call earns a part of a retry, some are free to begin with.

    Without it every caller's retries come on top of an outage and make it longer (Google, "Site Reliability
    Engineering", chapter 22: per-client retry budgets).
    """

    FREE = 10.0
    MOST = 100.0

    def __init__(self) -> None:
        self._left = self.FREE

    def called(self, share: float) -> None:
        """A call was made."""
        self._left = min(self.MOST, self._left + share)

    def take(self) -> bool:
        """Use one retry, if there is one left."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
