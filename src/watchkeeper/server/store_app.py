"""The store process's app: pages, API and probes over one Reader, reached only through the front's unix socket."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from watchkeeper.adapters.store.errors import StoreError
from watchkeeper.compose.bounding import BoundReader, BoundSearch
from watchkeeper.server.api import Api, ApiError, api_error
from watchkeeper.server.asgi import App, Receive, Scope, Send, error_body
from watchkeeper.server.budgets import budget_routes
from watchkeeper.server.callers import ROLE_HEADER
from watchkeeper.server.experiment_pages import ExperimentPages
from watchkeeper.server.guard import secured
from watchkeeper.server.keeping import KeepingApi, KeepingPages
from watchkeeper.server.key_api import KeyApi
from watchkeeper.server.lineage import LineageApi, LineagePages
from watchkeeper.server.metrics import MEDIA as METRICS_MEDIA
from watchkeeper.server.pages import Pages
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.people_api import PeopleApi
from watchkeeper.server.people_pages import PeoplePages
from watchkeeper.server.probe_api import probe_routes
from watchkeeper.server.proof_api import ProofApi
from watchkeeper.server.reply_api import reply_routes
from watchkeeper.server.report_pages import ReportPages
from watchkeeper.server.roles import guarded
from watchkeeper.server.run_api import run_routes
from watchkeeper.server.run_pages import RunPages
from watchkeeper.server.searching import ExplorerPages, SearchApi
from watchkeeper.server.statics import statics
from watchkeeper.server.upstream_pages import UpstreamPages
from watchkeeper.server.working import WorkPages

if TYPE_CHECKING:
    from starlette.types import ASGIApp


async def _statics(scope: Scope, receive: Receive, send: Send) -> None:
    await statics(scope, receive, send)


STATICS: ASGIApp = _statics
"""The files of the pages."""


def routes_of(parts: StoreParts, pages: Pages) -> list[Route]:
    """Every route of pages and API; those of the questions come last because their name is a wildcard."""
    return [
        *budget_routes(parts, pages),
        *WorkPages(parts, pages).routes(),
        *ExperimentPages(parts, pages).routes(),
        *ReportPages(parts, pages).routes(),
        *KeepingPages(parts, pages).routes(),
        *KeepingApi(parts).routes(),
        *LineagePages(pages, parts).routes(),
        *LineageApi(parts).routes(),
        *ExplorerPages(pages, parts).routes(),
        *SearchApi(parts).routes(),
        *PeoplePages(pages, parts).routes(),
        *UpstreamPages(pages, parts).routes(),
        *RunPages(pages, parts).routes(),
        *pages.routes(),
        *ProofApi(parts).routes(),
        *probe_routes(parts),
        *run_routes(parts),
        *reply_routes(parts),
        *KeyApi(parts).routes(),
        *PeopleApi(parts).routes(),
        *Api(parts).routes(),
    ]


def store_app(parts: StoreParts) -> App:
    """Build the app. It trusts who the front says is asking, so it must listen on the private unix socket only."""
    searching = None if parts.searching is None else BoundSearch(parts.searching)
    parts = replace(parts, reader=BoundReader(parts.reader), searching=searching)
    pages = Pages(parts)

    def ready(request: Request) -> Response:
        _inside(request)
        problem = parts.ready()
        return PlainTextResponse(f"ok; {parts.lag()}" if problem is None else problem, 200 if problem is None else 503)

    def metrics(request: Request) -> Response:
        _inside(request)
        return Response(parts.metrics_text(), media_type=METRICS_MEDIA)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.url.path
        if error.status_code == 404 and request.method == "GET" and path.startswith("/ui/") and path.endswith("/"):
            return RedirectResponse(path.rstrip("/"), 303)  # a path alone: which scheme browsers use is not known here
        if request.url.path.startswith("/api/") or error.status_code != 404:
            sentence = "There is nothing at this address. GET /api/v1 lists what can be asked."
            if error.status_code == 405:
                sentence = f"{request.method} is not understood here. GET /api/v1 lists what can be asked."
            return _problem(error.status_code, sentence, "not_found" if error.status_code == 404 else "method")
        return await pages.not_found(request, error)

    async def unreadable(request: Request, error: Exception) -> Response:
        del request
        return _problem(503, str(error), "index_unavailable")

    async def crash(request: Request, error: Exception) -> Response:
        del request
        sentence = (
            f"The server failed while answering ({type(error).__name__}). The log of `watchkeeper serve` says where."
        )
        return _problem(500, sentence, "internal")

    routes = [
        Route("/internal/ready", ready),
        Route("/internal/metrics", metrics),
        Mount("/ui/static", STATICS),
        *guarded(routes_of(parts, pages), pages.missing),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={
            ApiError: api_error,
            HTTPException: http_error,
            StoreError: unreadable,
            Exception: crash,
        },
    )
    app.router.redirect_slashes = False
    return secured(app)


def _inside(request: Request) -> None:
    """Raise a 404 for what the front door passes on for somebody: it asks these addresses for itself alone."""
    if ROLE_HEADER.decode() in request.headers:
        raise HTTPException(404)


def _problem(status: int, sentence: str, code: str) -> Response:
    kind = "internal" if status >= 500 else "not_found" if status == 404 else "invalid_request"
    return Response(error_body(sentence, kind, code), status, media_type="application/json")
