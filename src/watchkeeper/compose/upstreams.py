"""Turns the upstreams in the settings into what the gateway engine takes."""

from __future__ import annotations

from watchkeeper.config import Config
from watchkeeper.engines.gateway.settings import UpstreamSpec


def specs_of(config: Config) -> tuple[UpstreamSpec, ...]:
    """The upstreams, in the order of the settings."""
    return tuple(
        UpstreamSpec(
            name=each.name,
            base_url=each.base_url,
            credential=each.credential,
            models=each.models,
            aliases=each.aliases,
            provider=each.provider,
            kind=each.kind,
            api_version=each.api_version,
            timeout_s=each.timeout_s,
            connect_timeout_s=each.connect_timeout_s,
            max_output_tokens=each.max_output_tokens,
            max_input_tokens=each.max_input_tokens,
            recording=each.recording,
            ask_usage=each.ask_usage,
            default=each.default,
            idle_timeout_s=each.idle_timeout_s,
            limits=each.limits,
            breaker=each.breaker,
        )
        for each in config.upstreams
    )
