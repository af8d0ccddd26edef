"""A gateway whose route leads over servers that misbehave, and what its spans say of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tests.unit.engines.gateway.misbehaving import (
    Act,
    Misbehaving,
    ending,
    misbehaving,
    reply,
    says,
    streams,
    words,
)
from tests.unit.engines.gateway.stage import Scene, spec, stage
from watchkeeper.engines.gateway.route_spec import RouteSpec, TargetSpec
from watchkeeper.records.span import Span

WELL = says(reply("From the backup.", "beta"))
WELL_STREAM = streams(words("From ", "the backup.", model="beta"), ending("beta"))


@asynccontextmanager
async def two(
    first: tuple[Act, ...] | str,
    second: tuple[Act, ...] = (WELL,),
    *,
    chain: Any = None,
    upstream: Any = None,
    **route: Any,
) -> AsyncIterator[tuple[Scene, Misbehaving | None, Misbehaving]]:
    """A gateway whose route "alpha" leads to `first`, then to `second` under the model "beta"."""
    async with AsyncExitStack() as stack:
        one = None if isinstance(first, str) else await stack.enter_async_context(misbehaving(*first))
        other = await stack.enter_async_context(misbehaving(*second))
        given: dict[str, Any] = {"retries": 0, "first_wait_s": 0.01, **route}
        targets = (TargetSpec(upstream="one"), TargetSpec(upstream="two", model="beta"))
        specs = (
            spec(first if isinstance(first, str) else one.url, name="one", **(upstream or {})),
            spec(other.url, name="two"),
        )
        scene = await stack.enter_async_context(
            stage(more=specs, routes=(RouteSpec(name="alpha", targets=targets, **given),), chain=chain)
        )
        yield scene, one, other


@asynccontextmanager
async def alone(server: Misbehaving, **upstream: Any) -> AsyncIterator[Scene]:
    """A gateway whose route "alpha" leads to one server only, without retries."""
    route = RouteSpec(name="alpha", targets=(TargetSpec(upstream="lone"),), retries=0)
    async with stage(more=(spec(server.url, name="lone", **upstream),), routes=(route,)) as scene:
        yield scene


def rescues(span: Span) -> list[tuple[Any, Any]]:
    return [
        (each.attributes["kind"], each.attributes.get("reason"))
        for each in span.events
        if each.name == "watchkeeper.rescue"
    ]


def attempts(span: Span) -> list[tuple[Any, ...]]:
    kept = [each.attributes for each in span.events if each.name == "watchkeeper.attempt"]
    return [(each["upstream"], each.get("error"), each.get("http_status")) for each in kept]
