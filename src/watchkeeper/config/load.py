"""Reads the settings from watchkeeper.toml, the environment and flags, with errors that name the fix."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from msgspec import Meta

from watchkeeper.config.routing import route_problem
from watchkeeper.config.sections import SECTIONS, Anchor, Config, Notifier
from watchkeeper.engines.keeping.settings import SettingProblem, rules_of

FILE_NAME = "watchkeeper.toml"


class ConfigError(ValueError):
    """A setting that cannot be used; the message names file, key, value and what to write instead."""


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
    try:
        rules_of(config.sampling, config.retention)
    except SettingProblem as error:
        raise ConfigError(f"{path}: {error}") from error
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
    if (problem := route_problem(config.routes, config.upstreams)) is not None:
        raise ConfigError(f"{path}: {problem}")
    for number, notifier in enumerate(config.notifiers):
        _check_notifier(notifier, f"{path}: `notifiers[{number}]")
    for number, tool in enumerate(config.tools):
        if tool.unit_cost_usd is not None and not 0 <= tool.unit_cost_usd[0] <= tool.unit_cost_usd[1]:
            raise ConfigError(
                f"{path}: `tools[{number}].unit_cost_usd` is {list(tool.unit_cost_usd)}; expected two numbers, from "
                "and to, the first one no larger: unit_cost_usd = [0.5, 3.0]."
            )
    for number, anchor in enumerate(config.anchors):
        _check_anchor(anchor, f"{path}: `anchors[{number}]")
    if config.sign_in.issuer is not None and not (config.sign_in.url and config.sign_in.client_id):
        raise ConfigError(f"{path}: `sign_in.issuer` needs `sign_in.url` and `sign_in.client_id` beside it.")
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


def _check_anchor(anchor: Anchor, place: str) -> None:
    if anchor.use == "webhook":
        if anchor.url is None or not re.fullmatch(r"https?://[^/\s]+\S*|env:\w+", anchor.url):
            raise ConfigError(
                f"{place}.url` must begin with http:// or https://, or be env:NAME (it is not shown here)."
            )
        if anchor.secret is not None and not re.fullmatch(r"env:\w+", anchor.secret):
            raise ConfigError(f"{place}.secret` must be env:NAME of a variable that holds it (it is not shown here).")
    elif anchor.path is None:
        what = "the file to append to" if anchor.use == "file" else "the folder of the repository"
        raise ConfigError(f"{place}.path` is missing; it names {what}.")
