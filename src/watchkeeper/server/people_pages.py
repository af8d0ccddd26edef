"""The pages of keys and people, for admins: lists, and forms to make, change and end them. A secret is shown once."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.engines.gateway.key_record import SCOPES, Grant, read_limit
from watchkeeper.engines.people.accounts import ROLES
from watchkeeper.queries.timespan import parse_span
from watchkeeper.server.key_api import key_row
from watchkeeper.server.pages import actor_of, said, token_is_right
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.people_api import person_row
from watchkeeper.server.signin import read_fields

if TYPE_CHECKING:
    from watchkeeper.server.pages import Pages

OLD_FORM = ("This form had grown old", "Go back, reload the page and send it again.", 403)


class PeoplePages:
    """Keys and people."""

    def __init__(self, pages: Pages, parts: StoreParts) -> None:
        self._pages, self._parts = pages, parts

    def routes(self) -> list[Route]:
        """The pages' addresses."""
        return [
            Route("/ui/keys", self.keys, methods=["GET"]),
            Route("/ui/keys", self.make_key, methods=["POST"]),
            Route("/ui/keys/{key_id}/{action}", self.change_key, methods=["POST"]),
            Route("/ui/people", self.people, methods=["GET"]),
            Route("/ui/people", self.add, methods=["POST"]),
            Route("/ui/people/{name}/{action}", self.change, methods=["POST"]),
        ]

    async def keys(self, request: Request) -> Response:
        """All keys, and a form to make one."""
        return await self._keys(request)

    async def make_key(self, request: Request) -> Response:
        """Make a key, and show its secret on the page that answers."""
        form = await read_fields(request.receive)
        if self._parts.keys is None or not token_is_right(request, form.get("csrf", "")):
            return await self._pages.missing(request, *OLD_FORM)
        try:
            expires = form.get("expires", "").strip()
            expires_ns = self._parts.clock_ns() + parse_span(expires) if expires else None
            made = await self._parts.keys.create(
                form.get("name", "").strip(), expires_ns=expires_ns, actor=actor_of(request), grant=_grant(form)
            )
        except ValueError as error:
            return await self._keys(request, problem=said(error), status=400)
        return await self._keys(request, secret=made.secret, made=f"Key {made.key.key_id} was made.")

    async def change_key(self, request: Request) -> Response:
        """Give a key a new secret, or end it."""
        form = await read_fields(request.receive)
        ring, key_id, action = self._parts.keys, request.path_params["key_id"], request.path_params["action"]
        if ring is None or not token_is_right(request, form.get("csrf", "")):
            return await self._pages.missing(request, *OLD_FORM)
        try:
            if action == "revoke":
                await ring.revoke(key_id, actor_of(request))
                return await self._keys(request, made=f"Key {key_id} is revoked.")
            if action == "rotate":
                overlap_ns = parse_span(form.get("overlap", "").strip() or "0s")
                made = await ring.rotate(key_id, overlap_ns, actor_of(request))
                return await self._keys(request, secret=made.secret, made=f"Key {key_id} has a new secret.")
        except KeyError as error:
            return await self._pages.missing(request, "No such key", said(error), 404)
        except ValueError as error:
            return await self._keys(request, problem=said(error), status=400)
        return await self._pages.missing(request, "Nothing here", "Keys can be revoked and rotated.", 404)

    async def people(self, request: Request) -> Response:
        """Everybody, and a form to add somebody."""
        return await self._people(request)

    async def add(self, request: Request) -> Response:
        """Add somebody with a password that is made, and shown on the page that answers."""
        form = await read_fields(request.receive)
        accounts = self._parts.people
        if accounts is None or not token_is_right(request, form.get("csrf", "")):
            return await self._pages.missing(request, *OLD_FORM)
        password, tenant = secrets.token_urlsafe(18), form.get("tenant", "").strip() or None
        try:
            person = await accounts.add(
                form.get("name", "").strip(), form.get("role", ""), password, tenant, actor_of(request)
            )
        except ValueError as error:
            return await self._people(request, problem=said(error), status=400)
        return await self._people(request, secret=password, made=f"{person.name} may sign in with this password.")

    async def change(self, request: Request) -> Response:
        """Give somebody another role or password, or remove them."""
        form = await read_fields(request.receive)
        accounts, name, action = self._parts.people, request.path_params["name"], request.path_params["action"]
        if accounts is None or not token_is_right(request, form.get("csrf", "")):
            return await self._pages.missing(request, *OLD_FORM)
        try:
            if action == "remove":
                await accounts.remove(name, actor_of(request))
                return await self._people(request, made=f"{name} is removed.")
            if action == "role":
                tenant = form.get("tenant", "").strip() or None
                await accounts.set_role(name, form.get("role", ""), tenant, actor_of(request))
                return await self._people(request, made=f"{name} has another role; their sessions have ended.")
            if action == "password":
                password = secrets.token_urlsafe(18)
                await accounts.set_password(name, password, actor_of(request))
                return await self._people(request, secret=password, made=f"{name} has a new password.")
        except KeyError as error:
            return await self._pages.missing(request, "No such person", said(error), 404)
        except ValueError as error:
            return await self._people(request, problem=said(error), status=400)
        return await self._pages.missing(request, "Nothing here", "People have a role and a password.", 404)

    async def _keys(
        self, request: Request, secret: str = "", made: str = "", problem: str = "", status: int = 200
    ) -> Response:
        ring, now_ns = self._parts.keys, self._parts.clock_ns()
        if ring is None:
            return await self._pages.missing(request, "Not possible here", "This server keeps no keys.")
        used = await ring.last_used()
        rows = [key_row(key, now_ns, used) for key in reversed(await ring.list())]
        page = await self._pages.render(
            request, "keys.html", "keys", rows=rows, scopes=SCOPES, secret=secret, made=made, problem=problem
        )
        page.status_code = status
        return page

    async def _people(
        self, request: Request, secret: str = "", made: str = "", problem: str = "", status: int = 200
    ) -> Response:
        if self._parts.people is None:
            return await self._pages.missing(request, "Not possible here", "This server keeps no accounts.")
        rows = [person_row(each) for each in await self._parts.people.list()]
        page = await self._pages.render(
            request, "people.html", "people", rows=rows, roles=ROLES, secret=secret, made=made, problem=problem
        )
        page.status_code = status
        return page


def _grant(form: Mapping[str, str]) -> Grant:
    """What a form asks for; raises `ValueError`."""
    scopes = tuple(scope for scope in SCOPES if form.get(f"scope_{scope}"))
    return Grant(
        tenant=form.get("tenant", "").strip() or "default",
        user=form.get("user", "").strip() or None,
        team=form.get("team", "").strip() or None,
        scopes=scopes,
        all_tenants=bool(form.get("all_tenants")),
        models=tuple(form.get("models", "").split()),
        limits=tuple(map(read_limit, form.get("limits", "").split())),
    )
