"""Jobs and effects through the store's doors: their pages, and the API for commands where no server runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.queries.acts import Effects
from watchkeeper.queries.jobs import Jobs
from watchkeeper.records.job import Transport
from watchkeeper.server.api import ApiError
from watchkeeper.server.asgi import App, Receive, Scope, Send
from watchkeeper.server.callers import Caller, read_caller
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.views.filters import PAGE_ROWS, Control, asked_of, read_form
from watchkeeper.server.views.lists import page_links
from watchkeeper.server.views.working import (
    OUTCOMES,
    STATES,
    check_rows,
    effect_facts,
    effect_rows,
    job_facts,
    job_rows,
)

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages

MOST_SHOWN = 200
_ANY = ("", "any")
JOB_CONTROLS = (
    Control(name="status", label="Transport", options=(_ANY, *((each.value, each.value) for each in Transport))),
    Control(name="outcome", label="Outcome", options=(_ANY, *((name, name) for name in OUTCOMES))),
    Control(name="run", label="Run", hint="id"),
    Control(name="user", label="User", hint="id"),
)
EFFECT_CONTROLS = (
    Control(name="status", label="Status", options=(_ANY, *((name, name) for name in STATES))),
    Control(name="tool", label="Tool", hint="refund"),
    Control(name="run", label="Run", hint="id"),
    Control(name="agent", label="Agent", hint="name"),
)


class WorkPages:
    """The pages of jobs and effects, and the doors that change them where the gateway process does not stand before."""

    def __init__(self, parts: StoreParts, pages: Pages) -> None:
        self._parts, self._pages = parts, pages

    def routes(self) -> list[Route]:
        """Their addresses, to be placed before those of the questions."""
        return [
            Route("/ui/jobs", self.jobs),
            Route("/ui/jobs/{job_id}", self.job),
            Route("/ui/effects", self.effects),
            Route("/ui/effects/{effect_id}", self.effect),
            Route("/api/v1/jobs", self.work, methods=["POST"]),
            Route("/api/v1/jobs/{rest:path}", self.work, methods=["GET", "POST"]),
            Route("/api/v1/effects/{rest:path}", self.work, methods=["GET", "POST"]),
            Route("/api/v1/runs/{run:path}/cancel", self.work, methods=["POST"]),
        ]

    async def work(self, request: Request) -> Response:
        """What is about one job, effect or run, for commands while no server runs; else the gateway process answers."""
        if self._parts.work is None:
            raise ApiError(501, "unavailable", "not_available", "This server has no jobs and no ledger of effects.")
        return _PassedOn(self._parts.work, read_caller(request.headers))

    async def jobs(self, request: Request) -> Response:
        """Jobs in their latest state."""
        form = read_form(JOB_CONTROLS, request.query_params, self._parts.clock_ns(), "all")
        asked, problem = asked_of(Jobs, form)
        found = (await self._parts.reader.ask(asked)).items
        page = page_links(form, min(len(found), PAGE_ROWS), len(found) > PAGE_ROWS, "Jobs")
        rows = job_rows(found[:PAGE_ROWS])
        return await self._pages.render(request, "jobs.html", "jobs", form=form, problem=problem, rows=rows, page=page)

    async def job(self, request: Request) -> Response:
        """One job: where it is, what is known of its result, what was checked, and what its run did to the world."""
        job_id = request.path_params["job_id"]
        found = (await self._parts.reader.ask(Jobs(job_id=job_id, limit=1))).items
        if not found:
            return await self._pages.missing(request, "No such job", f"There is no job {job_id[:64]!r} in the index.")
        row = found[0]
        run = row["run"]
        effects = (await self._parts.reader.ask(Effects(run=run, limit=MOST_SHOWN))).items if run else ()
        return await self._pages.render(
            request,
            "job.html",
            "jobs",
            row=job_rows([row])[0],
            facts=job_facts(row),
            checks=check_rows(row["checks"] or ()),
            effects=effect_rows(effects),
            trace_id=row["trace_id"],
        )

    async def effects(self, request: Request) -> Response:
        """What agents did to the world."""
        form = read_form(EFFECT_CONTROLS, request.query_params, self._parts.clock_ns(), "all")
        asked, problem = asked_of(Effects, form)
        found = (await self._parts.reader.ask(asked)).items
        page = page_links(form, min(len(found), PAGE_ROWS), len(found) > PAGE_ROWS, "Effects")
        rows = effect_rows(found[:PAGE_ROWS])
        return await self._pages.render(
            request, "effects.html", "effects", form=form, problem=problem, rows=rows, page=page
        )

    async def effect(self, request: Request) -> Response:
        """One effect, as it stands."""
        effect_id = request.path_params["effect_id"]
        found = (await self._parts.reader.ask(Effects(effect_id=effect_id, limit=1))).items
        if not found:
            sentence = f"There is no effect {effect_id[:64]!r} in the index."
            return await self._pages.missing(request, "No such effect", sentence)
        row = found[0]
        return await self._pages.render(
            request,
            "effect.html",
            "effects",
            row=effect_rows([row])[0],
            facts=effect_facts(row),
            trace_id=row["trace_id"],
        )


class _PassedOn(Response):
    """An answer that another application gives, which is told who asks."""

    def __init__(self, app: App, caller: Caller) -> None:
        super().__init__()
        self._app, self._caller = app, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "watchkeeper.caller": self._caller}, receive, send)
