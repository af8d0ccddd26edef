"""The API of replies: the last ones of a version in recorded traffic, as they are compared."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.queries.replies import replied, told_of
from watchkeeper.queries.timespan import parse_time
from watchkeeper.queries.versions import find_version
from watchkeeper.server.api import ApiError, answer
from watchkeeper.server.pages import said
from watchkeeper.server.parts import StoreParts

_LAST = (("since", "30d"), ("until", "now"))
_Limit = Annotated[int, msgspec.Meta(ge=1, le=20_000)]


def reply_routes(parts: StoreParts) -> list[Route]:
    """The address /api/v1/replies."""

    async def replies(request: Request) -> Response:
        """The last replies of a version in a time: `version`, `since` [30d], `until` [now], `limit` [500].

        `calls` is how many answered calls there were, with those whose reply is not kept.
        """
        now_ns, given = parts.clock_ns(), request.query_params
        try:
            since, until = (parse_time(given.get(name) or usual, now_ns) for name, usual in _LAST)
            limit = msgspec.convert(given.get("limit") or "500", _Limit, strict=False)
            version = await find_version(parts.reader, given.get("version", ""))
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error)) from error
        found = await replied(parts.reader, version, since, until, limit)
        told = [each for each in map(told_of, found) if each is not None]
        return answer({"version": version, "calls": len(found), "items": told})

    return [Route("/api/v1/replies", replies)]
