"""The settings of a house: read from watchkeeper.toml, the environment and flags, with errors that name the fix."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

FILE_NAME = "watchkeeper.toml"


class ConfigError(ValueError):
    """A setting that cannot be used; the message names file, key, value and what to write instead."""


class _Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


EMBEDDED = "embedded"


class Server(_Settings, frozen=True):
    """Where the server listens and keeps its data. Table `[server]`."""

    listen: Annotated[str, Meta(description="Address and port, `host:port`. Beyond loopback a key is needed.")] = (
        "127.0.0.1:8787"
    )
    data: Annotated[str, Meta(description="The data directory.")] = ".watchkeeper"
    require_keys: Annotated[bool, Meta(description="Ask for a key on loopback too.")] = False
    hosts: Annotated[
        tuple[str, ...], Meta(description="Host names, besides loopback's, under which this server may be addressed.")
    ] = ()
    max_body_mb: Annotated[int, Meta(ge=1, le=1024, description="The largest body taken, in MiB.")] = 64
    cells: Annotated[
        str,
        Meta(
            pattern=r"^(embedded|env:\w+)$",
            description="Where budgets, keys and cursors are kept: `embedded` (a file in the data directory), or "
            "`env:NAME`, the variable that holds a PostgreSQL address, so that several servers share one ledger.",
        ),
    ] = EMBEDDED
    otlp_grpc: Annotated[
        str | None,
        Meta(
            pattern=r"^\S+:\d{1,5}$",
            description="Where to take OTLP over gRPC as well, usually `127.0.0.1:4317`. Needs the extra `grpc`. Beyond "
            "loopback a key is needed.",
        ),
    ] = None
    durable_ingest: Annotated[
        bool, Meta(description="Answer OTLP only when the disk has it (survives a power cut), not only the kernel.")
    ] = False

    @property
    def host(self) -> str:
        """The host part of `listen`."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port part of `listen`."""
        return int(self.listen.rpartition(":")[2])

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


