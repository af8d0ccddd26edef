"""Counts the rescues of a call: what was tried again, elsewhere or otherwise, so that success has its price beside it.

A system that retries and falls back shows a high success rate while each success takes several attempts. Every silent
compensation is therefore an event of a closed set of kinds, on the span, in a header for the caller and in a metric.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from enum import StrEnum

from watchkeeper.engines.gateway.errors import Header
from watchkeeper.records.record import Scalar

EVENT = "watchkeeper.rescue"
ATTEMPT = "watchkeeper.attempt"
COUNT = "watchkeeper.rescues"
HEADER = b"x-watchkeeper-rescues"
UPSTREAM_HEADER = b"x-watchkeeper-upstream"
_UNSAFE = re.compile(r"[^A-Za-z0-9._/:@-]")
_CLIENT_RETRY = b"x-stainless-retry-count"


class Rescue(StrEnum):
    """What was done so that a call should succeed after all.

    `client_retry` is a retry of the caller's own client, which it tells in `x-stainless-retry-count`.
    """

    RETRY = "retry"
    FALLBACK = "fallback"
    CONTINUED = "continued"
    REPAIR = "repair"
    DEFAULT = "default"
    CLIENT_RETRY = "client_retry"


Note = Callable[[str, Mapping[str, Scalar]], None]


class Rescues:
    """The rescues of one call, in order. `note` puts an event on the span; `attributes` are the span's own."""

    def __init__(self, note: Note, attributes: dict[str, Scalar]) -> None:
        self._note, self._attributes = note, attributes
        self.counts: Counter[str] = Counter()
        self._told: dict[str, dict[str, str]] = {}

    def add(self, kind: Rescue, **details: Scalar) -> None:
        """One rescue; `to` and `reason` are told to the caller too."""
        self.counts[kind.value] += 1
        told = {name: str(details[name]) for name in ("to", "reason") if details.get(name) is not None}
        self._told[kind.value] = told
        known = {name: value for name, value in details.items() if value is not None}
        self._note(EVENT, {"kind": kind.value, **known})
        self._attributes[COUNT] = self.counts.total()
        self._attributes[f"{COUNT}.{kind.value}"] = self.counts[kind.value]

    def headers(self) -> list[Header]:
        """For the caller: `x-watchkeeper-rescues: retry;n=2, fallback;n=1;to=backup`; none without a rescue."""
        if not self.counts:
            return []
        parts = []
        for kind, count in self.counts.items():
            told = "".join(f";{name}={_UNSAFE.sub('_', value)[:64]}" for name, value in self._told[kind].items())
            parts.append(f"{kind};n={count}{told}")
        return [(HEADER, ", ".join(parts).encode("ascii"))]


def client_retries(headers: Mapping[bytes, bytes]) -> int:
    """How often the caller's client has tried this call before, as it says itself; 0 when it does not."""
    said = headers.get(_CLIENT_RETRY, b"")
    return min(100, int(said)) if said.isdigit() and len(said) < 4 else 0
