"""What the owner says about routes (targets, order, what may be tried again) and of upstreams' breakers and limits."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

SAFE_STATUSES = (408, 409, 425, 429, 503, 529)
"""Statuses with which an upstream says that it did no work for the call, or that it may be sent again."""

FAILED_STATUSES = (500, 502, 504)
"""Statuses with which an upstream says that it failed; providers do not charge for such a reply."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class TargetSpec(_Settings, frozen=True):
    """One place where a route's calls may go. Tables `[[routes.targets]]`."""

    upstream: Annotated[str, Meta(min_length=1, description="The name of one of the `[[upstreams]]`.")]
    model: Annotated[str | None, Meta(description="The model to ask it for; the name of the route when not given.")] = (
        None
    )
    weight: Annotated[
        float, Meta(ge=0, description="Its share of the calls of a weighted route; 0 takes calls only as a fallback.")
    ] = 1.0


class RouteSpec(_Settings, frozen=True):
    """A name that callers may ask for, with the upstreams that may answer and what is done when one fails.

    Tables `[[routes]]`. A name without a route goes to the first upstream that serves it and is tried once.
    """

    name: Annotated[str, Meta(min_length=1, max_length=200, description="The model name that callers use.")]
    targets: Annotated[tuple[TargetSpec, ...], Meta(min_length=1, max_length=32, description="Where its calls may go.")]
    strategy: Annotated[
        Literal["ordered", "weighted"],
        Meta(description="`ordered`: the first target that is well; `weighted`: by weight, the others as fallbacks."),
    ] = "ordered"
    sticky: Annotated[
        Literal["none", "session", "user"],
        Meta(
            description="Keep the calls of one session or user at one target of a weighted route, so that its prompt "
            "cache stays warm. When a target leaves, only its own move."
        ),
    ] = "none"
    retries: Annotated[int, Meta(ge=0, le=10, description="How often one target is tried again before the next.")] = 1
    retry_statuses: Annotated[
        tuple[Annotated[int, Meta(ge=400, le=599)], ...],
        Meta(
            description="Statuses after which the same target is tried again. The provider's `x-should-retry` goes "
            "before."
        ),
    ] = (*SAFE_STATUSES, *FAILED_STATUSES)
    fallback_statuses: Annotated[
        tuple[Annotated[int, Meta(ge=400, le=599)], ...],
        Meta(description="Statuses after which the next target is asked."),
    ] = (401, 403, 404, *SAFE_STATUSES, *FAILED_STATUSES)
    repeat: Annotated[
        Literal["unsent", "failed", "any"],
        Meta(
            description="What may be asked again. `unsent`: what certainly was not carried out (no connection, 429, "
            "503). `failed`: also what the upstream answered with an error. `any`: also silence and broken replies, "
            "which may be charged twice; the reservation then covers every attempt."
        ),
    ] = "failed"
    on_broken_stream: Annotated[
        Literal["error", "continue"],
        Meta(
            description="A stream that breaks after its first token ends with an error event, or is continued by "
            "another target (plain text only), marked in the stream and in the record."
        ),
    ] = "error"
    rescues: Annotated[int, Meta(ge=0, le=20, description="The most retries and fallbacks of one call together.")] = 4
    retry_share: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The share of calls that may be retried over time, so that an outage is not made worse; ten "
            "are always free. Fallbacks do not count.",
        ),
    ] = 0.2
    deadline_s: Annotated[
        float | None,
        Meta(description="The longest time until the first token, all attempts and waits together, in seconds."),
    ] = None
    attempt_s: Annotated[
        float | None, Meta(description="The longest time of one attempt until its first token, in seconds.")
    ] = None
    first_wait_s: Annotated[
        float, Meta(gt=0, le=60, description="The wait before the first retry; it doubles, less up to half by chance.")
    ] = 0.5
    longest_wait_s: Annotated[
        float,
        Meta(
            gt=0,
            le=600,
            description="The longest wait before a retry. A provider that asks for more is not waited for; the next "
            "target is asked.",
        ),
    ] = 20.0


class BreakerSpec(_Settings, frozen=True):
    """When an upstream is avoided for a while, model by model. Table `breaker` of an upstream.

    An open breaker steers calls to other targets of their route. Where there is no other, the call is tried all the
    same unless `when_alone` says otherwise.
    """

    failures: Annotated[int, Meta(ge=1, description="Failures in a row that open it.")] = 5
    share: Annotated[
        float, Meta(gt=0, le=1, description="The share of failures in the window that opens it as well.")
    ] = 0.5
    min_calls: Annotated[int, Meta(ge=1, description="The fewest calls in the window for which the share counts.")] = 20
    window_s: Annotated[float, Meta(gt=0, description="The window of the share, in seconds.")] = 60.0
    open_s: Annotated[
        float, Meta(gt=0, description="How long it stays open before one call may try; it doubles with each failure.")
    ] = 5.0
    longest_open_s: Annotated[float, Meta(gt=0, description="The most that it doubles to.")] = 300.0
    successes: Annotated[int, Meta(ge=1, description="Trial calls in a row that must be well to close it.")] = 2
    when_alone: Annotated[
        Literal["try", "refuse"],
        Meta(description="What is done with a call that has no other target: try it, or answer 503 at once."),
    ] = "try"


class LimitSpec(_Settings, frozen=True):
    """How much an upstream is asked at once and in a minute, per gateway process. Table `limits` of an upstream."""

    max_concurrency: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="The most calls in flight; no limit when not given.")
    ] = None
    requests_per_minute: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="The most calls begun in a minute.")
    ] = None
    tokens_per_minute: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="The most tokens in a minute; guessed from the request, corrected by the reported use."),
    ] = None
    queue: Annotated[int, Meta(ge=0, le=100_000, description="The most calls that wait for their turn.")] = 100
    queue_s: Annotated[float, Meta(ge=0, description="The longest wait for a turn, in seconds.")] = 10.0

    @property
    def limited(self) -> bool:
        """Whether anything is limited."""
        return any(
            each is not None for each in (self.max_concurrency, self.requests_per_minute, self.tokens_per_minute)
        )


NO_LIMITS = LimitSpec()
BREAKER = BreakerSpec()
