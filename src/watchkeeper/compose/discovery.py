"""Finds the capabilities that are installed, ours and those of other packages, and builds one from its settings."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from watchkeeper.config import Capability, Config, ConfigError

Kind = Literal["policies", "scorers", "monitors", "generators", "reports"]


@cache
def discover(kind: Kind) -> dict[str, Any]:
    """The classes of a kind by id: the files of `capabilities/<kind>` and the entry points `watchkeeper.<kind>`.

    A package that takes the id of one of ours, or that cannot be imported, raises `ConfigError` naming it.
    """
    from importlib.metadata import entry_points

    found: dict[str, Any] = {}
    for name in _files(kind):
        found |= _in_file(kind, name)
    for point in entry_points(group=f"watchkeeper.{kind}"):
        try:
            value = point.load()
            name = value.header.id
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"the package behind {point.value!r} offers a capability that cannot be used ({error}). "
                f"Mend it, or uninstall it: pip uninstall {point.dist.name if point.dist else point.name}"
            ) from error
        if name in found:
            raise ConfigError(f"{point.value!r} calls itself {name!r}, and so does another of the {kind}. Rename one.")
        found[name] = value
    return found


@cache
def _files(kind: Kind) -> frozenset[str]:
    """The names of our files of a kind."""
    package = importlib.import_module(f"watchkeeper.capabilities.{kind}")
    return frozenset(module.name for module in pkgutil.iter_modules(package.__path__))


def _in_file(kind: Kind, name: str) -> dict[str, Any]:
    """The capabilities in one of our files by id; its stem is the id of the one that is public."""
    module = importlib.import_module(f"watchkeeper.capabilities.{kind}.{name}")
    classes = (each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == module.__name__)
    return {each.header.id: each for each in classes if hasattr(each, "header")}


def build(kind: Kind, use: Capability, config: Config) -> Any:
    """One capability with the parameters of its settings; raises `ConfigError` naming key, value and fix."""
    # One of ours is built without looking at, and loading, all others.
    known = _in_file(kind, use.use) if use.use in _files(kind) else {}
    if use.use not in known:
        known = discover(kind)
    where = f"{config.file or 'settings'}: `{kind}` {use.name or use.use!r}"
    if use.use not in known:
        raise ConfigError(f"{where}: there is no {use.use!r}; known are: {', '.join(sorted(known))}.")
    cls = known[use.use]
    names = set(cls.__struct_fields__)
    for name in use.parameters:
        if name not in names:
            raise ConfigError(f"{where}: `with.{name}` is not a parameter; known are: {', '.join(sorted(names))}.")
    given = use.parameters | {
        name: _content(cls, name, path, where) for name, path in files_of(kind, use, config).items()
    }
    try:
        return msgspec.convert(given, cls)
    except (msgspec.ValidationError, ValueError) as error:
        what, _, place = str(error).partition(" - at `$.")
        name = place.rstrip("`")
        value = use.parameters.get(name)
        shown = f"`with.{name}` is {value!r}: " if name else ""
        raise ConfigError(f"{where}: {shown}{what}. See docs/reference/capabilities.md.") from error


def files_of(kind: Kind, use: Capability, config: Config) -> dict[str, Path]:
    """The parameters of a capability that are files (its class names them in `files`), relative to the settings file.

    What such a file holds is the parameter; the capability itself reads none.
    """
    named = getattr(discover(kind).get(use.use), "files", ())
    folder = Path(config.file).parent if config.file else Path()
    return {name: folder / str(use.parameters[name]) for name in sorted(named) if name in use.parameters}


def _content(cls: Any, name: str, path: Path, where: str) -> Any:
    expected = get_type_hints(cls)[name]
    try:
        return msgspec.json.decode(path.read_bytes(), type=expected)
    except OSError as error:
        raise ConfigError(
            f"{where}: `with.{name}` is {str(path)!r}, which cannot be read: {error.strerror}."
        ) from error
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"{where}: `with.{name}` is {str(path)!r}, which is no such file: {error}.") from error
