"""The API of the gateway process itself: how the upstreams fare, and the settings taken anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from watchkeeper.config import ConfigError
from watchkeeper.queries.registry import as_plain
from watchkeeper.server.asgi import App, Receive, Scope, Send, reply_error, reply_json

UPSTREAMS = "/api/v1/upstreams"
RELOAD = "/api/v1/reload"
OWNER = "owner"


def steering_apps(
    states: Callable[[], Any], reload: Callable[[], Awaitable[Any]], problem: Callable[[], str | None]
) -> dict[str, App]:
    """The apps by path: `states` lists upstreams, `reload` reads the settings again, `problem` says why it failed."""

    async def upstreams(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await reply_error(send, 405, "The list of upstreams is read with GET.", "invalid_request", "method")
            return
        await reply_json(send, 200, {"items": as_plain(states()), "settings_problem": problem()})

    async def again(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await reply_error(send, 405, "Settings are taken anew with POST.", "invalid_request", "method")
            return
        if not _owner(scope):
            words = "Only the owner of the data directory may do this, not a key. Run: watchkeeper reload"
            await reply_error(send, 403, words, "forbidden", "owner_only")
            return
        try:
            done = await reload()
        except ConfigError as error:
            await reply_error(send, 422, str(error), "invalid_request", "settings")
            return
        await reply_json(send, 200, {"changed": done.changed, "waiting": done.waiting, "sentence": done.sentence})

    return {UPSTREAMS: upstreams, RELOAD: again}


def _owner(scope: Scope) -> bool:
    """Whether the owner asks: with the token of the data directory, or where nobody is asked for a key."""
    key = scope.get("watchkeeper.key")
    return key.key_id == OWNER if key is not None else scope.get("watchkeeper.signed_in") is None
