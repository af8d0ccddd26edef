"""The API of people: who may sign in, with which role, for which tenant; and acts that commands report."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from watchkeeper.engines.people.accounts import Accounts, Person
from watchkeeper.server.api import ApiError, answer, not_found, read_json
from watchkeeper.server.noting import note
from watchkeeper.server.pages import actor_of, said
from watchkeeper.server.parts import StoreParts


class PersonBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody new. Without a password one is made, and is in the answer and nowhere else."""

    name: str
    role: str = "viewer"
    tenant: str | None = None
    password: str | None = None


class RoleBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another role, for one tenant or (None) all."""

    role: str
    tenant: str | None = None


class PasswordBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another password; without one, one is made."""

    password: str | None = None


class ActBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An act of a command that ran beside the server: a backup."""

    act: Literal["backup.made"]
    subject: str
    detail: str | None = None


class PeopleApi:
    """Everybody may be listed, added, changed and removed by an admin."""

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """The addresses."""
        return [
            Route("/api/v1/people", self.people, methods=["GET"]),
            Route("/api/v1/people", self.add, methods=["POST"]),
            Route("/api/v1/people/{name}/role", self.role, methods=["POST"]),
            Route("/api/v1/people/{name}/password", self.password, methods=["POST"]),
            Route("/api/v1/people/{name}/remove", self.remove, methods=["POST"]),
            Route("/api/v1/people/{name}", self.remove, methods=["DELETE"]),
            Route("/api/v1/acts", self.act, methods=["POST"]),
        ]

    async def people(self, request: Request) -> Response:
        """Everybody, without passwords."""
        del request
        return answer({"items": [person_row(each) for each in await self._people().list()]})

    async def add(self, request: Request) -> Response:
        """Somebody new."""
        given: PersonBody = await read_json(request, PersonBody)
        made = None if given.password is not None else secrets.token_urlsafe(18)
        try:
            person = await self._people().add(
                given.name, given.role, given.password or made or "", given.tenant, actor_of(request)
            )
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_person", said(error)) from error
        return answer(person_row(person) | ({"password": made} if made else {}), 201)

    async def role(self, request: Request) -> Response:
        """Another role or tenant."""
        given: RoleBody = await read_json(request, RoleBody)
        try:
            person = await self._people().set_role(
                request.path_params["name"], given.role, given.tenant, actor_of(request)
            )
        except KeyError as error:
            raise not_found(said(error)) from error
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_person", said(error)) from error
        return answer(person_row(person))

    async def password(self, request: Request) -> Response:
        """Another password."""
        given: PasswordBody = await read_json(request, PasswordBody)
        made = None if given.password is not None else secrets.token_urlsafe(18)
        try:
            person = await self._people().set_password(
                request.path_params["name"], given.password or made or "", actor_of(request)
            )
        except KeyError as error:
            raise not_found(said(error)) from error
        except ValueError as error:
            raise ApiError(400, "invalid_request", "bad_person", said(error)) from error
        return answer(person_row(person) | ({"password": made} if made else {}))

    async def remove(self, request: Request) -> Response:
        """End an account and its sessions."""
        try:
            person = await self._people().remove(request.path_params["name"], actor_of(request))
        except KeyError as error:
            raise not_found(said(error)) from error
        except ValueError as error:
            raise ApiError(409, "invalid_request", "last_admin", said(error)) from error
        return answer(person_row(person))

    async def act(self, request: Request) -> Response:
        """Keep an act that a command did beside the server."""
        given: ActBody = await read_json(request, ActBody)
        if self._parts.record is None:
            raise ApiError(501, "unavailable", "not_available", "This server keeps no acts.")
        note(self._parts, request, given.act, given.subject, given.detail)
        return answer({"act": given.act}, 201)

    def _people(self) -> Accounts:
        if self._parts.people is None:
            raise ApiError(501, "unavailable", "not_available", "This server keeps no accounts.")
        return self._parts.people


def person_row(person: Person) -> dict[str, Any]:
    """Somebody as they may be shown: never salt or hash."""
    return {
        "name": person.name,
        "shown": person.shown,
        "role": person.role,
        "tenant": person.tenant,
        "state": "active" if person.removed_ns is None else "removed",
        "issuer": person.issuer,
        "created": iso(person.created_ns),
        "signed_in": iso(person.signed_in_ns),
        "removed": iso(person.removed_ns),
    }


def iso(at_ns: int | None) -> str | None:
    """A time as text, None where there is none."""
    return None if at_ns is None else datetime.fromtimestamp(at_ns // 1_000_000_000, UTC).isoformat()
