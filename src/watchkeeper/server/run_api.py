"""The API of runs: let one go on that a policy has stopped."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.server.api import ApiError, answer, not_found
from watchkeeper.server.pages import actor_of, said
from watchkeeper.server.parts import StoreParts


class ResumeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which run, by its name or, where calls name none, its session's; and whose it is."""

    run: str
    tenant: str = "default"


def run_routes(parts: StoreParts) -> list[Route]:
    """The addresses under /api/v1/runs."""

    async def resume(request: Request) -> Response:
        """Let a run go on: {"run": name, "tenant": "default"}."""
        if parts.runs is None:
            raise ApiError(501, "unavailable", "not_available", "This server rules on no runs.")
        try:
            given = msgspec.json.decode(await request.body() or b"{}", type=ResumeBody)
        except msgspec.MsgspecError as error:
            raise ApiError(400, "invalid_request", "bad_body", f"The body is wrong: {error}.") from error
        try:
            steps = await parts.runs.resume(given.run, given.tenant, actor_of(request))
        except LookupError as error:
            raise not_found(said(error)) from error
        await parts.flush()
        return answer({"run": given.run, "tenant": given.tenant, "steps_set_aside": steps})

    return [Route("/api/v1/runs/resume", resume, methods=["POST"])]
