"""The API of keys: made, listed, given a new secret, changed and ended by an admin. A secret is shown once."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.engines.gateway.key_record import DEFAULT_SCOPES, Grant, read_limit, show_limit
from watchkeeper.engines.gateway.keys import Key, KeyRing
from watchkeeper.queries.timespan import parse_span
from watchkeeper.server.api import ApiError, answer, not_found, read_json
from watchkeeper.server.pages import actor_of, said
from watchkeeper.server.parts import StoreParts
from watchkeeper.server.people_api import iso


class KeyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new key: its name, whom it is bound to, what it may do, and how long it is valid ("90d"; None for ever).

    A limit reads "usd=5/day", "tokens=1000000/total" or "calls=60/minute".
    """

    name: str
    tenant: str = "default"
    user: str | None = None
    team: str | None = None
    expires: str | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    all_tenants: bool = False
    models: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    def grant(self) -> Grant:
        """What the key is to be; raises `ValueError`."""
        return Grant(
            tenant=self.tenant,
            user=self.user,
            team=self.team,
            scopes=tuple(dict.fromkeys(self.scopes)),
            all_tenants=self.all_tenants,
            models=self.models,
            upstreams=self.upstreams,
            limits=tuple(map(read_limit, self.limits)),
        )


class ChangeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What of a key is to change; what is not given stays. Tenant and user stay what they were made."""

    scopes: tuple[str, ...] | None = None
    models: tuple[str, ...] | None = None
    upstreams: tuple[str, ...] | None = None
    limits: tuple[str, ...] | None = None
    team: str | None = None

    def changes(self) -> dict[str, object]:
        """The fields that were given; raises `ValueError`."""
        given: dict[str, object] = {
            "scopes": self.scopes,
            "models": self.models,
            "upstreams": self.upstreams,
            "limits": None if self.limits is None else tuple(map(read_limit, self.limits)),
            "team": self.team,
        }
        return {name: value for name, value in given.items() if value is not None}


class RotateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the old secret goes on beside the new one: "1h", "7d"; "0s" ends it at once."""

    overlap: str = "0s"


class KeyApi:
    """Keys, for admins of the whole house."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/api/v1/keys", self.keys, methods=["GET"]),
            Route("/api/v1/keys", self.create, methods=["POST"]),
            Route("/api/v1/keys/{key_id}", self.show, methods=["GET"]),
            Route("/api/v1/keys/{key_id}", self.revoke, methods=["DELETE"]),
            Route("/api/v1/keys/{key_id}/revoke", self.revoke, methods=["POST"]),
            Route("/api/v1/keys/{key_id}/rotate", self.rotate, methods=["POST"]),
            Route("/api/v1/keys/{key_id}/change", self.change, methods=["POST"]),
        ]

    async def keys(self, request: Request) -> Response:
        """All keys, without secrets."""
        del request
        used, now_ns = await self._ring().last_used(), self._parts.clock_ns()
        return answer({"items": [key_row(key, now_ns, used) for key in await self._ring().list()]})

    async def show(self, request: Request) -> Response:
        """One key, without its secret."""
        try:
            key = await self._ring().find(request.path_params["key_id"])
        except KeyError as error:
            raise not_found(said(error)) from error
        return answer(key_row(key, self._parts.clock_ns(), await self._ring().last_used()))

    async def create(self, request: Request) -> Response:
        """A new key; its secret is in this answer and nowhere else."""
        given: KeyBody = await read_json(request, KeyBody)
        now_ns = self._parts.clock_ns()
        try:
            expires_ns = None if given.expires is None else now_ns + parse_span(given.expires)
            made = await self._ring().create(
                given.name, expires_ns=expires_ns, actor=actor_of(request), grant=given.grant()
            )
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_key", said(error)) from error
        return answer({**key_row(made.key, now_ns), "secret": made.secret}, 201)

    async def revoke(self, request: Request) -> Response:
        """End a key."""
        try:
            key = await self._ring().revoke(request.path_params["key_id"], actor_of(request))
        except KeyError as error:
            raise not_found(said(error)) from error
        return answer(key_row(key, self._parts.clock_ns()))

    async def rotate(self, request: Request) -> Response:
        """Give a key a new secret, which is in this answer and nowhere else."""
        given: RotateBody = await read_json(request, RotateBody)
        try:
            made = await self._ring().rotate(
                request.path_params["key_id"], parse_span(given.overlap), actor_of(request)
            )
        except KeyError as error:
            raise not_found(said(error)) from error
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_key", said(error)) from error
        return answer({**key_row(made.key, self._parts.clock_ns()), "secret": made.secret})

    async def change(self, request: Request) -> Response:
        """Change what a key may do."""
        given: ChangeBody = await read_json(request, ChangeBody)
        try:
            key = await self._ring().regrant(request.path_params["key_id"], given.changes(), actor_of(request))
        except KeyError as error:
            raise not_found(said(error)) from error
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_key", said(error)) from error
        return answer(key_row(key, self._parts.clock_ns()))

    def _ring(self) -> KeyRing:
        if self._parts.keys is None:
            raise ApiError(501, "unavailable", "not_available", "This server keeps no keys.")
        return self._parts.keys


def key_row(key: Key, now_ns: int, used: dict[str, int] | None = None) -> dict[str, Any]:
    """A key as it may be shown: never its salt, hash or secret."""
    state = "revoked" if key.revoked_ns is not None else "valid" if key.valid_at(now_ns) else "expired"
    former = [each.until_ns for each in key.former if each.until_ns > now_ns]
    return {
        "id": key.key_id,
        "name": key.name,
        "tenant": key.tenant,
        "all_tenants": key.all_tenants,
        "user": key.user,
        "team": key.team,
        "scopes": list(key.scopes),
        "models": list(key.models),
        "upstreams": list(key.upstreams),
        "limits": [show_limit(limit) for limit in key.limits],
        "state": state,
        "created": iso(key.created_ns),
        "last_used": iso((used or {}).get(key.key_id)),
        "expires": iso(key.expires_ns),
        "rotated": iso(key.rotated_ns),
        "old_secret_until": iso(max(former, default=None)),
        "revoked": iso(key.revoked_ns),
    }