class Upstream(_Settings, frozen=True):
    """A model provider behind the gateway. Tables `[[upstreams]]`; the first whose models match serves a call."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="Its name in records, metrics and headers.")]
    base_url: Annotated[str, Meta(description="Its OpenAI-compatible base URL, usually ending in /v1.")]
    credential: Annotated[
        str,
        Meta(
            description="Which credential is sent on: `env:NAME` (read from the environment), `client` (the caller's "
            "own Authorization) or `none`. There is no default and no fallback: the owner decides."
        ),
    ]
    models: Annotated[
        tuple[str, ...], Meta(description="Model names it serves; `*` and `?` match as in file names.")
    ] = ("*",)
    aliases: Annotated[
        dict[str, str], Meta(description="Names that callers may use, each with the model it stands for.")
    ] = {}
    provider: Annotated[
        str | None, Meta(description="Whose prices apply (`openai`, `anthropic`, ...); the name itself when not given.")
    ] = None
    connect_timeout_s: Annotated[float, Meta(gt=0, description="Longest wait for a connection, in seconds.")] = 10.0
    timeout_s: Annotated[float, Meta(gt=0, description="Longest silence of the upstream, in seconds.")] = 600.0
    default: Annotated[bool, Meta(description="Whether it takes requests that name no model.")] = False
    max_output_tokens: Annotated[
        int,
        Meta(ge=1, description="The most it writes when a call states no limit; used to reserve money before a call."),
    ] = 4096
    recording: Annotated[
        Literal["available", "required"],
        Meta(description="`required`: refuse calls that cannot be recorded; `available`: pass them and count."),
    ] = "available"
    ask_usage: Annotated[
        bool,
        Meta(description="Ask the upstream for usage in streams that did not ask for it, and keep it from the caller."),
    ] = False


class Capability(_Settings, frozen=True):
    """One use of a policy or monitor. Tables `[[policies]]` and `[[monitors]]`; policies run in the order written."""

    use: Annotated[str, Meta(description="The capability's id, e.g. `budget`.")]
    name: Annotated[
        str | None, Meta(description="The name of this use, in records and metrics; the id when not given.")
    ] = None
    mode: Annotated[
        Literal["shadow", "enforce"],
        Meta(description="`shadow` only records what it would rule; `enforce` acts (policies)."),
    ] = "enforce"
    owner: Annotated[str | None, Meta(description="Who answers for it.")] = None
    parameters: Annotated[
        dict[str, Any],
        Meta(
            description="The capability's own parameters; its page in the reference lists them. A monitor takes "
            "`every_s` as well: how often it looks, in seconds."
        ),
    ] = msgspec.field(name="with", default_factory=dict)


class Price(_Settings, frozen=True):
    """A price of your own. Tables `[[prices]]`; the first whose model matches wins over the built-in table."""

    model: Annotated[str, Meta(description="The model name; `*` and `?` match as in file names.")]
    input_usd_per_million: Annotated[float, Meta(ge=0, description="US dollars per million input tokens.")]
    output_usd_per_million: Annotated[float, Meta(ge=0, description="US dollars per million output tokens.")]
    cached_usd_per_million: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="US dollars per million input tokens read from cache; the input price when not given."),
    ] = None
    source: Annotated[str, Meta(description="Where the price comes from; kept with every cost.")] = "watchkeeper.toml"


class Notifier(_Settings, frozen=True):
    """Who is told of incidents, and how. Tables `[[notifiers]]`; each is told when one opens or becomes worse.

    A notice that cannot be delivered is tried again and then counted in the drop ledger, with its host and never its
    URL. Every value that may hold a secret can be written `env:NAME`, and is then read from the environment.
    """

    use: Annotated[
        Literal["webhook", "log"],
        Meta(description="`webhook` posts JSON to `url`; `log` writes a line to the server's own log."),
    ]
    name: Annotated[str | None, Meta(description="Its name in messages; what it uses when not given.")] = None
    url: Annotated[
        str | None,
        Meta(description="Where a webhook posts to: an http or https URL, or `env:NAME` of a variable that holds it."),
    ] = None
    headers: Annotated[
        dict[str, str],
        Meta(description="Headers that a webhook sends, for example `Authorization = 'env:HOOK_TOKEN'`."),
    ] = {}
    timeout_s: Annotated[float, Meta(gt=0, le=120, description="Longest wait for a webhook's answer, in seconds.")] = (
        10.0
    )

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that it reads."""
        values = (self.url or "", *self.headers.values())
        return tuple(value.removeprefix("env:") for value in values if value.startswith("env:"))


class Config(_Settings, frozen=True):
    """All settings."""

    server: Server = Server()
    upstreams: tuple[Upstream, ...] = ()
    policies: tuple[Capability, ...] = ()
    monitors: tuple[Capability, ...] = ()
    notifiers: tuple[Notifier, ...] = ()
    prices: tuple[Price, ...] = ()
    file: str | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return Path(self.server.data)


SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "server": Server,
    "upstreams": Upstream,
    "policies": Capability,
    "monitors": Capability,
    "notifiers": Notifier,
    "prices": Price,
}
ENVIRONMENT: Mapping[str, str] = {
    "WATCHKEEPER_DATA": "server.data",
    "WATCHKEEPER_LISTEN": "server.listen",
    "WATCHKEEPER_CONFIG": "the file itself",
}


