"""Plans where a call may go: the targets of its route in the order to ask them, and what all of them may cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from random import Random
from typing import NamedTuple

from watchkeeper.engines.gateway.continuing import INSTRUCTION_TOKENS
from watchkeeper.engines.gateway.rescues import UPSTREAM_HEADER
from watchkeeper.engines.gateway.route_spec import RouteSpec, TargetSpec
from watchkeeper.engines.gateway.routes import Route, Routes
from watchkeeper.engines.gateway.settings import SettingsError, UpstreamSpec
from watchkeeper.engines.gateway.sticky import ordered_by
from watchkeeper.records.event import Bound
from watchkeeper.records.identity import Identity

_PLAIN = RouteSpec(name="-", targets=(TargetSpec(upstream="-"),), retries=0, rescues=0)


def named_upstream(headers: Mapping[bytes, bytes]) -> str | None:
    """The upstream that a caller names in `X-Watchkeeper-Upstream`, None where it names none."""
    named = headers.get(UPSTREAM_HEADER, b"").strip()
    return named.decode("latin-1") if named else None


class Plan(NamedTuple):
    """The targets of a call in order, and the rules of its route; a call without a route has one target and one try."""

    targets: tuple[Route, ...]
    route: RouteSpec = _PLAIN

    @property
    def first(self) -> Route:
        """Where the call goes when all is well."""
        return self.targets[0]

    @property
    def rescuable(self) -> bool:
        """Whether anything can be done when the first attempt fails."""
        return self.route.rescues > 0 and (len(self.targets) > 1 or self.route.retries > 0)

    def bound(self, one: Callable[[Route], Bound | None]) -> Bound | None:
        """The most that the call can use, whichever targets answer; None when that is not known of one of them.

        `one` bounds a single attempt at a target. The dearest target counts, as often as attempts of this call may be
        charged: each of them where the route repeats what may have been charged, one more where a broken stream is
        continued, with what was said before as input and what an instruction to go on takes.
        """
        bounds = [one(target) for target in self.targets]
        known = [bound for bound in bounds if bound is not None]
        if len(known) < len(bounds):
            return None
        dearest = reduce(dearer, known)
        attempts = [dearest] * (1 + (self.route.rescues if self.route.repeat == "any" else 0))
        if self.route.on_broken_stream == "continue" and self.route.rescues:
            attempts = [*attempts[: max(1, len(attempts) - 1)], _continued(dearest)]
        return dearest if len(attempts) == 1 else _total(attempts)


class Routing:
    """The routes in force. Immutable but for the memory of `Routes`; raises `SettingsError` for what cannot be."""

    def __init__(
        self, specs: Iterable[UpstreamSpec], routes: Iterable[RouteSpec], random: Random | None = None
    ) -> None:
        by_name = {spec.name: spec for spec in specs}
        self.routes = Routes(by_name.values())
        self._random = random or Random()
        self._named: dict[str, tuple[RouteSpec, tuple[Route, ...]]] = {}
        for route in routes:
            if route.name in self._named:
                raise SettingsError(f"Two routes are named {route.name!r}. Give each its own name, or join them.")
            self._named[route.name] = route, tuple(_target(route, each, by_name) for each in route.targets)

    def plan(self, model: str, identity: Identity, only: str | None = None) -> Plan:
        """Where calls for a model may go; raises a 404 that lists what is served.

        With `only` it is that upstream and no other, whatever else the route has; it must serve the model itself.
        """
        found = self._named.get(model)
        if only is not None:
            return self._only(model, only, () if found is None else found[1])
        if found is None:
            return Plan((self.routes.find(model),))
        route, targets = found
        if route.strategy == "ordered" or len(targets) == 1:
            return Plan(targets, route)
        key = {"none": None, "session": identity.session, "user": identity.user}[route.sticky]
        if key is not None:
            key = f"{identity.tenant}\x1f{key}"
        names = [f"{target.spec.name}\x1f{target.model}" for target in targets]
        order = ordered_by(names, [each.weight for each in route.targets], key, self._random)
        return Plan(tuple(targets[place] for place in order), route)

    def _only(self, model: str, only: str, targets: tuple[Route, ...]) -> Plan:
        for target in targets:
            if target.spec.name == only:
                return Plan((target,))
        return Plan((self.routes.at(only, model),))

    def declared(self) -> list[tuple[str, str]]:
        """The exact names that clients may ask for, each with the name of the upstream that it leads to first."""
        named = [(name, targets[0].spec.name) for name, (_, targets) in self._named.items()]
        return named + [each for each in self.routes.declared() if each[0] not in self._named]


def _target(route: RouteSpec, target: TargetSpec, specs: dict[str, UpstreamSpec]) -> Route:
    spec = specs.get(target.upstream)
    if spec is None:
        known = ", ".join(specs) or "none"
        raise SettingsError(
            f"The route {route.name!r} leads to the upstream {target.upstream!r}, which is not one. There are: {known}."
        )
    model = target.model or route.name
    return Route(spec, spec.aliases.get(model, model))


def dearer(one: Bound, other: Bound) -> Bound:
    """What covers either of two bounds; without a price where one of them has none."""
    priced = one.nano_usd is not None and other.nano_usd is not None
    dearest = max(one, other, key=lambda bound: bound.nano_usd or 0)
    return Bound(
        input_tokens=max(one.input_tokens, other.input_tokens),
        output_tokens=max(one.output_tokens, other.output_tokens),
        nano_usd=dearest.nano_usd if priced else None,
        price_source=dearest.price_source if priced else None,
        stated=one.stated and other.stated,
        input_nano_usd=_most(one.input_nano_usd, other.input_nano_usd),
        wall_ms=_most(one.wall_ms, other.wall_ms),
    )


def _most(one: int | None, other: int | None) -> int | None:
    """The larger of two amounts, None where one of them is not known."""
    return None if one is None or other is None else max(one, other)


def _continued(bound: Bound) -> Bound:
    """The bound of an attempt that also reads what another said before it and an instruction to go on.

    Output costs no less than input, and an input bound is never smaller than the instruction: so at most twice as much.
    """
    return Bound(
        input_tokens=bound.input_tokens + bound.output_tokens + INSTRUCTION_TOKENS,
        output_tokens=bound.output_tokens,
        nano_usd=None if bound.nano_usd is None else 2 * bound.nano_usd,
        price_source=bound.price_source,
        stated=bound.stated,
        wall_ms=bound.wall_ms,
    )


def _total(bounds: list[Bound]) -> Bound:
    prices = [bound.nano_usd for bound in bounds if bound.nano_usd is not None]
    walls = [bound.wall_ms for bound in bounds]
    return Bound(
        input_tokens=sum(bound.input_tokens for bound in bounds),
        output_tokens=sum(bound.output_tokens for bound in bounds),
        nano_usd=sum(prices) if len(prices) == len(bounds) else None,
        price_source=bounds[0].price_source,
        stated=all(bound.stated for bound in bounds),
        wall_ms=None if None in walls else sum(wall for wall in walls if wall is not None),
    )
