"""Calls an ASGI app inside this process, so that commands work alike with and without a running server."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

from watchkeeper.server.asgi import App
from watchkeeper.server.callers import ACTOR_HEADER


async def call(
    app: App,
    method: str,
    target: str,
    body: bytes = b"",
    actor: str = "local",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """One request with a JSON body, and further `headers`; returns the answer's status and bytes."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (ACTOR_HEADER, actor.encode("latin-1", "replace")),
            *((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in (headers or {}).items()),
        ],
        "client": None,
        "server": ("localhost", 80),
    }
    status = 500
    answered: list[bytes] = []
    asked = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal asked
        if asked:
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            answered.append(message.get("body", b""))

    await app(scope, receive, send)
    return status, b"".join(answered)