def load(
    file: Path | None = None,
    data: str | None = None,
    listen: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Read the settings: flag over environment over file over default.

    `file` None means WATCHKEEPER_CONFIG, else ./watchkeeper.toml if it exists. Raises `ConfigError`.
    """
    environ = os.environ if environ is None else environ
    named = file or (Path(environ["WATCHKEEPER_CONFIG"]) if environ.get("WATCHKEEPER_CONFIG") else None)
    path = named or Path(FILE_NAME)
    raw = _read(path) if named or path.exists() else {}
    raw.pop("file", None)
    where = str(path) if raw else None
    server = raw.setdefault("server", {})
    if not isinstance(server, dict):
        raise ConfigError(f"{path}: `server` must be a table; write it as [server] with its keys below.")
    data = data or environ.get("WATCHKEEPER_DATA")
    listen = listen or environ.get("WATCHKEEPER_LISTEN")
    if data:
        server["data"] = data
    elif "data" in server and named:
        server["data"] = str((path.parent / str(server["data"])).resolve())
    if listen:
        server["listen"] = listen
    try:
        config = msgspec.convert({**raw, "file": where}, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(path, raw, str(error))) from error
    _check(config, path)
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: there is no such file. Name another with --config, or leave the flag out."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Make it a UTF-8 text file that you may read.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}. Mend that line; strings need quotes.") from error


def _explain(path: Path, raw: Mapping[str, Any], message: str) -> str:
    """Turn msgspec's message into file, key, value and fix."""
    what, _, place = message.partition(" - at `")
    place = place.rstrip("`").removeprefix("$").lstrip(".")
    unknown = re.search(r"unknown field `(\w+)`", what)
    if unknown:
        key = unknown.group(1)
        section = place.split("[")[0].split(".")[0]
        known = _keys_of(section)
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known are: {', '.join(known)}."
        return f"{path}: `{_dotted(place, key)}` is not a setting; {hint}"
    missing = re.search(r"missing required field `(\w+)`", what)
    if missing:
        return f"{path}: `{_dotted(place, missing.group(1))}` is missing. {_describe(place, missing.group(1))}"
    value = _value_at(raw, place)
    leaf = place.rpartition(".")[2]
    return f"{path}: `{place}` is {value!r}: {what[0].lower()}{what[1:]}. {_describe(place, leaf)}".rstrip()


def _dotted(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _keys_of(section: str) -> list[str]:
    kind = SECTIONS.get(section)
    if kind is None:
        return list(SECTIONS)
    return [field.encode_name for field in msgspec.structs.fields(kind)]


def _describe(place: str, key: str) -> str:
    kind = SECTIONS.get(place.split("[")[0].split(".")[0])
    if kind is None:
        return ""
    hint = get_type_hints(kind, include_extras=True).get(key)
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, Meta) and meta.description:
            return meta.description
    return ""


def _value_at(raw: Any, place: str) -> Any:
    value = raw
    for step in re.findall(r"[^.\[\]]+", place):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return value


def _check(config: Config, path: Path) -> None:
    """What a type cannot say."""
    if not re.fullmatch(r"(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}", config.server.listen) or config.server.port > 65535:
        raise ConfigError(
            f"{path}: `server.listen` is {config.server.listen!r}; expected host:port, for example 127.0.0.1:8787."
        )
    seen: set[str] = set()
    for number, upstream in enumerate(config.upstreams):
        place = f"{path}: `upstreams[{number}]"
        if upstream.name in seen:
            raise ConfigError(f"{place}.name` is {upstream.name!r} twice; give each upstream a name of its own.")
        seen.add(upstream.name)
        if not re.match(r"https?://[^/\s]+", upstream.base_url):
            raise ConfigError(
                f"{place}.base_url` is {upstream.base_url!r}; expected a URL such as https://api.openai.com/v1."
            )
        if upstream.credential not in ("client", "none") and not re.fullmatch(r"env:\w+", upstream.credential):
            raise ConfigError(
                f"{place}.credential` must be env:NAME, client or none (the value is not shown here). Put a secret "
                "into an environment variable and name that."
            )
    for number, notifier in enumerate(config.notifiers):
        _check_notifier(notifier, f"{path}: `notifiers[{number}]")
    names = [use.name or use.use for use in config.policies]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{path}: two `policies` are called {name!r}; give one of them another `name`.")


def _check_notifier(notifier: Notifier, place: str) -> None:
    if notifier.use == "log":
        if notifier.url is not None or notifier.headers:
            raise ConfigError(f'{place}.url` and headers are for a webhook; write use = "webhook", or leave them out.')
        return
    if notifier.url is None:
        raise ConfigError(f"{place}.url` is missing; a webhook needs a URL, or env:NAME of a variable that holds it.")
    if not re.fullmatch(r"https?://[^/\s]+\S*|env:\w+", notifier.url):
        raise ConfigError(
            f"{place}.url` must begin with http:// or https://, or be env:NAME (the value is not shown here, because "
            "it may hold a secret)."
        )
