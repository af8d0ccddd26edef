"""The form that lets a stopped run go on; its list is a part of the page of decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from watchkeeper.server.pages import actor_of, said, token_is_right
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.people_pages import OLD_FORM
from watchkeeper.server.signin import read_fields

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages


class RunPages:
    """Lets a run go on from the page of decisions."""

    def __init__(self, pages: Pages, parts: StoreParts) -> None:
        self._pages, self._parts = pages, parts

    def routes(self) -> list[Route]:
        """Its address."""
        return [Route("/ui/runs/resume", self.resume, methods=["POST"])]

    async def resume(self, request: Request) -> Response:
        """Let a run go on, and show the list again."""
        if self._parts.runs is None:
            return await self._pages.missing(request, "Not possible here", "This server rules on no runs.")
        form = await read_fields(request.receive)
        if not token_is_right(request, form.get("csrf", "")):
            return await self._pages.missing(request, *OLD_FORM)
        run = form.get("run", "")
        try:
            await self._parts.runs.resume(run, form.get("tenant", "") or "default", actor_of(request))
        except LookupError as error:
            return await self._pages.missing(request, "No such run", said(error))
        await self._parts.flush()
        return RedirectResponse(f"/ui/decisions?{urlencode({'resumed': run})}", 303)
