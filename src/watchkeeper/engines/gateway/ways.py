"""The paths by which clients come in, taken apart: what is asked for, and which Azure deployment is named."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from watchkeeper.engines.gateway.keys import holds_key

_ROOTS = ("/openai/v1", "/openai", "/v1")
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]+)(/.+)\Z")
_IGNORED = re.compile(r";[^/]*|/\.(?=/|\Z)")
_SLASHES = re.compile(r"/{2,}")
_RAW_ROOT = re.compile(r"/openai/deployments/[^/]+(?=/)|/openai/v1(?=/)|/openai(?=/)|/v1(?=/)")


class Way(NamedTuple):
    """A client's path: `suffix` is what follows the root (`/chat/completions`), None where the root is not ours.

    `deployment` is the model that an Azure client names in its path. `azure` is whether the path is one of Azure's.
    """

    suffix: str | None
    deployment: str | None = None
    azure: bool = False


@lru_cache(maxsize=1024)
def way_of(path: str) -> Way:
    """Take a path apart, as lenient as servers are, so that no other writing of a path goes round its limits.

    Doubled and trailing slashes, dots that mean the same folder, and parameters of a segment make no other path.
    """
    plain = _SLASHES.sub("/", _IGNORED.sub("", path)).rstrip("/ ")
    named = _DEPLOYMENT.match(plain)
    if named is not None:
        return Way(named.group(2), named.group(1), True)
    for root in _ROOTS:
        if plain.startswith(root + "/"):
            return Way(plain[len(root) :], None, root != "/v1")
    return Way(None)


def raw_suffix(raw_path: str, way: Way) -> str:
    """What follows the root in a path as it came, its escapes kept."""
    root = _RAW_ROOT.match(raw_path)
    return quote(way.suffix or "", safe="/:@!$&'()*+,;=~") if root is None else raw_path[root.end() :]


def query_of(query: str, way: Way) -> str:
    """The query to pass on: an Azure client's version is meant for Azure, and an upstream's settings have its own.

    A Watchkeeper key in it, where some clients put theirs, is not for the upstream.
    """
    shows = holds_key(unquote_to_bytes(query))
    if not way.azure and not shows:
        return query
    kept = [
        part
        for part in query[1:].split("&")
        if part
        and not (way.azure and part.startswith("api-version="))
        and not (shows and holds_key(unquote_to_bytes(part)))
    ]
    return "?" + "&".join(kept) if kept else ""
