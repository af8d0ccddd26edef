"""Which upstream answers which model: exact names and aliases first, then globs in the order of the settings."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import NamedTuple

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.settings import UpstreamSpec

_REMEMBERED = 4096
_LISTED = 30


class Route(NamedTuple):
    """Where a call goes: the upstream and the model to ask it for (the alias's target, or the name as it came)."""

    spec: UpstreamSpec
    model: str


class Routes:
    """Finds the upstream of a model. Immutable after construction but for a bounded memory of past answers."""

    def __init__(self, specs: Iterable[UpstreamSpec]) -> None:
        self._specs = tuple(specs)
        self._exact: dict[str, Route] = {}
        self._globs: list[tuple[re.Pattern[str], UpstreamSpec]] = []
        self._found: dict[str, Route] = {}
        for spec in self._specs:
            for alias, model in spec.aliases.items():
                self._exact.setdefault(alias, Route(spec, model))
            for model in spec.models:
                if _is_glob(model):
                    self._globs.append((re.compile(fnmatch.translate(model)), spec))
                else:
                    self._exact.setdefault(model, Route(spec, model))

    def find(self, model: str) -> Route:
        """The route of a model; raises a 404 that lists what is served."""
        known = self._exact.get(model) or self._found.get(model)
        if known is not None:
            return known
        for pattern, spec in self._globs:
            if pattern.match(model):
                route = Route(spec, model)
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                self._found[model] = route
                return route
        raise Refusal(
            404,
            "model_not_found",
            f"No upstream serves the model {model[:200]!r}. Served here: {self.listing()}.",
            kind="not_found",
            param="model",
        )

    def at(self, upstream: str, model: str) -> Route:
        """The route of a model at one upstream; raises a 404 when there is none, or it does not serve the model."""
        spec = self.fallback(upstream)
        if model in spec.aliases:
            return Route(spec, spec.aliases[model])
        if any(fnmatch.fnmatchcase(model, pattern) for pattern in spec.models):
            return Route(spec, model)
        raise Refusal(
            404,
            "model_not_found",
            f"The upstream {upstream[:64]!r} does not serve the model {model[:200]!r}. Leave the header "
            "X-Watchkeeper-Upstream out, or name one that does.",
            kind="not_found",
            param="model",
        )

    def fallback(self, name: str | None) -> UpstreamSpec:
        """The upstream for a request that names no model: the one named, the only one, or the default."""
        if name is not None:
            for spec in self._specs:
                if spec.name == name:
                    return spec
            known = ", ".join(spec.name for spec in self._specs)
            raise Refusal(
                404,
                "upstream_not_found",
                f"No upstream is named {name[:200]!r}. There are: {known}.",
                kind="not_found",
            )
        if not self._specs:
            raise Refusal(
                404,
                "no_upstream",
                "No upstream is configured, so no model can be asked. Add an [[upstreams]] table to watchkeeper.toml.",
                kind="not_found",
            )
        marked = [spec for spec in self._specs if spec.default]
        if len(self._specs) == 1 or marked:
            return marked[0] if marked else self._specs[0]
        known = ", ".join(spec.name for spec in self._specs)
        raise Refusal(
            400,
            "upstream_unclear",
            f"The request names no model and there are several upstreams ({known}). "
            "Name one in the header X-Watchkeeper-Upstream, or mark one with default = true.",
        )

    def declared(self) -> list[tuple[str, str]]:
        """The exact names and aliases that clients may ask for, each with its upstream's name."""
        return [(name, route.spec.name) for name, route in self._exact.items()]

    def listing(self) -> str:
        """What is served, in words, for an error."""
        names = [name for name, _ in self.declared()]
        names += [model for spec in self._specs for model in spec.models if _is_glob(model)]
        shown = ", ".join(names[:_LISTED])
        if not names:
            return "nothing, for no upstream is configured; add an [[upstreams]] table to watchkeeper.toml"
        return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _is_glob(model: str) -> bool:
    return any(sign in model for sign in "*?[")
