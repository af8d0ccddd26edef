"""Checks what the settings say about routes: that each leads somewhere, and that no name is given twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from watchkeeper.engines.gateway.route_spec import RouteSpec


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """The name."""
        ...


def route_problem(routes: Sequence[RouteSpec], upstreams: Sequence[Named]) -> str | None:
    """What cannot work about the routes, as key and sentence; None when all is well."""
    known = {upstream.name for upstream in upstreams}
    seen: set[str] = set()
    for number, route in enumerate(routes):
        place = f"`routes[{number}]"
        if route.name in seen:
            return f"{place}.name` is {route.name!r} twice; give each route a name of its own."
        seen.add(route.name)
        for at, target in enumerate(route.targets):
            if target.upstream not in known:
                there_are = ", ".join(sorted(known)) or "none"
                return (
                    f"{place}.targets[{at}].upstream` is {target.upstream!r}, which no [[upstreams]] is called; there "
                    f"are: {there_are}."
                )
        if route.strategy == "weighted" and not any(target.weight for target in route.targets):
            return f"{place}.targets` all have the weight 0; give at least one of them a weight above 0."
    return None
