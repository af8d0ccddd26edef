"""Watches what a streamed reply comes to while it passes, and says when it has used more than was reserved for it.

A provider counts tokens and tells them at the end; until then only text passes. So two counts are kept. `surely` is a
number of tokens that the text cannot be less than, in practice: one token in `SPARSE_BYTES` bytes of text, or one in
each chunk where chunks hold at least two bytes on average. A stream is cut on it, so that one whose provider keeps to
its limit is never cut. `counted` is what a stream that was cut is charged with, at least one token for each chunk and
for each `BYTES_PER_TOKEN` bytes.

Limits: reasoning that is not streamed is not seen, and a provider may go on writing, and charging, after its
connection was closed. Text of more than `SPARSE_BYTES` bytes a token, in large chunks, passes its limit by that much.
"""

from __future__ import annotations

import math
from typing import Protocol

from watchkeeper.engines.gateway.errors import UpstreamFailure
from watchkeeper.kinds.facts import Allowance
from watchkeeper.records.event import Bound
from watchkeeper.records.span import Usage

SPARSE_BYTES = 16
BYTES_PER_TOKEN = 4
CUT = "reservation_spent"


class Written(Protocol):
    """What has come of a stream so far."""

    output_chunks: int
    output_bytes: int


class Spending:
    """One stream against what was reserved for it: `output_tokens` of output, `wall_ms` of time, None for no limit."""

    @classmethod
    def of(cls, bound: Bound, allowed: Allowance) -> Spending | None:
        """The watch over a call; None where nothing was reserved for it."""
        return None if allowed == (None, None) else cls(bound, *allowed)

    def __init__(self, bound: Bound, output_tokens: int | None, wall_ms: int | None = None) -> None:
        self._bound, self._output_tokens, self._wall_ms = bound, output_tokens, wall_ms
        self.usage: Usage | None = None

    def check(self, written: Written, elapsed_ns: int) -> None:
        """Raise an `UpstreamFailure` that ends the stream once it has passed what was reserved."""
        if self._output_tokens is not None and surely(written) > self._output_tokens:
            self.usage = Usage(input_tokens=self._bound.input_tokens, output_tokens=counted(written))
            raise UpstreamFailure(
                502,
                CUT,
                f"This stream was cut: {self._output_tokens:,} output tokens were reserved for it under the budgets of "
                f"its caller, and the upstream has written more than that. It is charged with {counted(written):,}. "
                "Ask again with a max_tokens that is large enough, or have the cap raised.",
                sent=True,
            )
        if self._wall_ms is not None and elapsed_ns > self._wall_ms * 1_000_000:
            self.usage = Usage(input_tokens=self._bound.input_tokens, output_tokens=counted(written))
            raise UpstreamFailure(
                502,
                CUT,
                f"This stream was cut: {self._wall_ms / 1000:,g} seconds were reserved for it under the budgets of its "
                "caller, and they have passed. Ask for less, or have the cap raised.",
                sent=True,
            )


def surely(written: Written) -> int:
    """Tokens that a stream has come to at least."""
    chunks, size = written.output_chunks, written.output_bytes
    return max(size // SPARSE_BYTES, chunks if size >= 2 * chunks else 0)


def counted(written: Written) -> int:
    """Tokens that a stream is charged with when nobody tells its use."""
    return max(written.output_chunks, math.ceil(written.output_bytes / BYTES_PER_TOKEN))
