"""What the owner of a gateway says about it: its upstreams, their credentials and models, and its limits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from watchkeeper.engines.gateway.route_spec import BREAKER, NO_LIMITS, BreakerSpec, LimitSpec, RouteSpec
from watchkeeper.records.record import Record

DEFAULT_MAX_BODY_BYTES = 64 << 20
_VERSION = re.compile(r"[A-Za-z0-9.-]{1,64}\Z")
_ENV_RULE = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)\Z")


Transport = Literal["native", "libraries"]
"""Which HTTP layer carries calls to upstreams: our own on httptools, or aiohttp."""


class SettingsError(ValueError):
    """A setting that cannot work; the message names the upstream, the key, the value and the fix."""


class UpstreamSpec(Record):
    """One endpoint of a provider.

    `kind` says how it is addressed. "openai": `base_url` ends where an OpenAI client's does (usually in `/v1`) and the
    key is a bearer token. "anthropic": the same, but the key goes in `x-api-key`. "azure": `base_url` is the resource
    (`https://NAME.openai.azure.com`), the models are its deployments, `api_version` is its version (or "v1"), and
    the key goes in `api-key`.

    `credential` is the owner's rule, never guessed: "env:NAME" sends the value of that variable as the key, "client"
    passes on the caller's own credential, "none" sends none. `models` are names or globs in the order they are tried;
    `aliases` maps a name that clients use to the model that is asked. `provider` names the price table's provider.
    `max_output_tokens` is the most that its models can write when the request does not say; without it such a call
    cannot be bounded. `max_input_tokens` is the most that they can read at once, which bounds requests whose input lies
    with the provider. `timeout_s` is for the whole reply, `connect_timeout_s` for the connection, `idle_timeout_s` for
    the longest silence within a stream. `limits` and `breaker` say how much the upstream is asked and when it is
    avoided. With `recording` "required" a call is refused when it cannot be recorded. `ask_usage` asks for token usage
    in streams whose client did not, and takes the extra chunk out of the client's stream. `default` marks the upstream
    for requests that name no model.
    """

    name: str
    base_url: str
    credential: str
    models: tuple[str, ...] = ("*",)
    aliases: dict[str, str] = {}
    provider: str | None = None
    kind: Literal["openai", "anthropic", "azure"] = "openai"
    api_version: str | None = None
    timeout_s: float = 600.0
    connect_timeout_s: float = 10.0
    max_output_tokens: int | None = None
    max_input_tokens: int | None = None
    recording: Literal["available", "required"] = "available"
    ask_usage: bool = False
    default: bool = False
    idle_timeout_s: float | None = 300.0
    limits: LimitSpec = NO_LIMITS
    breaker: BreakerSpec = BREAKER


class Settings(Record):
    """A gateway's settings. `policies` names the configured policy chain (a digest) for the manifests of calls.

    `max_body_bytes` limits a request (after its content coding is undone) and how much of a reply is recorded.
    `hosts` are the values of the Host header that are answered; empty means any. `drain_s` is how long `close` waits.
    `transport` is the HTTP layer towards upstreams.
    """

    upstreams: tuple[UpstreamSpec, ...]
    routes: tuple[RouteSpec, ...] = ()
    require_keys: bool = False
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    policies: str = "none"
    hosts: tuple[str, ...] = ()
    drain_s: float = 20.0
    transport: Transport = "native"


class Credential(Record):
    """An upstream's credential rule, resolved: its kind and, for "env", the token and the variable it came from."""

    rule: Literal["env", "client", "none"]
    token: str | None = None
    variable: str | None = None


def check(settings: Settings) -> None:
    """Raise `SettingsError` for what cannot work: duplicate names or aliases, a bad URL, an unknown credential rule."""
    names: set[str] = set()
    aliases: dict[str, str] = {}
    for spec in settings.upstreams:
        if spec.name in names:
            raise SettingsError(f"Two upstreams are named {spec.name!r}. Give each its own name.")
        names.add(spec.name)
        if not spec.base_url.startswith(("http://", "https://")):
            raise SettingsError(
                f"upstreams.{spec.name}.base_url is {spec.base_url!r}, expected an http:// or https:// address "
                "such as https://api.openai.com/v1."
            )
        if (spec.kind == "azure") != (spec.api_version is not None):
            raise SettingsError(
                f'upstreams.{spec.name}.api_version is {spec.api_version!r} and its kind is "{spec.kind}". An upstream '
                'of kind "azure" needs its API version (such as "2024-10-21", or "v1"), and no other kind has one.'
            )
        if spec.api_version is not None and not _VERSION.match(spec.api_version):
            raise SettingsError(
                f"upstreams.{spec.name}.api_version is {spec.api_version!r}, expected a version such as 2024-10-21, "
                "2025-04-01-preview or v1."
            )
        for alias in spec.aliases:
            if alias in aliases:
                raise SettingsError(
                    f"The alias {alias!r} is given by the upstreams {aliases[alias]!r} and {spec.name!r}. Keep one."
                )
            aliases[alias] = spec.name
        resolve_credential(spec, {})


def resolve_credential(spec: UpstreamSpec, environment: Mapping[str, str]) -> Credential:
    """Read an upstream's credential rule; an "env" rule whose variable is unset or empty has no token."""
    if spec.credential in ("client", "none"):
        return Credential(rule="client" if spec.credential == "client" else "none")
    match = _ENV_RULE.match(spec.credential)
    if match is None:
        raise SettingsError(
            f'upstreams.{spec.name}.credential is not a rule that is known. Write "env:NAME" (the variable that holds '
            'the token), "client" (pass on the caller\'s own) or "none".'
        )
    variable = match.group(1)
    return Credential(rule="env", token=environment.get(variable) or None, variable=variable)
