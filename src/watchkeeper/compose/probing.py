"""Builds the prober of a house: the probes in the settings, asked through the house's own gateway."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchkeeper.adapters.models.posting import Posting
from watchkeeper.compose.asking import provider_of
from watchkeeper.compose.upstreams import specs_of
from watchkeeper.config import Config, ConfigError
from watchkeeper.config import Probe as Settings
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.routing import Routing
from watchkeeper.engines.monitoring.probes import AGENT, Probe, Prober
from watchkeeper.engines.monitoring.signals import Aim
from watchkeeper.engines.recorder.home import Home
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record


def prober_of(config: Config, home: Home, record: Callable[[Record], object], clock_ns: Callable[[], int]) -> Prober:
    """The prober; raises `ConfigError` for a probe that cannot be asked."""
    probes = tuple(_probe(each, config, number) for number, each in enumerate(config.probes))
    known: dict[str, Posting] = {}

    def ask(upstream: str | None = None) -> Posting | None:
        """A provider that leads to the gateway that holds the data directory now, and through it to an upstream."""
        holder = home.holder()
        if holder is None or holder.address is None:
            return None
        place = f"{holder.token} {upstream or ''}"
        if place not in known:
            host, _, port = holder.address.rpartition(":")
            host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
            headers = {"X-Watchkeeper-Key": holder.token, "X-Watchkeeper-Agent": AGENT}
            if upstream is not None:
                headers["X-Watchkeeper-Upstream"] = upstream
            for old in [each for each in known if not each.startswith(f"{holder.token} ")]:
                del known[old]
            known[place] = provider_of("openai", f"http://{host}:{port}/v1", None, headers=headers)
        return known[place]

    return Prober(probes, ask, record, clock_ns)


def _probe(settings: Settings, config: Config, number: int) -> Probe:
    place = f"{config.file or 'settings'}: `probes[{number}]"
    if (settings.prompt is None) == (settings.messages is None):
        raise ConfigError(f"{place}` needs either `prompt` (one question) or `messages` (a JSON file), and not both.")
    if [each.name for each in config.probes].count(settings.name) > 1:
        raise ConfigError(f"{place}.name` is {settings.name!r} twice; give each probe a name of its own.")
    names = [upstream.name for upstream in config.upstreams]
    if settings.upstream is not None and settings.upstream not in names:
        raise ConfigError(
            f"{place}.upstream` is {settings.upstream!r}, which no [[upstreams]] is called; there are: "
            f"{', '.join(names) or 'none'}."
        )
    return Probe(
        name=settings.name,
        model=settings.model,
        messages=json.dumps(_messages(settings, config, place)),
        parameters=settings.parameters,
        samples=settings.samples,
        every_s=settings.every_s,
        upstream=settings.upstream,
    )


def _messages(settings: Settings, config: Config, place: str) -> Any:
    if settings.messages is None:
        return [{"role": "user", "content": settings.prompt}]
    path = Path(settings.messages)
    if config.file is not None:
        path = Path(config.file).parent / path
    try:
        messages = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{place}.messages` cannot be read from {path}: {error}. Name a JSON file.") from error
    if not isinstance(messages, list) or not all(isinstance(each, dict) and "role" in each for each in messages):
        raise ConfigError(f"{place}.messages`: {path} holds no list of messages, each with a role and content.")
    return messages


def aims_of(config: Config) -> dict[str, Aim]:
    """The probes that may steer, each with the upstream and model that it asks; raises `ConfigError` where unclear."""
    routing = Routing(specs_of(config), config.routes)
    aims = {}
    for number, probe in enumerate(config.probes):
        if not probe.steer:
            continue
        try:
            plan = routing.plan(probe.model, Identity(), probe.upstream)
        except Refusal as refusal:
            raise ConfigError(f"{config.file or 'settings'}: `probes[{number}].model`: {refusal.sentence}") from refusal
        if len({target.spec.name for target in plan.targets}) > 1:
            raise ConfigError(
                f"{config.file or 'settings'}: `probes[{number}].steer` needs `upstream`: the route {probe.model!r} "
                "leads to several, and it must be known which of them a change is of."
            )
        aims[probe.name] = Aim(plan.first.spec.name, plan.first.model)
    return aims
