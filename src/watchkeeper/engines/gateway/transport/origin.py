"""Where an upstream is: scheme, host and port of its base URL, and how its requests are addressed."""

from __future__ import annotations

import base64
import re
import ssl
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

_TARGET = re.compile(r"[!-~]+\Z")
_ODD = re.compile(r"[^!-~]")


class Origin(NamedTuple):
    """One server. `host_header` names it in requests; `login` is a ready `Authorization` value from the URL, if any."""

    secure: bool
    host: str
    port: int
    host_header: str
    prefix: str
    login: str | None


@lru_cache(maxsize=256)
def origin_of(base_url: str) -> Origin:
    """Read a base URL; raises `ValueError` when it names no server."""
    parts = urlsplit(base_url.rstrip("/"))
    secure = parts.scheme == "https"
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{base_url!r} is no http:// or https:// address")
    port = parts.port or (443 if secure else 80)
    shown = f"[{host}]" if ":" in host else host
    if parts.port is not None and parts.port != (443 if secure else 80):
        shown = f"{shown}:{parts.port}"
    login = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = "Basic " + base64.b64encode(pair.encode()).decode()
    ascii_host = host if host.isascii() else host.encode("idna").decode()
    shown = shown if shown.isascii() else shown.replace(host, ascii_host)
    return Origin(secure, ascii_host, port, shown, quote(parts.path, safe="/%!$&'()*+,;=:@~"), login)


def target_of(prefix: str, path: str) -> str:
    """The target of a request: the base URL's path, and what follows it, which came as bytes read as Latin-1.

    What may not stand in a request's first line is written as %XX, as the client should have done.
    """
    target = prefix + path or "/"
    return target if _TARGET.match(target) is not None else _ODD.sub(lambda odd: f"%{ord(odd.group()):02X}", target)


def verified() -> ssl.SSLContext:
    """TLS as it should be: the system's authorities, the host's name checked, at least TLS 1.2, HTTP/1.1 alone."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
