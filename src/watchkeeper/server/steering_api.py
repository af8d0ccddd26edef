"""The API of the gateway process itself: how the upstreams fare, and the settings taken anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from watchkeeper.config import ConfigError
from watchkeeper.queries.registry import as_plain
from watchkeeper.server.asgi import App, Receive, Scope, Send, reply_error, reply_json
from watchkeeper.server.callers import Caller, Level

UPSTREAMS = "/api/v1/upstreams"
RELOAD = "/api/v1/reload"


def steering_apps(
    states: Callable[[], Any], reload: Callable[[], Awaitable[Any]], problem: Callable[[], str | None]
) -> dict[str, App]:
    """The apps by path: `states` lists upstreams, `reload` reads the settings again, `problem` says why it failed."""

    async def upstreams(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await reply_error(send, 405, "The list of upstreams is read with GET.", "invalid_request", "method")
            return
        if not _may(scope, Level.VIEWER):
            words = "How the upstreams fare is for those who may read the whole house."
            await reply_error(send, 403, words, "forbidden", "role_missing")
            return
        await reply_json(send, 200, {"items": as_plain(states()), "settings_problem": problem()})

    async def again(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await reply_error(send, 405, "Settings are taken anew with POST.", "invalid_request", "method")
            return
        if not _may(scope, Level.ADMIN):
            words = "Only an admin may have the settings taken anew. On the server's machine run: watchkeeper reload"
            await reply_error(send, 403, words, "forbidden", "role_missing")
            return
        try:
            done = await reload()
        except ConfigError as error:
            await reply_error(send, 422, str(error), "invalid_request", "settings")
            return
        await reply_json(send, 200, {"changed": done.changed, "waiting": done.waiting, "sentence": done.sentence})

    return {UPSTREAMS: upstreams, RELOAD: again}


def _may(scope: Scope, level: Level) -> bool:
    """Whether the caller may, for the whole house."""
    caller = scope.get("watchkeeper.caller")
    return isinstance(caller, Caller) and caller.level >= level and caller.tenant is None
