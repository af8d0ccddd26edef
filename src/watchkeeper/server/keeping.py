"""Retention through the doors: what is due, what is kept and why, doing it now, and questions over thinned bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.compose.body_rates import BodyRates
from watchkeeper.queries.keeping import BodyRate, KeptTraces, Thinnings
from watchkeeper.queries.registry import QuestionError, as_plain, question_from
from watchkeeper.server.api import ApiError, answer
from watchkeeper.server.noting import note
from watchkeeper.server.pages import said
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.views.keeping import kept_rows, summary, thinning_rows

if TYPE_CHECKING:
    from watchkeeper.engines.keeping.keeper import Keeper
    from watchkeeper.server.pages import Pages


class KeepingApi:
    """The API of retention. What was kept and thinned are questions: GET /api/v1/kept and /api/v1/thinnings."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """The addresses, to be placed before those of the questions."""
        return [
            Route("/api/v1/retention", self.plan, methods=["GET"]),
            Route("/api/v1/retention/run", self.run, methods=["POST"]),
            Route("/api/v1/body_rate", self.body_rate, methods=["GET"]),
        ]

    async def plan(self, request: Request) -> Response:
        """What would go now, what the disk holds, and by which rules."""
        del request
        return answer(as_plain(await self._keeper().plan()))

    async def run(self, request: Request) -> Response:
        """Do all that is due now; says what went."""
        keeper = self._keeper()
        await self._parts.flush()
        waiting = (await keeper.plan()).waiting
        done = [] if waiting is not None else await keeper.run()
        note(self._parts, request, "retention.run", "retention", waiting)
        await self._parts.flush()
        return answer({"items": as_plain(done), "waiting": waiting})

    async def body_rate(self, request: Request) -> Response:
        """How often something stands in bodies."""
        parts = self._parts
        try:
            question = question_from("body_rate", dict(request.query_params), parts.clock_ns())
            assert isinstance(question, BodyRate)
            return answer(as_plain(await BodyRates(parts.reader, parts.payloads, parts.clock_ns).ask(question)))
        except QuestionError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", said(error), error.parameter) from error
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_parameter", f"body_rate: {error}.", "pattern") from error

    def _keeper(self) -> Keeper:
        if self._parts.keeper is None:
            raise ApiError(501, "unavailable", "not_available", "This server does no retention.")
        return self._parts.keeper


class KeepingPages:
    """The page that says what is kept, by which rules, and what the disk holds."""

    def __init__(self, parts: StoreParts, pages: Pages) -> None:
        self._parts, self._pages = parts, pages

    def routes(self) -> list[Route]:
        """Its address."""
        return [Route("/ui/retention", self.show)]

    async def show(self, request: Request) -> Response:
        """The page."""
        keeper = self._parts.keeper
        shown: dict[str, Any] = {"plan": None, "summary": None}
        if keeper is not None:
            plan = await keeper.plan()
            shown = {"plan": plan, "summary": summary(plan)}
        thinnings = await self._parts.reader.ask(Thinnings(limit=50))
        kept = await self._parts.reader.ask(KeptTraces(limit=50))
        return await self._pages.render(
            request,
            "retention.html",
            "retention",
            thinnings=thinning_rows(thinnings.items),
            kept=kept_rows(kept.items),
            complete=thinnings.complete,
            **shown,
        )
