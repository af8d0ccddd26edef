"""Which role each address needs. An address that is not in the table is for admins of the whole house alone.

To declare a new route, add its line here: method, path as its `Route` writes it, and who may. A house rule compares
the table with the routes.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.compose.bounding import bound_to
from watchkeeper.server.asgi import error_body
from watchkeeper.server.callers import Caller, Level, read_caller


class Access(NamedTuple):
    """The least role that an address asks for; `house`: nobody who is bound to a tenant, for it is about all."""

    level: Level
    house: bool = False


VIEW = Access(Level.VIEWER)
VIEW_HOUSE = Access(Level.VIEWER, house=True)
OPERATE = Access(Level.OPERATOR)
OPERATE_HOUSE = Access(Level.OPERATOR, house=True)
ADMIN = Access(Level.ADMIN, house=True)

ACCESS: Mapping[str, Access] = {
    "GET /": VIEW,
    "GET /ui": VIEW,
    "GET /ui/traces": VIEW,
    "GET /ui/traces/{trace_id}": VIEW,
    "GET /ui/traces/{trace_id}/{span_id}": VIEW,
    "GET /ui/traces/{trace_id}/lineage": VIEW,
    "GET /ui/sessions": VIEW,
    "GET /ui/search": VIEW,
    "GET /ui/decisions": VIEW,
    "POST /ui/runs/resume": OPERATE_HOUSE,
    "GET /ui/upstreams": VIEW_HOUSE,
    "GET /ui/probes": VIEW_HOUSE,
    "POST /ui/probes/{name}/accept": ADMIN,
    "GET /ui/documents": VIEW,
    "GET /ui/documents/view": VIEW,
    "POST /ui/documents/withdraw": OPERATE_HOUSE,
    "GET /ui/incidents": VIEW_HOUSE,
    "GET /ui/incidents/{incident_id}": VIEW_HOUSE,
    "GET /ui/incidents/{incident_id}/report": VIEW_HOUSE,
    "POST /ui/incidents/{incident_id}/{action}": OPERATE_HOUSE,
    "GET /ui/drops": VIEW_HOUSE,
    "GET /ui/retention": VIEW_HOUSE,
    "GET /ui/audit": VIEW_HOUSE,
    "GET /ui/keys": ADMIN,
    "POST /ui/keys": ADMIN,
    "POST /ui/keys/{key_id}/{action}": ADMIN,
    "GET /ui/people": ADMIN,
    "POST /ui/people": ADMIN,
    "POST /ui/people/{name}/{action}": ADMIN,
    "GET /ui/budgets": VIEW_HOUSE,
    "GET /api/v1/budgets": VIEW_HOUSE,
    "POST /api/v1/budgets/cap": OPERATE_HOUSE,
    "POST /api/v1/budgets/reconcile": OPERATE_HOUSE,
    "POST /api/v1/runs": VIEW,
    "GET /ui/experiments": VIEW_HOUSE,
    "GET /ui/experiments/{experiment_id}": VIEW_HOUSE,
    "GET /api/v1/experiments/{experiment_id}/against/{other}": VIEW_HOUSE,
    "GET /ui/reports": VIEW,
    "GET /ui/reports/{name}": VIEW,
    "GET /ui/jobs": VIEW,
    "GET /ui/jobs/{job_id}": VIEW,
    "GET /ui/effects": VIEW,
    "GET /ui/effects/{effect_id}": VIEW,
    # What keys may do by their scopes is the work door's own to say, and in the gateway process it answers these alone.
    "POST /api/v1/jobs": OPERATE,
    "GET /api/v1/jobs/{rest:path}": VIEW,
    "POST /api/v1/jobs/{rest:path}": OPERATE,
    "GET /api/v1/effects/{rest:path}": VIEW,
    "POST /api/v1/effects/{rest:path}": OPERATE,
    "POST /api/v1/runs/{run:path}/cancel": OPERATE,
    "GET /api/v1": VIEW,
    "GET /api/v1/{question}": VIEW,
    "GET /api/v1/search": VIEW,
    "GET /api/v1/body_rate": VIEW,
    "GET /api/v1/lineage": VIEW,
    "GET /api/v1/lineage/{name}": VIEW,
    "GET /api/v1/spans/{span_id}/request": VIEW,
    "GET /api/v1/spans/{span_id}/bodies/{name}": VIEW,
    "GET /api/v1/spans/{trace_id}/{span_id}": VIEW,
    "GET /api/v1/reports/{name}": VIEW,
    "GET /api/v1/replies": VIEW,
    "POST /api/v1/ingest/flush": VIEW,
    "GET /api/v1/ingest/watermarks": VIEW_HOUSE,
    "GET /api/v1/incidents/{incident_id}": VIEW_HOUSE,
    "GET /api/v1/incidents/{incident_id}/cases": VIEW_HOUSE,
    "POST /api/v1/incidents/{incident_id}/cases": OPERATE_HOUSE,
    "POST /api/v1/incidents/{incident_id}/{action}": OPERATE_HOUSE,
    "POST /api/v1/documents/withdraw": OPERATE_HOUSE,
    "POST /api/v1/policies/backtest": OPERATE,
    "POST /api/v1/monitors/run": OPERATE_HOUSE,
    "GET /api/v1/probes": VIEW_HOUSE,
    "POST /api/v1/probes/run": ADMIN,
    "POST /api/v1/probes/{name}/accept": ADMIN,
    "POST /api/v1/runs/resume": OPERATE_HOUSE,
    "GET /api/v1/retention": VIEW_HOUSE,
    "POST /api/v1/retention/run": ADMIN,
    "GET /api/v1/anchors": VIEW_HOUSE,
    "POST /api/v1/anchors": ADMIN,
    "POST /api/v1/erasures": ADMIN,
    "POST /api/v1/erasures/resume": ADMIN,
    "GET /api/v1/proofs/{trace_id}/places": ADMIN,
    "POST /api/v1/acts": ADMIN,
    "GET /api/v1/keys": ADMIN,
    "POST /api/v1/keys": ADMIN,
    "GET /api/v1/keys/{key_id}": ADMIN,
    "DELETE /api/v1/keys/{key_id}": ADMIN,
    "POST /api/v1/keys/{key_id}/revoke": ADMIN,
    "POST /api/v1/keys/{key_id}/rotate": ADMIN,
    "POST /api/v1/keys/{key_id}/change": ADMIN,
    "GET /api/v1/people": ADMIN,
    "POST /api/v1/people": ADMIN,
    "POST /api/v1/people/{name}/role": ADMIN,
    "POST /api/v1/people/{name}/password": ADMIN,
    "DELETE /api/v1/people/{name}": ADMIN,
    "POST /api/v1/people/{name}/remove": ADMIN,
}


def access_of(method: str, path: str) -> Access:
    """Who may use an address, by method and path as its route writes it."""
    return ACCESS.get(f"{'GET' if method == 'HEAD' else method} {path}", ADMIN)


def refusal_of(caller: Caller, needed: Access) -> tuple[str, str] | None:
    """Why a caller is refused, as a code and a sentence; None when they may go on."""
    if caller.level < needed.level:
        return (
            "role_missing",
            f"This needs the role {needed.level.word}, and you, {caller.actor}, have {caller.role.word}. "
            "Ask an admin, or run the command on the server's own machine.",
        )
    if needed.house and caller.tenant is not None:
        return (
            "whole_house_only",
            f"This is about every tenant of the house, and you, {caller.actor}, are bound to the tenant "
            f"{caller.tenant[:80]!r}. Somebody who may read all tenants has to do it.",
        )
    return None


Missing = Callable[[Request, str, str, int], Awaitable[Response]]


def guarded(routes: Iterable[Route], missing: Missing) -> list[Route]:
    """The same routes, each behind its line of the table, and bound to the caller's tenant while it answers."""
    return [_guard(route, missing) for route in routes]


def _guard(route: Route, missing: Missing) -> Route:
    endpoint: Callable[[Request], Any] = route.endpoint

    async def checked(request: Request) -> Response:
        caller = read_caller(request.headers)
        refused = refusal_of(caller, access_of(request.method, route.path))
        if refused is not None:
            code, sentence = refused
            if route.path.startswith("/api/"):
                body = error_body(sentence, "forbidden", code)
                return Response(body, 403, media_type="application/json", headers={"cache-control": "no-store"})
            with bound_to(caller.tenant):
                return await missing(request, "Not for you", sentence, 403)
        with bound_to(caller.tenant):
            found = endpoint(request)
            answered: Response = await found if inspect.isawaitable(found) else found
            return answered

    return Route(route.path, checked, methods=sorted(route.methods or {"GET"}), name=route.name)
