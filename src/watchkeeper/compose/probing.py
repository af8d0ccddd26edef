"""Builds the prober of a house: the probes in the settings, asked through the house's own gateway."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchkeeper.adapters.models.openai_http import OpenAIHttp
from watchkeeper.config import Config, ConfigError
from watchkeeper.config import Probe as Settings
from watchkeeper.engines.monitoring.probes import AGENT, Probe, Prober
from watchkeeper.engines.recorder.home import Home
from watchkeeper.records.record import Record


def prober_of(config: Config, home: Home, record: Callable[[Record], object], clock_ns: Callable[[], int]) -> Prober:
    """The prober; raises `ConfigError` for a probe that cannot be asked."""
    probes = tuple(_probe(each, config, number) for number, each in enumerate(config.probes))
    known: dict[str, OpenAIHttp] = {}

    def ask() -> OpenAIHttp | None:
        """A provider that leads to the gateway that holds the data directory now."""
        holder = home.holder()
        if holder is None or holder.address is None:
            return None
        if holder.token not in known:
            host, _, port = holder.address.rpartition(":")
            host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
            headers = {"X-Watchkeeper-Key": holder.token, "X-Watchkeeper-Agent": AGENT}
            known.clear()
            known[holder.token] = OpenAIHttp(f"http://{host}:{port}/v1", headers=headers)
        return known[holder.token]

    return Prober(probes, ask, record, clock_ns)


def _probe(settings: Settings, config: Config, number: int) -> Probe:
    place = f"{config.file or 'settings'}: `probes[{number}]"
    if (settings.prompt is None) == (settings.messages is None):
        raise ConfigError(f"{place}` needs either `prompt` (one question) or `messages` (a JSON file), and not both.")
    if [each.name for each in config.probes].count(settings.name) > 1:
        raise ConfigError(f"{place}.name` is {settings.name!r} twice; give each probe a name of its own.")
    return Probe(
        name=settings.name,
        model=settings.model,
        messages=json.dumps(_messages(settings, config, place)),
        parameters=settings.parameters,
        samples=settings.samples,
        every_s=settings.every_s,
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
